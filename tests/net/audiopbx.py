"""The PBX's side of AudioSocket on a plain socket, for what Asterisk does and for what it never should."""

import asyncio
import socket
import struct
from collections.abc import Callable
from uuid import UUID

from bridge.types import Codec
from bridge.wire.audiosocket import IDENTITY, KINDS, SLIN, Audio, HungUp, Message, Parser, frame

_RESET = struct.pack("ii", 1, 0)  # linger no time: closing resets


class AudioPbx:
    """One connection. Everything is sent at once, and heard only when asked."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard: list[Message] = []
        self._parser = Parser()
        self._parser.feed(hello(UUID(int=0)))  # a server names nothing

    @classmethod
    def connect(cls, port: int, key: UUID | None = None, room: int | None = None) -> "AudioPbx":
        """`room`: bytes that its kernel takes while nobody listens."""
        sock = socket.socket()
        if room is not None:  # before it connects: a window that has been offered cannot shrink
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.connect(("127.0.0.1", port))
        pbx = cls(sock)
        if key is not None:
            pbx.send(hello(key))
        return pbx

    def send(self, data: bytes) -> None:
        assert self.sock.send(data) == len(data)

    def listen(self) -> bool:
        """Hears what has come; whether the other side is still there."""
        try:
            while data := self.sock.recv(65_536):
                self.heard += self._parser.feed(data)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        return False

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    @property
    def silence(self) -> list[Audio]:
        return [message for message in self.heard if isinstance(message, Audio)]

    @property
    def told_to_go(self) -> bool:
        return bool(self.heard) and self.heard[-1] == HungUp()


def hello(key: UUID) -> bytes:
    return frame(IDENTITY, key.bytes)


def voice(number: int, codec: Codec = Codec.SLIN) -> bytes:
    """20 ms that can be told from others, as Asterisk 22.7 and up sends them."""
    return frame(KINDS[codec.rate], bytes([number % 256, 1]) * (codec.rate // 50))


def old_voice(number: int) -> bytes:
    """20 ms of 16 kHz, as releases before 22.7 send them."""
    return frame(SLIN, bytes([number % 256, 1]) * 320)


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what is waited for is the loop's own work, or the kernel's
            await asyncio.sleep(0.001)
