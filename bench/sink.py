"""RTZR's place in the load benchmark: takes streams, counts and times what comes, and says little.

`python -m bench.sink '{"tls": null, "partials_s": 0}'` is the process. It has no WebSocket library, so that
it is not what is measured: frames are cut and only the stamp is unmasked. It tells a final every four
seconds, for RTZR says something in that time, and a bridge keeps what was not answered.
"""

import asyncio
import json
import ssl
import sys
import time
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.aside import serve
from bench.loops import run
from bench.stamp import CLOCK_SPAN_US, NUMBERS, Stamps
from bridge.types import Codec

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL_MS = 4000
_PACKET_MS = 20
_TEXT, _BINARY, _CLOSE, _PING = 1, 2, 8, 9
_LONG, _LONGER = 126, 127
_SLEEP_MS = 60_000
"""A gap this long is the clock's span, and no delay."""


@dataclass(slots=True)
class Heard:
    """Of all streams together, since the last `reset`."""

    messages: int = 0
    packets: int = 0
    missing: int = 0
    """Packets that were sent, by their numbers, and are in no message."""
    added_ms: list[float] = field(default_factory=list)
    """Of each message: from its last packet's stamp to here."""
    streams: int = 0


class Stream(asyncio.Protocol):
    """One connection: a token's request, or a stream of audio."""

    def __init__(self, heard: Heard, stamps: dict[str, Stamps], partial_ms: float) -> None:
        self._heard = heard
        self._all_stamps = stamps
        self._partial_ms = partial_ms
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None
        self._codec: Codec | None = None
        self._stamps = stamps["ulaw"]
        self._packet = 0
        self._ms = self._told_ms = self._partial_at_ms = 0.0
        self._seq = 0
        self._last: int | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._heard.streams -= self._codec is not None

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._codec is None and not self._greeted():
            return
        now_us = time.monotonic_ns() // 1000
        while self._take_frame(now_us):
            pass

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # HTTP.

    def _greeted(self) -> bool:
        """Whether a stream has begun."""
        head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not end:
            return False
        line, *headers = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in headers)}
        if line.startswith("POST"):
            if len(rest) >= int(fields.get("content-length", 0)):
                self._data.clear()
                self._token()
            return False
        self._data = bytearray(rest)
        self._upgrade(line.split(" ")[1], fields["sec-websocket-key"])
        return True

    def _token(self) -> None:
        body = json.dumps({"access_token": "load", "expire_at": int(time.time()) + 21_600}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)

    def _upgrade(self, path: str, key: str) -> None:
        query = parse_qs(urlsplit(path).query)
        rate, encoding = int(query["sample_rate"][0]), query["encoding"][0]
        self._codec = next(codec for codec in Codec if (codec.rate, codec.rtzr) == (rate, encoding))
        self._stamps = self._all_stamps[self._codec.label]
        self._packet = _PACKET_MS * self._codec.bytes_per_ms
        accept = b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
        self._heard.streams += 1
        self._write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    # Frames (RFC 6455 section 5.2), masked and whole, as clients send them.

    def _take_frame(self, now_us: int) -> bool:
        data = self._data
        if len(data) < 6:
            return False
        opcode, length, start = data[0] & 0x0F, data[1] & 0x7F, 2
        if length == _LONG:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == _LONGER:
            length, start = int.from_bytes(data[2:10], "big"), 10
        end = start + 4 + length
        if len(data) < end:
            return False
        if opcode == _BINARY:
            self._audio(start, length, now_us)
        else:
            self._other(opcode, bytes(data[start + 4 : end]), bytes(data[start : start + 4]))
        del data[:end]
        return True

    def _audio(self, start: int, length: int, now_us: int) -> None:
        heard, packets = self._heard, length // self._packet
        heard.messages += 1
        heard.packets += packets
        self._time(start, length, packets, now_us)
        if self._codec is not None:
            self._ms += length / self._codec.bytes_per_ms
        if self._ms - self._told_ms >= _FINAL_MS:
            self._final()
        elif self._partial_ms and self._ms - self._partial_at_ms >= self._partial_ms:
            self._partial_at_ms = self._ms
            self._result(final=False)

    def _time(self, start: int, length: int, packets: int, now_us: int) -> None:
        """Read the stamp of the message's last packet."""
        offset = length - self._packet
        if offset < 0:
            return
        size, begin = self._stamps.size, start + 4 + offset
        turn = offset % 4
        mask = bytes(self._data[start : start + 4]) * 2
        key = int.from_bytes(mask[turn : turn + 4] * (size // 4), "big")
        plain = (int.from_bytes(self._data[begin : begin + size], "big") ^ key).to_bytes(size, "big")
        stamp = self._stamps.read(plain)
        if stamp is None:
            return
        added_ms = ((now_us - stamp.at_us) % CLOCK_SPAN_US) / 1000
        if added_ms < _SLEEP_MS:
            self._heard.added_ms.append(added_ms)
        if self._last is not None:
            missing = (stamp.number - self._last) % NUMBERS - packets
            self._heard.missing += max(0, missing)
        self._last = stamp.number

    def _other(self, opcode: int, masked: bytes, mask: bytes) -> None:
        text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        if opcode == _CLOSE:
            self._write(bytes([0x80 | _CLOSE, len(text)]) + text)
            if self._transport is not None:
                self._transport.close()
        elif opcode == _PING:
            self._write(bytes([0x80 | 0x0A, len(text)]) + text)
        elif text == b"EOS":
            self._final()
            self._write(bytes([0x80 | _CLOSE, 2]) + (1000).to_bytes(2, "big"))
        elif opcode == _TEXT:
            self._final()

    # Results.

    def _final(self) -> None:
        self._result(final=True)
        self._seq += 1
        self._told_ms = self._partial_at_ms = self._ms

    def _result(self, *, final: bool) -> None:
        word = {"text": "예약|", "start_at": 0, "duration": 400, "confidence": 0.9}
        best = {"text": "예약 변경 부탁드립니다", "confidence": 0.9, "words": [word] * 3 if final else []}
        body = {
            "seq": self._seq,
            "start_at": int(self._told_ms),
            "duration": int(self._ms - self._told_ms),
            "final": final,
            "alternatives": [best],
        }
        text = json.dumps(body, ensure_ascii=False).encode()
        self._write(bytes([0x80 | _TEXT, _LONG]) + len(text).to_bytes(2, "big") + text)


async def _process(settings: dict[str, Any]) -> None:
    heard, stamps = Heard(), {codec.label: Stamps(codec) for codec in Codec}
    partial_ms = 1000 / settings["partials_s"] if settings["partials_s"] else 0.0
    tls = None
    if settings["tls"]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(settings["tls"]["cert"], settings["tls"]["key"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Stream(heard, stamps, partial_ms), "127.0.0.1", 0, ssl=tls, backlog=2000
    )

    async def reset(_: Any) -> None:
        heard.messages = heard.packets = heard.missing = 0
        heard.added_ms.clear()

    async def tell(_: Any) -> dict[str, Any]:
        return {
            "messages": heard.messages,
            "packets": heard.packets,
            "missing": heard.missing,
            "added_ms": heard.added_ms,
        }

    async def streams(_: Any) -> int:
        return heard.streams

    async def timed(_: Any) -> int:
        return len(heard.added_ms)

    async with server:
        await serve(
            {"port": server.sockets[0].getsockname()[1]},
            {"reset": reset, "heard": tell, "streams": streams, "timed": timed},
        )


if __name__ == "__main__":
    run(_process(json.loads(sys.argv[1])))
