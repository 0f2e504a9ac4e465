"""A connection that is to last for ever: tried, lost and tried again, whatever it speaks.

What one connection is, and what comes over it, is its owner's; here is only when the next one is tried, and
what is told of it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from bridge.wire.backoff import full_jitter
from bridge.wire.pbxevents import Disconnected

_log = structlog.get_logger()

E = TypeVar("E")

BACKOFF_BASE_S = 0.25
BACKOFF_CAP_S = 5.0
"""Meanwhile calls begin that we do not see, and a PBX bears one dial in some seconds for ever."""
HOPELESS_S = 30.0
_STABLE_S = 10.0
"""A connection that ends sooner counts as failed: a PBX that closes at once is knocked at ever less."""


@dataclass(slots=True)
class Lost:
    """How a connection ended."""

    reason: str = ""
    was_connected: bool = False
    hopeless: bool = False
    """Trying again soon would end the same way."""
    forbidden: bool = False
    mend: str = ""


class Telling:
    """What the log says of a PBX's connections: an end and the first failure since then are warnings, a
    refusal is an error, once; the tries that follow fail alike."""

    def __init__(self, pbx: str, address: str) -> None:
        self.why = ""
        """Why there is no connection."""
        self._pbx = pbx
        self._address = address
        self._told_absent = self._told_refused = False

    def connected(self) -> None:
        self._told_absent = self._told_refused = False

    def lost(self, lost: Lost) -> None:
        """A connection, or a try, has ended."""
        self.why = f"{lost.reason}; {lost.mend}".removesuffix("; ")
        if lost.forbidden:
            tell = _log.info if self._told_refused else _log.error
            self._told_refused = True
            tell(f"{self._pbx} refuses us", reason=lost.reason, mend=lost.mend, retry_s=HOPELESS_S)
            return
        first = lost.was_connected or not self._told_absent
        self._told_absent = not lost.was_connected
        tell = _log.warning if first else _log.info
        event = "connection ended" if lost.was_connected else "not connected"
        tell(f"{self._pbx} {event}", reason=lost.reason, address=self._address)


class Counts(Protocol):
    """The part of a PBX's counters that is kept here."""

    disconnected: int


async def lasting(
    one: Callable[[Lost], AsyncGenerator[E]], random01: Callable[[], float], counters: Counts
) -> AsyncGenerator[E | Disconnected]:
    """What each connection gives, for ever, with a `Disconnected` after each that stood; never an exception.

    `one` yields until its connection ends, and leaves the reason. Waits with full jitter between tries, and
    long where it is hopeless. It reads nothing while its consumer does not ask for the next event.
    """
    attempt = 0
    while True:
        began = asyncio.get_running_loop().time()
        lost = Lost()
        async with aclosing(one(lost)) as connection:
            async for event in connection:
                yield event
        lived_s = asyncio.get_running_loop().time() - began
        if lost.was_connected:
            counters.disconnected += 1
            yield Disconnected(lost.reason)
        attempt = 0 if lost.was_connected and lived_s >= _STABLE_S else attempt + 1
        await asyncio.sleep(_wait_s(lost, attempt, random01))


def _wait_s(lost: Lost, attempt: int, random01: Callable[[], float]) -> float:
    if lost.hopeless:
        return HOPELESS_S
    return full_jitter(attempt, BACKOFF_BASE_S, BACKOFF_CAP_S, random01())
