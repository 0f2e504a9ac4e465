"""The least that so many legs can cost in Python: receive, mask, send, and nothing else.

`python -m bench.floor '{"legs": 100, "sink": 1234, "message_ms": 100}'` is the process: bare sockets and
epoll, no loop, no library but for the masking. It looks at no packet. What the daemon costs is told as a
multiple of it. With a `message_ms` of null nothing is sent: what is left is receiving.
"""

import asyncio
import json
import os
import select
import socket
import sys
import threading
from base64 import b64encode
from typing import Any

from websockets.speedups import apply_mask

from bench.aside import serve
from bench.loops import run
from bench.wires import HEADER, HOST, PACKET, STREAM


class _Ear:
    """A UDP port, and nothing behind it."""

    def __init__(self) -> None:
        self.port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.port.bind((HOST, 0))
        self.packets = 0

    def receive(self, buffer: memoryview) -> None:
        self.port.recv_into(buffer)
        self.packets += 1


class _Leg(_Ear):
    """A UDP port and a stream."""

    def __init__(self, sink: int, message: int) -> None:
        super().__init__()
        self._stream = _stream(sink)
        self._message = message
        self._waiting = bytearray()

    def receive(self, buffer: memoryview) -> None:
        size = self.port.recv_into(buffer)
        self._waiting += buffer[HEADER:size]
        if len(self._waiting) >= self._message:
            mask = os.urandom(4)
            head = b"\x82\xfe" + len(self._waiting).to_bytes(2, "big") + mask
            self._stream.send(head + apply_mask(self._waiting, mask))
            self._waiting.clear()


def _stream(sink: int) -> socket.socket:
    stream = socket.create_connection((HOST, sink))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET {STREAM} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += stream.recv(4096)
    return stream


def _work(legs: list[_Ear], stop: threading.Event) -> None:
    poll, by_number = select.epoll(), {leg.port.fileno(): leg for leg in legs}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    buffer = memoryview(bytearray(2048))
    while not stop.is_set():
        for number, _ in poll.poll(0.5):
            by_number[number].receive(buffer)


async def _process(settings: dict[str, Any]) -> None:
    message_ms = settings["message_ms"]
    legs = [
        _Leg(settings["sink"], message_ms // 20 * PACKET) if message_ms else _Ear()
        for _ in range(settings["legs"])
    ]

    async def reached(_: Any) -> float:
        return 20 * sum(leg.packets for leg in legs)

    stop = threading.Event()
    working = asyncio.get_running_loop().run_in_executor(None, _work, legs, stop)
    await serve({"ports": [leg.port.getsockname()[1] for leg in legs]}, {"reached": reached})
    stop.set()
    await working


if __name__ == "__main__":
    run(_process(json.loads(sys.argv[1])))
