"""One leg's audio over a WebSocket from the PBX, whichever that is, and the connection that brings it.

What messages mean is in `bridge.wire.mediasocket` and `bridge.wire.audiostream`, how a connection comes about
in the modules of those names here and in `mediaserver`. We read whatever comes at once, whatever becomes of
it: an Asterisk that cannot write holds the channel's lock, and the call waits (its issue 2140). We send
nothing but the handshake, the close and answers to pings: versions of Asterisk crash on a pong that they did
not ask for (its issue 2085).

A connection is a protocol of the loop around the library's Sans-I/O half: no task and no queue of its own,
and a fraction of the price of reading messages from a coroutine.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

import structlog
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as Piece
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from bridge.net.frames import forget_frames
from bridge.types import Frame

_log = structlog.get_logger()

CLOSE_S = 0.5
"""How long the other end has to answer our close, and we to read what is still on its way."""
_MOST_BUFFERED = 1 << 16
"""Bytes of answers to pings that the other end has not read."""
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A machine that is gone without a word is missed after a minute, without a ping."""

Deliver = Callable[[list[Frame]], None]


Message = bytes | bytearray | memoryview
"""One of audio."""


class Counters(Protocol):
    """What became of a leg's messages; of that, what is counted here."""

    undelivered: int
    replaced: int
    broken: int


class Stream(Protocol):
    """What makes one leg's messages its frames: `MediaStream` or `AudioStream` of `bridge.wire`."""

    @property
    def counters(self) -> Counters: ...

    def restart(self) -> None:
        """Another connection follows."""


S = TypeVar("S", bound=Stream)


class Inlet(Generic[S]):
    """One leg's audio, over the connection that brings it. `close` it in every path."""

    __slots__ = ("_connection", "_deliver", "_ended", "_forget", "clock", "close_code", "stream")

    lasts = False
    """Whether it waits for another connection when one has ended."""

    def __init__(
        self,
        stream: S,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None = None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        self.clock = clock
        self.stream = stream
        self.close_code: int | None = None
        """Why the last connection ended: 1000 after a hang-up, 1006 without a word."""
        self._deliver = deliver
        self._ended = ended
        self._forget = forget
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def close(self) -> None:
        """No more audio is wanted: close with 1000, and deliver what comes until the other end has closed
        too, for `CLOSE_S` at most. Asterisk hangs its channel up. `ended` is not called."""
        self._ended = None
        self._forget()
        if self._connection is not None:
            await self._connection.close()

    # What a transport has of its own.

    def meet(self, headers: Headers) -> bool:  # noqa: ARG002 - for those who look at them
        """Whether a connection that has brought the key is let in."""
        return True

    def hear(self, messages: Sequence[Message], now_ms: float) -> None:
        """Take binary messages that arrived together."""
        raise NotImplementedError

    def told(self, text: str) -> bool:
        """Take a text message; False if the connection is to be dropped."""
        raise NotImplementedError

    # What connections do.

    def attach(self, connection: "Connection") -> None:
        """This connection brings the audio from now on, and no other."""
        before, self._connection = self._connection, connection
        connection.inlet = self
        if before is not None:
            self.stream.counters.replaced += 1
            before.inlet = None
            before.shut()
        self.stream.restart()

    def hand_on(self, frames: list[Frame], deliver: Deliver) -> None:
        """What goes wrong there must not keep us from reading."""
        try:
            deliver(frames)
        except Exception:
            self.stream.counters.undelivered += len(frames)
            _log.exception("audio not taken")

    def lost(self, close_code: int | None, broken: bool) -> None:
        """The connection has ended."""
        self._connection = None
        self.close_code = close_code
        self.stream.counters.broken += broken
        self.stream.restart()
        if self.lasts:
            return
        self._forget()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


class Connection(asyncio.Protocol):
    """One WebSocket: bytes go through the library's half, and messages to the inlet."""

    def __init__(self, protocol: ClientProtocol | ServerProtocol) -> None:
        self.inlet: Inlet[Any] | None = None
        """Whom the audio is for, once that is known."""
        self._protocol = protocol
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._parts = bytearray()
        self._parts_are = Opcode.BINARY
        self._ending = False
        self.gone = asyncio.Event()

    # What the owner does.

    def shut(self) -> None:
        """Close with 1000; the connection is gone in `CLOSE_S` at most."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self.flush()
        elif self._protocol.state is State.CONNECTING:
            self.abort()

    async def close(self) -> None:
        self.shut()
        await self.gone.wait()

    def abort(self) -> None:
        """Drop it at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        events = protocol.events_received()
        if events:
            self.take(events)
        self.flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self.flush()
        self._end_soon()  # what it does not read would keep the connection for ever

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self._protocol.receive_eof()
        self.expect_end(None)
        self._transport = None
        wrong = self._protocol.parser_exc
        for error in (wrong, self._protocol.handshake_exc):
            if error is not None:
                forget_frames(error)
        self._protocol.parser.close()  # it and its protocol keep each other
        self.gone.set()
        inlet, self.inlet = self.inlet, None
        if inlet is not None:
            inlet.lost(self._protocol.close_code, wrong is not None and not isinstance(wrong, EOFError))

    def take(self, events: list[Event]) -> None:
        inlet = self.inlet
        if inlet is None:  # replaced
            return
        messages: list[Message] = []
        now_ms = inlet.clock()
        for event in events:
            if isinstance(event, Piece):
                if event.opcode is Opcode.BINARY and event.fin:
                    messages.append(event.data)
                else:
                    self._take_other(inlet, event, messages, now_ms)
        if messages:
            inlet.hear(messages, now_ms)

    def _take_other(self, inlet: Inlet[Any], event: Piece, messages: list[Message], now_ms: float) -> None:
        """A text, or a piece of a message (of a proxy's making: no PBX cuts any), or none of ours."""
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts_are = event.opcode
            self._parts = bytearray(event.data)
        elif event.opcode is Opcode.CONT:
            self._parts += event.data
        else:
            return
        if not event.fin:
            return
        whole, self._parts = self._parts, bytearray()
        if self._parts_are is Opcode.BINARY:
            messages.append(whole)
            return
        if messages:  # what came before it
            inlet.hear(messages, now_ms)
            messages.clear()
        if not inlet.told(whole.decode(errors="replace")):
            self.abort()

    def flush(self) -> None:
        """What the library has to say goes out, and the end is awaited if there is to be one."""
        transport = self._transport
        data = self._protocol.data_to_send()
        if transport is None or transport.is_closing():
            return
        for piece in data:
            if piece:
                transport.write(piece)
            elif transport.can_write_eof():
                with suppress(OSError, RuntimeError):  # uvloop's, where the other end was quicker
                    transport.write_eof()
            else:
                transport.close()
        if data and transport.get_write_buffer_size() > _MOST_BUFFERED:
            transport.abort()
        if self._protocol.state is not State.OPEN and self._protocol.close_expected():
            self._end_soon()

    def _end_soon(self) -> None:
        if not self._ending:  # whatever still comes wins it no time
            self._ending = True
            self.expect_end(CLOSE_S)

    def expect_end(self, within_s: float | None) -> None:
        """The connection is dropped if it is still there then; with None, or sooner, it is not."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if within_s is None else self.loop.call_later(within_s, self.abort)


def _keep_alive(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, number in _KEEPALIVE:
        if hasattr(socket, name):  # not every platform has them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), number)
