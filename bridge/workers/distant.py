"""What a worker has to ask the daemon for: the one token, and the account's channels.

The same shapes as `net.rtzr.Tokens` and `quota.Governor` have for legs in the daemon's own process. The
sockets to RTZR are opened here, with the daemon's leave.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from structlog.contextvars import bound_contextvars, get_contextvars

from bridge.leg.permit import Permit
from bridge.net.link import Link, LinkLost
from bridge.net.rtzr import Rtzr, Session
from bridge.types import Codec, Token
from bridge.wire.link import Leave, WantSession, WantToken
from bridge.wire.rtzr import Unreachable


def _leg() -> str:
    return str(get_contextvars().get("leg", ""))


class DistantTokens:
    """The daemon's token."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, refused: Token | None = None) -> Token:
        """Raises `Refused` and `Unreachable`."""
        token: Token = await _ask(self._link, WantToken(refused, _leg()))
        return token


@dataclass(slots=True)
class DistantPermit:
    """A session of this process, in a channel that the daemon counts."""

    number: int
    session: Session
    _leave: Callable[[int, bool], None]
    evicted: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """The session is closed. Any number of times."""
        self._leave(self.number, False)

    def failed_at_once(self) -> None:
        """RTZR closed the session right after the handshake. It counts as released."""
        self._leave(self.number, True)


@dataclass(slots=True)
class _Wanted:
    codec: Codec
    options: Mapping[str, str] | None = None
    session: Session | None = None
    leg: str = field(default_factory=_leg)
    """For the log: who dials is another task than who wants."""


class DistantSpeech:
    """Sessions that are opened here when the daemon says that there is a channel."""

    def __init__(self, rtzr: Rtzr, link: Link) -> None:
        self._rtzr = rtzr
        self._link = link
        self._numbers = count()
        self._wanted: dict[int, _Wanted] = {}
        self._permits: dict[int, DistantPermit] = {}

    async def open(
        self,
        codec: Codec,
        priority: int = 0,
        *,
        since_s: float | None = None,
        instead_of: Permit | None = None,
        options: Mapping[str, str] | None = None,
    ) -> DistantPermit:
        """Raises `Refused` and `Unreachable`."""
        number, wanted = next(self._numbers), _Wanted(codec, options)
        before = instead_of.number if isinstance(instead_of, DistantPermit) else None
        self._wanted[number] = wanted
        try:
            await _ask(self._link, WantSession(number, codec, priority, since_s, before))
            if wanted.session is None:
                raise Unreachable("streaming: never dialled")
        except BaseException:
            if wanted.session is not None:
                wanted.session.abort()
            self._link.tell(Leave(number))
            raise
        finally:
            del self._wanted[number]
            if before is not None:  # told also where the daemon has let go of it: it may never have begun to
                self._leave(before, False)
        permit = self._permits[number] = DistantPermit(number, wanted.session, self._leave)
        return permit

    async def dial(self, number: int) -> None:
        """The leg that wants session `number` may dial now. Raises `Refused` and `Unreachable`."""
        wanted = self._wanted.get(number)
        with bound_contextvars(leg="" if wanted is None else wanted.leg):
            session = None if wanted is None else await self._rtzr.open(wanted.codec, wanted.options)
        if wanted is None or session is None or number not in self._wanted:
            if session is not None:
                session.abort()
            raise Unreachable("streaming: not wanted any more")
        wanted.session = session

    def evict(self, number: int) -> None:
        """Another leg is to have the channel."""
        if (permit := self._permits.get(number)) is not None:
            permit.evicted.set()

    def _leave(self, number: int, failed_at_once: bool) -> None:
        if self._permits.pop(number, None) is not None:
            self._link.tell(Leave(number, failed_at_once))


async def _ask(link: Link, question: Any) -> Any:
    try:
        return await link.ask(question)
    except LinkLost:
        raise Unreachable("streaming: the daemon is gone") from None
