"""One rung of the ladder: so many legs with the lower part of the media path, each rung with one part more.

`python -m bench.rung '{"rung": "ring", "legs": 200, "sink": 1234}'` is the process. The parts are the real
ones, put together as a desk does; what would come above them is left out. Nothing is measured here.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from bench.aside import serve
from bench.loops import run
from bench.wires import HOST
from bridge import logs
from bridge.config import Config
from bridge.leg.permit import Speech
from bridge.leg.ring import Ring
from bridge.load import collect_seldom
from bridge.net.rtp import PortPool, RtpPort
from bridge.quota import Governor, Permit
from bridge.types import Codec, Frame, LegId, NewLeg, Party, Role, Token, Transport
from bridge.wire import rtzr
from bridge.wire.gate import Gate, GateSettings, Mode
from bridge.wire.receiver import Receiver
from bridge.wire.replay import Tape
from bridge.wiring import build_desks, build_governor, build_rtzr

_FIRST_PORT, _LAST_PORT = 40_000, 49_999
_MESSAGE_MS = 100
_FINAL_MS = 4000
"""As often as the false RTZR tells a final."""
_FILLED = Codec.ULAW.silence(20)
"""What the gate puts where no packet came; what the false PBX sends is never quite silent."""


class _Rung:
    """What all have: legs that hear from a known source, and what of it reached the top."""

    def __init__(self) -> None:
        self.tasks = asyncio.TaskGroup()
        self.reached_ms = 0.0
        self.ports: list[int] = []

    async def open(self) -> None:
        """One more leg."""
        raise NotImplementedError

    async def lock(self, sources: Sequence[int]) -> None:
        """Leg by leg, where its packets come from."""
        raise NotImplementedError

    def reached(self) -> float:
        """Milliseconds of audio that came to the top of this rung, of all legs."""
        return self.reached_ms


class Wake(_Rung):
    """The loop wakes for a datagram, and it is read. Nobody looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self._socks: list[socket.socket] = []
        self._buffer = bytearray(2048)

    async def open(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.bind((HOST, 0))
        self._socks.append(sock)
        self.ports.append(sock.getsockname()[1])
        asyncio.get_running_loop().add_reader(sock, self._read, sock)

    def _read(self, sock: socket.socket) -> None:
        sock.recv_into(self._buffer)
        self.reached_ms += 20

    async def lock(self, sources: Sequence[int]) -> None:
        for sock, source in zip(self._socks, sources, strict=True):
            sock.connect((HOST, source))


class Receive(_Rung):
    """A datagram becomes a frame in call time: the port, the order, the clock."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = PortPool(HOST, _FIRST_PORT, _LAST_PORT, 0)
        self._began_s = time.monotonic()
        self._open: list[RtpPort] = []

    def now_ms(self) -> float:
        return (time.monotonic() - self._began_s) * 1000

    async def open(self) -> None:
        port = self._pool.open(Receiver(Codec.ULAW, 60), self.now_ms, self.top())
        self._open.append(port)
        self.ports.append(port.port)

    def top(self) -> Callable[[list[Frame]], None]:
        """Who gets the frames of one more leg."""
        return self.take

    def take(self, frames: Sequence[Frame]) -> None:
        self.reached_ms += 20 * len(frames)

    async def lock(self, sources: Sequence[int]) -> None:
        for port, source in zip(self._open, sources, strict=True):
            port.lock(HOST, source)


class Hand(Receive):
    """A message's frames are handed over to the leg's coroutine."""

    def top(self) -> Callable[[list[Frame]], None]:
        ring = Ring(Codec.ULAW, 60_000)
        self.tasks.create_task(self._read(ring))
        return ring.push

    async def _read(self, ring: Ring) -> None:
        while True:
            batch = await ring.read(_MESSAGE_MS, 2 * _MESSAGE_MS / 1000)
            self.take(batch.frames)


class Keep(Hand):
    """Through the gate and onto the tape, from which finals take it again."""

    async def _read(self, ring: Ring) -> None:
        gate, tape = Gate(GateSettings(Mode.IMMEDIATE), Codec.ULAW), Tape(Codec.ULAW, 60_000)
        sent_ms = told_ms = 0.0
        while True:
            batch = await ring.read(_MESSAGE_MS, 2 * _MESSAGE_MS / 1000)
            tape.append(gate.feed(batch.frames, self.now_ms()))
            pieces = tape.next(2 * _MESSAGE_MS)
            tape.sent(pieces, sent_ms)
            sent_ms += sum(piece.length_ms for piece in pieces)
            if sent_ms - told_ms >= _FINAL_MS:
                tape.cover(sent_ms)
                told_ms = sent_ms
            self.take(batch.frames)


class _Deaf:
    """A session that swallows what it is sent and tells a final now and then, without a socket."""

    clean = True

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.unsent = False
        self._take = take
        self._sent = self._told = 0.0
        self._finals: asyncio.Queue[rtzr.Result] = asyncio.Queue()

    def send(self, audio: bytes) -> bool:
        self._take(audio)
        self._sent += Codec.ULAW.ms(len(audio))
        if self._sent - self._told >= _FINAL_MS:
            self._finals.put_nowait(
                rtzr.Result(0, round(self._told), round(self._sent), final=True, text="x")
            )
            self._told = self._sent
        return True

    def finalize(self) -> bool:
        return True

    def end(self) -> bool:
        return True

    async def results(self) -> AsyncIterator[rtzr.Result]:
        while True:
            yield await self._finals.get()

    async def close(self) -> None: ...

    def abort(self) -> None: ...


class _DeafSpeech:
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    async def open(self, codec: Codec, priority: int = 0, **_: Any) -> Permit[_Deaf]:  # noqa: ARG002 - Speech's
        return Permit(_Deaf(self._take), lambda _: None)


class _Tokens:
    async def get(self, refused: Token | None = None) -> Token:  # noqa: ARG002 - a TokenSource's
        return Token("load", time.time() + 3600)


class Legs(_Rung):
    """Whole legs at their desks, with their books and sessions; these have no socket."""

    def __init__(self, sink: int) -> None:
        super().__init__()
        self._config = Config.model_validate(
            {
                "media": {"message_ms": _MESSAGE_MS, "bind": HOST},
                "gate": {"mode": "immediate"},
                "rtzr": {"stream_url": f"ws://{HOST}:{sink}/v1/transcribe:streaming"},
            }
        )
        rtzr_ = build_rtzr(self._config, _Tokens())
        self._governor = build_governor(self._config, rtzr_)
        ports = range(_FIRST_PORT, _LAST_PORT)
        self._legs = build_desks(self._config, ports, self.speech(), rtzr_, lambda _: None)
        self._desks: list[Any] = []

    def speech(self) -> Speech:
        return _DeafSpeech(self._count)

    def _count(self, audio: bytes) -> None:
        if not audio.endswith(_FILLED):
            self.reached_ms += Codec.ULAW.ms(len(audio))

    async def open(self) -> None:
        number, now_s = len(self._desks), asyncio.get_running_loop().time()
        desk = await self._legs.begin(NewLeg(LegId("call", str(number)), Party(Role.CALLER), now_s))
        self.tasks.create_task(desk.run())
        self.ports.append((await desk.open_inlet(Transport.RTP)).port)
        desk.answer(0.0)
        self._desks.append(desk)

    async def lock(self, sources: Sequence[int]) -> None:
        for desk, source in zip(self._desks, sources, strict=True):
            await desk.lock(HOST, source)


class Send(Legs):
    """The same with the real sockets to RTZR, at whose end is seen what came."""

    def speech(self) -> Speech:
        speech: Governor[Any] = self._governor
        return speech


RUNGS = ("wake", "receive", "hand", "keep", "leg", "send")


def _built(name: str, sink: int) -> _Rung:
    match name:
        case "leg":
            return Legs(sink)
        case "send":
            return Send(sink)
    return {"wake": Wake, "receive": Receive, "hand": Hand, "keep": Keep}[name]()


async def _process(settings: dict[str, Any]) -> None:
    rung = _built(settings["rung"], settings["sink"])

    async def lock(sources: list[int]) -> None:
        await rung.lock(sources)

    async def reached(_: Any) -> float:
        return rung.reached()

    async with rung.tasks as tasks:
        tasks.create_task(collect_seldom(lambda: len(rung.ports)))  # as in the daemon
        for _ in range(settings["legs"]):
            await rung.open()
        await serve({"ports": rung.ports}, {"lock": lock, "reached": reached})
        sys.exit(0)  # legs that are cut off have nothing to tell


if __name__ == "__main__":
    logs.set_up("error", "brief")
    run(_process(json.loads(sys.argv[1])))
