"""A PBX for the load benchmark: announces calls over ARI, and each tap that is asked of it sends speech.

`python -m bench.pbx '{"legs": 200, "codec": "ulaw", "per_s": 50}'` is the process. Of ARI it knows what the
bridge asks. Packets leave every 20 ms by the monotonic clock, the legs spread over that time; 45 % of it is
speech, the rest is the faint noise of a line. How late they left is told with the figures.
"""

import asyncio
import json
import socket
import struct
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.aside import serve
from bench.loops import run
from bench.outcome import percentile
from bench.stamp import Stamps
from bridge.types import Codec
from bridge.wire import g711
from bridge.wire.receiver import NETWORK_ORDER, PAYLOAD_TYPES

_HOST = "127.0.0.1"
_PACKET_S = 0.02
_LOOP_S = 20
"""The speech begins anew after this; every leg begins at another place in it."""
_SPOKEN = 0.45
_SPURT_S = 1.8
_HEADER = struct.Struct("!BBHII")


def speech(codec: Codec) -> list[bytes]:
    """Payloads of 20 ms, `_LOOP_S` in all: bursts of a voice-like sound, faint noise between them."""
    rate, chance = codec.rate, np.random.default_rng(7)
    seconds = np.arange(_LOOP_S * rate) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * seconds))
    on = (seconds % (_SPURT_S / _SPOKEN)) < _SPURT_S
    pcm = np.where(on, 4000 * voice, 0) + chance.normal(0, 8, seconds.size)
    linear = pcm.astype("<i2").tobytes()
    data = g711.from_pcm(linear, codec) if codec not in NETWORK_ORDER else pcm.astype(">i2").tobytes()
    size = int(_PACKET_S * 1000) * codec.bytes_per_ms
    return [data[at : at + size] for at in range(0, len(data), size)]


@dataclass(slots=True)
class Line:
    """One tap's RTP."""

    number: int
    sock: socket.socket
    ssrc: int
    at: int
    sent: int = 0


class Sender:
    """All lines, by the slot of the 20 ms in which they send."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.slots: list[list[Line]] = [[] for _ in range(20)]
        self._taps = self.slots
        self._aimed: dict[tuple[int, ...], tuple[list[list[Line]], list[Line]]] = {}
        """Lines beside the taps', by their ports."""
        self.late_ms: list[float] = []
        self.sent = self.failed = 0
        self._speech = speech(codec)
        self._stamps = Stamps(codec)
        self._step = round(_PACKET_S * codec.rate)

    def add(self, host: str, port: int, number: int) -> Line:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.bind((host, 0))
        sock.connect((host, port))
        line = Line(number, sock, 0x10000 + number, number * 37 % len(self._speech))
        min(self.slots, key=len).append(line)
        return line

    def aim(self, ports: list[int] | None) -> list[int]:
        """Send to these ports instead of the taps', until told otherwise; None: to the taps again.

        Returns the ports that are sent from. A line that was sent on before goes on where it was.
        """
        if ports is None:
            self.slots = self._taps
            return []
        if tuple(ports) not in self._aimed:
            self.slots = [[] for _ in self._taps]
            self._aimed[tuple(ports)] = self.slots, [self.add(_HOST, port, 0) for port in ports]
        self.slots, lines = self._aimed[tuple(ports)]
        return [line.sock.getsockname()[1] for line in lines]

    def remove(self, line: Line) -> None:
        for slot in self._taps:
            if line in slot:
                slot.remove(line)
        line.sock.close()

    async def run(self) -> None:
        """Send until cancelled."""
        start, tick_s = time.monotonic(), _PACKET_S / len(self.slots)
        for number in count():
            due = start + number * tick_s
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            elif not number % 64:
                await asyncio.sleep(0)
            slot = self.slots[number % len(self.slots)]
            if slot:
                self.late_ms.append((time.monotonic() - due) * 1000)
                self._send(slot)

    def _send(self, slot: list[Line]) -> None:
        payloads, size, write = self._speech, self._stamps.size, self._stamps.write
        kind = PAYLOAD_TYPES[self.codec]
        for line in slot:
            line.at = at = (line.at + 1) % len(payloads)
            line.sent = sent = line.sent + 1
            head = _HEADER.pack(0x80, kind, sent & 0xFFFF, sent * self._step & 0xFFFFFFFF, line.ssrc)
            stamp = write(time.monotonic_ns() // 1000, sent, line.number)
            try:
                line.sock.send(head + stamp + payloads[at][size:])
                self.sent += 1
            except OSError:
                self.failed += 1


@dataclass(slots=True)
class Channel:
    id: str
    name: str
    call: str
    state: str = "Ring"
    created: str = ""
    line: Line | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "caller": {"name": "", "number": "1000"},
            "dialplan": {"context": "load", "exten": "s", "priority": 1, "app_name": "", "app_data": ""},
            "creationtime": self.created,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


class Pbx:
    """ARI, as far as the bridge goes."""

    def __init__(self, codec: Codec) -> None:
        self.sender = Sender(codec)
        self.channels: dict[str, Channel] = {}
        self.calls: dict[str, tuple[Channel, Channel]] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._numbers = count(1)
        self.connected = asyncio.Event()
        routes = [
            WebSocketRoute("/ari/events", self._follow),
            Route("/ari/applications/{app}/{what}", self._yes, methods=["PUT", "POST"]),
            Route("/ari/asterisk/info", self._info),
            Route("/ari/asterisk/modules", self._modules),
            Route("/ari/bridges", self._none),
            Route("/ari/channels", self._list, methods=["GET"]),
            Route("/ari/channels", self._tap, methods=["POST"]),
            Route("/ari/channels/{id}/variable", self._variable),
            Route("/ari/channels/{id}", self._hang_up, methods=["DELETE"]),
        ]
        self.app = Starlette(routes=routes)

    # What the benchmark does.

    def ring(self) -> str:
        """A new call of two parties, who talk at once; its id."""
        caller, callee = (self._channel(f"SIP/load-{next(self._numbers)}") for _ in range(2))
        call = caller.call = callee.call = caller.id
        self.calls[call] = caller, callee
        self._tell("ChannelCreated", channel=caller.as_json())
        self._tell(
            "ChannelUserevent",
            eventname="RTZR",
            channel=caller.as_json(),
            userevent={"eventname": "RTZR", "Call": f"{call}/{caller.id}"},
        )
        self._tell("ChannelCreated", channel=callee.as_json())
        self._tell("Dial", caller=caller.as_json(), peer=callee.as_json(), dialstatus="")
        for party in (callee, caller):
            party.state = "Up"
            self._tell("ChannelStateChange", channel=party.as_json())
        return call

    def end(self, call: str) -> None:
        """Both parties hang up; the taps end with them."""
        for party in self.calls.pop(call):
            for tap in [one for one in self.channels.values() if one.call == party.id and one.line]:
                self._destroy(tap)
            self._destroy(party)

    def _channel(self, name: str) -> Channel:
        channel = Channel(f"load.{next(self._numbers)}", name, "", created=_now())
        self.channels[channel.id] = channel
        return channel

    def _destroy(self, channel: Channel) -> None:
        if self.channels.pop(channel.id, None) is None:
            return
        if channel.line is not None:
            self.sender.remove(channel.line)
        self._tell("ChannelDestroyed", channel=channel.as_json(), cause=16, cause_txt="Normal Clearing")

    def _tell(self, kind: str, **fields: Any) -> None:
        self._events.put_nowait({"type": kind, "timestamp": _now(), "application": "rtzr-bridge", **fields})

    # What the bridge asks.

    async def _follow(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.connected.set()
        try:
            while True:
                await websocket.send_text(json.dumps(await self._events.get()))
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _yes(self, _: Request) -> Response:
        return JSONResponse({})

    async def _none(self, _: Request) -> Response:
        return JSONResponse([])

    async def _info(self, _: Request) -> Response:
        system = {"version": "load", "entity_id": "00:00:00:00:00:00"}
        return JSONResponse({"system": system, "status": {"startup_time": _now()}})

    async def _modules(self, _: Request) -> Response:
        return JSONResponse([{"name": "chan_rtp.so", "status": "Running"}])

    async def _list(self, _: Request) -> Response:
        return JSONResponse([channel.as_json() for channel in self.channels.values()])

    async def _tap(self, request: Request) -> Response:
        query, body = request.query_params, await request.json()
        host, port, *_ = query["endpoint"].removeprefix("UnicastRTP/").replace("/", ":").split(":")
        tap = Channel(
            query["channelId"], f"UnicastRTP/{host}:{port}", body["variables"]["RTZR_CHAN"], "Up", _now()
        )
        tap.line = self.sender.add(host, int(port), next(self._numbers))
        self.channels[tap.id] = tap
        self._tell("Dial", peer=tap.as_json(), dialstatus="ANSWER")
        return JSONResponse(tap.as_json())

    async def _variable(self, request: Request) -> Response:
        channel = self.channels.get(request.path_params["id"])
        if channel is None:
            return JSONResponse({"message": "Channel not found"}, 404)
        address = channel.line.sock.getsockname() if channel.line else ("", "")
        values = {
            "UNICASTRTP_LOCAL_ADDRESS": address[0],
            "UNICASTRTP_LOCAL_PORT": str(address[1]),
            "CHANNEL(state)": channel.state,
            "CHANNEL(linkedid)": channel.call,
        }
        value = values.get(request.query_params["variable"])
        return JSONResponse({"value": value}) if value else JSONResponse({"message": "no variable"}, 404)

    async def _hang_up(self, request: Request) -> Response:
        channel = self.channels.get(request.path_params["id"])
        if channel is None:
            return JSONResponse({"message": "Channel not found"}, 404)
        self._destroy(channel)
        return Response(status_code=204)


async def _process(settings: dict[str, Any]) -> None:
    pbx = Pbx(Codec.of(settings["codec"]))
    served = uvicorn.Config(
        pbx.app, host=_HOST, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(served)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(0.01)
    sending = asyncio.create_task(pbx.sender.run())

    async def ring(calls: int) -> int:
        await pbx.connected.wait()
        for _ in range(calls):
            pbx.ring()
            await asyncio.sleep(2 / settings["per_s"])
        return len(pbx.calls)

    async def end(calls: int) -> int:
        for call in list(pbx.calls)[:calls]:
            pbx.end(call)
            await asyncio.sleep(2 / settings["per_s"])
        return len(pbx.calls)

    async def aim(ports: list[int] | None) -> list[int]:
        return pbx.sender.aim(ports)

    async def reset(_: Any) -> None:
        pbx.sender.late_ms.clear()
        pbx.sender.sent = pbx.sender.failed = 0

    async def tell(_: Any) -> dict[str, Any]:
        late = pbx.sender.late_ms or [0.0]
        shares = {f"p{share}": round(percentile(late, share / 100), 3) for share in (50, 99)}
        lines = sum(map(len, pbx.sender.slots))
        return {
            "sent": pbx.sender.sent,
            "failed": pbx.sender.failed,
            "lines": lines,
            "late_ms": shares | {"max": max(late)},
        }

    port = server.servers[0].sockets[0].getsockname()[1]
    await serve({"port": port}, {"ring": ring, "end": end, "aim": aim, "reset": reset, "sent": tell})
    sending.cancel()
    server.should_exit = True
    await serving


if __name__ == "__main__":
    run(_process(json.loads(sys.argv[1])))
