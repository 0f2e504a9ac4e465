"""FreeSWITCH's part of a media stream, byte by byte: recorded handshakes, and frames as modules send them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bridge.net.audiostream import AudioStreamInlet, AudioStreamServer
from bridge.types import Codec
from tests.net.media import Heard

CAPTURES = Path(__file__).parents[1] / "captures" / "freeswitch"
KEY = "k3y-of_a-leg-that-nobody-could-guess-0001"
MASK = b"\x12\x34\x56\x78"

TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89


def recorded_request(recording: str) -> str:
    """The first upgrade of a recording, to the byte."""
    (path,) = CAPTURES.glob(f"{recording}*.jsonl")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    raw: str = next(line["raw"] for line in lines if line["src"] == "http_request")
    return raw


def request(recording: str = "mas-01", key: str = KEY, more: str = "") -> bytes:
    """That of a recording, for the stream with `key`."""
    head, blank, rest = recorded_request(recording).partition(" HTTP/1.1\r\n")
    return f"{head.split(' ')[0]} /{key}{blank}{more}{rest}".encode()


def framed(kind: int, payload: bytes = b"") -> bytes:
    """A masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes([kind, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([kind, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([kind, 0x80 | 127]) + size.to_bytes(8, "big")
    mask = (MASK * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + masked.to_bytes(size, "big")


class Switch:
    """One connection of FreeSWITCH's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def speak(self, *messages: bytes) -> None:
        self.send(*(framed(BINARY, message) for message in messages))

    async def answer(self) -> str:
        """The head of what the server says to the handshake."""
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def rest(self) -> bytes:
        """What the server says until the end of the connection, whichever way that ends."""
        said = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                while piece := await self.reader.read(4096):
                    said += piece
        return said


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Switch]:
    """TCP, or TLS, and nothing said yet."""
    host = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
    try:
        yield Switch(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@asynccontextmanager
async def streaming(
    port: int, recording: str = "mas-01", key: str = KEY, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Switch]:
    """A stream that was let in."""
    async with connected(port, tls) as switch:
        switch.send(request(recording, key))
        assert (await switch.answer()).startswith("HTTP/1.1 101 ")
        yield switch


def expected(server: AudioStreamServer, heard: Heard, key: str = KEY) -> AudioStreamInlet:
    """A leg with a mono stream at 8 kHz."""
    return server.expect(key, Codec.SLIN, heard.clock, heard.batches.append)
