"""A telephone that sends a recording's packets to one port, each at its time."""

import asyncio
import socket
from contextlib import suppress
from random import randrange

from bridge.simulate.recording import Track
from bridge.wire import rtp


class Telephone:
    """`close` it. Like `bridge.player`, but the packets are given."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.connect((host, port))
        self._salt = randrange(1 << 32)  # noqa: S311 - two calls of one recording are two sources
        self.sent = 0
        """Packets, those too for which nobody listened."""

    @property
    def address(self) -> tuple[str, int]:
        """Where the packets come from."""
        host, port = self._socket.getsockname()
        return host, port

    async def play(self, track: Track) -> None:
        """The whole of it, by one clock, so that it does not drift."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for at_ms, packet in track.packets():
            await asyncio.sleep(max(0.0, start_s + at_ms / 1000 - loop.time()))
            self.sent += 1
            with suppress(OSError):  # what nobody took is missing in the receiver's count
                self._socket.send(rtp.build(packet._replace(ssrc=packet.ssrc ^ self._salt)))

    def close(self) -> None:
        self._socket.close()
