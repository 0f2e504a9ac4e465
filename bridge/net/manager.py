"""One AMI connection through panoramisk, with its faults (version 1.4) kept from harming anyone.

What it does well is used: cutting a stream into messages, and finding the replies of an action. What it does
on its own is not: it connects again and repeats actions (a second tap!), pings without listening, lets a
callback's exception close the socket, loses letters that TCP has cut in two, and prints what it sends. So a
connection here lives once; whoever wants another makes another.
"""

import asyncio
import codecs
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol
from panoramisk.manager import Manager

from bridge.wire.pbxevents import PbxUnreachable

logging.getLogger("panoramisk").setLevel(logging.CRITICAL)  # it prints actions, keys and all

_MOST_WAITING = 16_384
"""Events for the consumer."""
_LONGEST = 1 << 20
"""Bytes of a message that has no end yet."""


class _Protocol(AMIProtocol):  # type: ignore[misc] # panoramisk has no types
    """Panoramisk's, fed with whole letters only."""

    def __init__(self, connection: "ManagerConnection") -> None:
        self._connection = connection
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.factory = self._connection
        self.encoding = "utf-8"

    def data_received(self, data: bytes) -> None:
        text = self._letters.decode(data)
        try:
            super().data_received(text.encode())
        except Exception as error:  # asyncio would close the socket and say so to nobody
            self._connection.fail(f"message not understood: {type(error).__name__}")
        if self.queue and len(self.queue[0]) > _LONGEST:
            self._connection.fail("a message without an end")


class ManagerConnection(Manager):  # type: ignore[misc]
    """`open()` it once, ask, read `messages()`, and `close()` it."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            host=host,
            port=port,
            ssl=tls or False,
            encoding="utf-8",
            protocol_factory=lambda: _Protocol(self),
            loop=asyncio.get_running_loop(),
        )
        self.why = ""
        """Why it ended."""
        self._over = False
        self._waiting: deque[Any] = deque()
        self._news = asyncio.Event()
        self._asked: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Connect. Raises OSError."""
        await self.connect()
        await asyncio.sleep(0)  # panoramisk takes the protocol in a callback of the same task

    async def ask(self, action: dict[str, str]) -> list[Any]:
        """All replies to one action, in order. Raises PbxUnreachable when the connection ends before."""
        if self._over or self.protocol is None:
            raise PbxUnreachable(self.why or "not connected")
        sent = Action(action)
        self._asked.add(sent.future)
        try:
            replies = await self.send_action(sent)
        finally:
            self._asked.discard(sent.future)
            self.protocol.responses.pop(sent.id, None)
        return replies if isinstance(replies, list) else [replies]

    async def messages(self) -> AsyncIterator[Any]:
        """Events, until the connection ends."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._over:
                return
            self._news.clear()
            await self._news.wait()

    def fail(self, why: str) -> None:
        """It is of no more use: what was asked is not answered, and no event will come."""
        if self._over:
            return
        self._over, self.why = True, why
        for future in self._asked:
            if not future.done():
                future.set_exception(PbxUnreachable(why))
        self._news.set()
        self._let_go()

    def close(self) -> None:
        """Any number of times."""
        self.fail("closed")

    def _let_go(self) -> None:
        self._let_go_of_pings()
        if self.protocol is not None:
            self.protocol.responses.clear()
            self.awaiting_actions.clear()
            self.protocol.transport.abort()

    def _let_go_of_pings(self) -> None:
        pinger: asyncio.TimerHandle | None = self.pinger
        if pinger is not None:
            pinger.cancel()

    # What panoramisk calls.

    def connection_made(self, f: "asyncio.Task[Any]") -> None:
        """Else it would try again by itself; whoever awaits `open` has the error."""
        if f.cancelled() or f.exception() is not None:
            return
        super().connection_made(f)
        self._let_go_of_pings()

    def connection_lost(self, exc: Any) -> None:
        self.fail(f"{exc}" if isinstance(exc, Exception) else "closed by the PBX")

    def dispatch(self, event: Any) -> list[Any]:
        if len(self._waiting) >= _MOST_WAITING:
            self.fail(f"{_MOST_WAITING} events wait")
        elif not self._over:
            self._waiting.append(event)
            self._news.set()
        return []
