"""The line between one leg and RTZR: a forwarder on loopback that can be cut in the middle of a word.

Bytes in, the same bytes out, both ways; what they mean is nobody's business here.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 s. Closing then resets the connection and throws away what was under way."""


class Line:
    """`async with Line(host, port) as line`: dial `line.port` in place of `port`.

    `drops`: while it is cut, dials get no answer, as when packets are lost; else they are reset.
    """

    def __init__(self, host: str, port: int, *, drops: bool = False) -> None:
        self._host, self._far_port, self._drops = host, port, drops
        self._server: asyncio.Server | None = None
        self._whole = True
        self._ends: set[_End] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self.port = 0
        self.resets = 0
        """Connections that were cut while they carried something."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self._ends, self._accept), self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        self._reset()

    async def outage(self, seconds: float) -> None:
        """Cut it, and mend it after `seconds`; with 0 the next dial goes through."""
        self.resets += sum(end.other is not None for end in self._ends) // 2
        self._whole = False
        self._reset()
        await asyncio.sleep(seconds)
        self._whole = True
        self._reset()  # dials that nobody answered are told so now

    def _reset(self) -> None:
        for end in list(self._ends):
            end.reset()

    def _accept(self, near: "_End") -> None:
        if self._whole:
            dial = asyncio.get_running_loop().create_task(self._dial(near))
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)
        elif not self._drops:
            near.reset()

    async def _dial(self, near: "_End") -> None:
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(lambda: _End(self._ends), self._host, self._far_port)
        except OSError:
            near.reset()
            return
        if self._whole:
            near.join(far)
        else:
            far.reset()


class _End(asyncio.Protocol):
    """One end of a connection; what it reads goes to the other end."""

    def __init__(self, ends: "set[_End]", accepted: "Callable[[_End], None] | None" = None) -> None:
        self._ends = ends
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ends.add(self)
        if self._accepted is not None:
            self._accepted(self)

    def join(self, other: "_End") -> None:
        """From now on what one reads the other writes."""
        self.other, other.other = other, self
        other.write(bytes(self._early))
        self._early.clear()
        if self._transport is None:
            other.close()  # it hung up while the far end was being dialled

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ends.discard(self)
        self._transport = None
        if self.other is not None:
            self.other.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End it at once, both directions, whatever was under way."""
        if self._transport is not None:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
