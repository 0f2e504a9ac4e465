"""One end of the socket pair between the daemon and a worker: messages, questions and their answers.

What messages are is in `bridge.wire.link`, what they set going is given by the owner of this end. Sending
never waits; an end that does not read for so long that the buffer is full counts as gone.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast

import structlog

from bridge.wire.link import Answer, Ask, Decoder, LinkError, Withdraw, encode, sendable

_log = structlog.get_logger()

_MOST_BUFFERED = 64 << 20
"""Bytes that the other end has not read: a minute of everything that a full worker says."""


class LinkLost(Exception):
    """The other end is gone; what was asked of it is not answered."""


class Link(asyncio.Protocol):
    """`lost` is set when the other end is gone; by then every question has failed."""

    def __init__(self, take: Callable[[Any], None], answer: Callable[[Any], Awaitable[Any]]) -> None:
        """`take` gets messages in order; `answer` gets questions, each in a task of this link."""
        self._take = take
        self._answer = answer
        self._decoder = Decoder()
        self._numbers = count()
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    # What the owner does.

    async def connect(self, sock: socket.socket) -> None:
        """Begin, over this end of a socket pair, which is the link's from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def tell(self, message: Any) -> None:
        """Send; without effect once the other end is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(encode(message))
        if transport.get_write_buffer_size() > _MOST_BUFFERED:
            _log.error("process does not read; given up", buffered=_MOST_BUFFERED)
            transport.abort()

    async def ask(self, question: Any) -> Any:
        """The other end's answer. Raises what its owner raised, or LinkLost. Cancelling it cancels there."""
        if self.lost.is_set():
            raise LinkLost
        number = next(self._numbers)
        answered = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell(Ask(number, question))
            return await answered
        except asyncio.CancelledError:
            self.tell(Withdraw(number))
            raise
        finally:
            # An error keeps this frame, which would keep the error: a cycle that no one frees for an hour.
            del self._questions[number], answered

    def close(self) -> None:
        """Let go; what was written still goes out."""
        if self._transport is not None:
            self._transport.close()

    async def gone(self) -> None:
        """Wait for the end of the link, and of everything it was answering."""
        await self.lost.wait()
        if self._answering:
            await asyncio.wait(self._answering.values())

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._receive(message)
        except LinkError as error:
            _log.error("process not understood; given up", reason=str(error))
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - gone is gone
        self.lost.set()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(LinkLost())
        for task in self._answering.values():
            task.cancel()

    def _receive(self, message: Any) -> None:
        match message:
            case Ask(number, question):
                task = asyncio.get_running_loop().create_task(self._serve(number, question))
                self._answering[number] = task
                task.add_done_callback(lambda _: self._answering.pop(number, None))
            case Answer(number, value, error):
                self._answered(number, value, error)
            case Withdraw(number):
                if (withdrawn := self._answering.get(number)) is not None:
                    withdrawn.cancel()
            case _:
                self._act_on(message)

    def _act_on(self, message: Any) -> None:
        """What goes wrong with one message ends neither the link nor its process, and with it all legs."""
        try:
            self._take(message)
        except Exception:
            _log.exception("message not carried out", kind=type(message).__name__)

    def _answered(self, number: int, value: Any, error: Exception | None) -> None:
        question = self._questions.get(number)
        if question is None or question.done():
            return
        if error is None:
            question.set_result(value)
        else:
            question.set_exception(error)

    async def _serve(self, number: int, question: Any) -> None:
        try:
            self.tell(Answer(number, await self._answer(question)))
        except Exception as error:  # it is the asker's to judge
            self.tell(Answer(number, error=sendable(error)))
