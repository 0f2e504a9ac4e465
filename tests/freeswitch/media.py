"""The module's end of a media WebSocket, by recorded bytes: upgrade, masked frames, ways to end."""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.freeswitch.recording import upgrade

OPCODES = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
ANSWER_S = 5.0
"""How long we wait for an answer to our upgrade. The modules wait 1 s, but a test's machine may be busy."""
CLOSE_S = 1.0
"""How long they wait for an answer to their Close."""


class UpgradeRefused(Exception):
    """The server did not answer with 101."""


def frame(op: str, payload: bytes, mask: bytes) -> bytes:
    """One whole masked frame."""
    size = len(payload)
    head = bytes([0x80 | OPCODES[op]])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", size)
    stream = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + mask + masked.to_bytes(size, "big")


@dataclass(slots=True, eq=False)
class MediaConnection:
    """An upgraded connection. What the server sends is read all the time, and kept."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rng: random.Random
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """The server has closed it, by a Close or the end of TCP."""
    closing: bool = False
    """We have sent a Close."""
    by_server: bool = False
    """The server was the first to close."""
    code: int = 1006
    """The server's Close code; 1006: none came."""
    reason: str = ""
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    """(opcode, payload) of what else the server sent."""

    def send(self, op: str, payload: bytes = b"") -> None:
        """Send a frame, in one piece or in several. Nothing happens once the connection is closed."""
        if self.closed.is_set() or self.closing:
            return
        self.closing = op == "close"
        self._write(frame(op, payload, self.rng.randbytes(4)))

    def _write(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            return
        if self.rng.random() < 0.05:
            cut = self.rng.randrange(len(data))
            self.writer.write(data[:cut])
            data = data[cut:]
        self.writer.write(data)

    async def close(self, payload: bytes) -> None:
        """The closing handshake, and TCP's after it."""
        self.send("close", payload)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.closed.wait()
        except TimeoutError:
            pass
        self.drop()

    def drop(self) -> None:
        """End TCP without a Close: FIN."""
        self.closing = True
        self.writer.close()

    def reset(self) -> None:
        """End TCP with RST."""
        self.closing = True
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def read(self, ended: Callable[[], None]) -> None:
        """Until the server or we end it, which `ended` is told."""
        try:
            while True:
                opcode, payload = await self._frame()
                if opcode == OPCODES["close"]:
                    self._server_closes(payload)
                    return
                if opcode == OPCODES["ping"]:
                    self.send("pong", payload)
                self.heard.append((opcode, payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.by_server = not self.closing
        finally:
            self.closed.set()
            ended()

    def _server_closes(self, payload: bytes) -> None:
        self.code = int.from_bytes(payload[:2], "big") if payload else 1005
        self.reason = payload[2:].decode()
        self.by_server = not self.closing
        self.send("close", payload)

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        if second & 0x80:
            raise AssertionError("a server does not mask")
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)


async def connect(url: str, recorded: str, rng: random.Random) -> MediaConnection:
    """Upgrade as the recorded connection did, but to `url`. Raises UpgradeRefused and OSError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(upgrade(recorded, host, port, path, rng.randbytes(16)))
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
        except BaseException as error:
            writer.close()
            if isinstance(error, asyncio.IncompleteReadError | ConnectionError):
                raise UpgradeRefused("closed") from error
            raise
    status = answer.split(b"\r\n", 1)[0].decode()
    if " 101 " not in status:
        writer.close()
        raise UpgradeRefused(status)
    return MediaConnection(reader, writer, rng)
