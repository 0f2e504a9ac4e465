"""The one door to RTZR for all legs of an account: they queue here, one session each, and give it back.

The shell of `wire.quota`, which decides who is next and when: here are the waiting coroutines, one timer,
the dials, and the log lines for what an administrator should know, each once and not once a leg.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import structlog

from bridge import metrics
from bridge.types import Codec
from bridge.wire.quota import Counters, Quota, QuotaSettings, Ticket
from bridge.wire.rtzr import Refused, Unreachable

_log = structlog.get_logger()

_MISSES, _LATELY_S = 3, 60.0
"""So many failures one after the other are no chance, and so old ones say nothing of now."""

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")


class Opener(Protocol[S_co]):
    """What opens sessions. Raises `Refused` and `Unreachable`."""

    async def open(self, codec: Codec, options: Mapping[str, str] | None = None) -> S_co:
        """With these options of the streaming query, or the opener's own."""
        ...


class Held(Protocol):
    """A permit whose session is gone."""

    def release(self) -> None: ...


class Permit(Generic[S]):
    """An open session and the right to hold it. Whoever holds it closes the session and then releases."""

    __slots__ = ("_give_back", "evicted", "session")

    def __init__(self, session: S, give_back: Callable[[bool], None]) -> None:
        self.session = session
        self.evicted = asyncio.Event()
        """Set when a leg of higher priority is to have the channel: end the stream, close, release."""
        self._give_back = give_back

    def release(self) -> None:
        """The session is closed. Any number of times."""
        self._give_back(False)

    def failed_at_once(self) -> None:
        """RTZR closed the session right after the handshake. It counts as released."""
        self._give_back(True)


class Governor(Generic[S]):
    """Gives out permits, the highest priority first, and among equals to who came first.

    `clock` is monotonic, in seconds; `random01` gives random numbers in [0, 1).
    """

    def __init__(
        self,
        speech: Opener[S],
        settings: QuotaSettings,
        *,
        clock: Callable[[], float],
        random01: Callable[[], float],
    ) -> None:
        self._speech = speech
        self._settings = settings
        self._clock = clock
        self._random01 = random01
        self._quota = Quota(settings)
        self._turns: dict[Ticket, asyncio.Future[None]] = {}
        self._permits: dict[Ticket, Permit[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told: dict[str, bool] = {}
        self._missed, self._missed_s, self._why = 0, 0.0, ""
        """Sessions that failed since the last one that did not, when and why the latest of them did."""

    @property
    def settings(self) -> QuotaSettings:
        """What holds now."""
        return self._settings

    def adopt(self, settings: QuotaSettings) -> None:
        """Other limits, from now on; sessions beyond them are not closed, only not followed by others."""
        self._settings = settings
        self._quota.adopt(settings)
        self._step()

    @property
    def counters(self) -> Counters:
        """How things stand now; to be read at once, for the numbers go on."""
        return self._quota.counters(self._clock())

    @property
    def limit(self) -> int:
        """How many sessions RTZR gives, by the settings or, if fewer, by its refusals; 0: not known."""
        known = [most for most in (self._settings.max_sessions, self._quota.limit) if most]
        return min(known, default=0)

    @property
    def spent(self) -> bool:
        """Whether the account's quota is spent: nothing is transcribed until it is topped up."""
        return self._quota.spent

    @property
    def away(self) -> str:
        """Why no session can be had, as far as the latest tries tell; "" if they can, or nobody has tried for
        a while."""
        lately = self._clock() - self._missed_s < _LATELY_S
        return self._why if lately and self._missed >= _MISSES else ""

    def room(self) -> bool:
        """Whether a session for something that can wait would be in nobody's way."""
        return self._quota.room()

    async def open(
        self,
        codec: Codec,
        priority: int = 0,
        *,
        since_s: float | None = None,
        instead_of: Held | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Permit[S]:
        """Wait for a channel, as long as it takes, and open a session there. As `admit`."""
        return await self.admit(
            lambda: self._speech.open(codec, options), priority, since_s=since_s, instead_of=instead_of
        )

    async def admit(
        self,
        dial: Callable[[], Awaitable[T]],
        priority: int = 0,
        *,
        since_s: float | None = None,
        instead_of: Held | None = None,
    ) -> Permit[T]:
        """Wait for a channel, as long as it takes, and have a session opened by `dial`, wherever that is.

        `since_s` (of `clock`) is when the leg first came, so that one that lost its session is not behind all
        who came since. Raises `Refused` (never a 429: that is waited for) and `Unreachable`: the caller backs
        off. Cancelling it gives back whatever was had.
        """
        began_s = self._clock()
        ticket = self._quota.ask(priority, began_s, since_s)
        try:
            while True:
                await self._turn(ticket, instead_of)
                permit = await self._dial(ticket, dial)
                if permit is not None:
                    metrics.SESSION_WAIT.observe(self._clock() - began_s)
                    return permit
        finally:
            self._quota.withdraw(ticket, self._clock())
            self._step()

    async def _turn(self, ticket: Ticket, instead_of: Held | None) -> None:
        """Wait until it may dial."""
        turn = self._turns[ticket] = asyncio.get_running_loop().create_future()
        try:
            if instead_of is not None:  # only now, so that its channel finds this leg in the queue
                instead_of.release()
            self._step()
            await turn
        finally:
            del self._turns[ticket]

    async def _dial(self, ticket: Ticket, dial: Callable[[], Awaitable[T]]) -> Permit[T] | None:
        """One try; None when all channels are taken, and it must wait for its turn again."""
        try:
            session = await dial()
        except (Refused, Unreachable) as error:
            if self._quota.failed(ticket, error, self._clock(), self._random01()):
                return None
            self._missed, self._missed_s, self._why = self._missed + 1, self._clock(), str(error)
            raise
        self._missed = 0
        self._quota.opened(ticket, self._clock())
        permit = Permit(session, lambda failed: self._return(ticket, failed))
        self._permits[ticket] = permit
        return permit

    def _return(self, ticket: Ticket, failed_at_once: bool) -> None:
        if self._permits.pop(ticket, None) is None:
            return
        if failed_at_once:
            self._quota.closed_at_once(ticket, self._clock(), self._random01())
        else:
            self._quota.released(ticket, self._clock())
        self._step()

    def _step(self) -> None:
        """Carry out what the policy says now, and wake when time alone changes it."""
        now_s = self._clock()
        step = self._quota.step(now_s)
        for ticket in step.dial:
            if not self._turns[ticket].done():  # else it was cancelled, and will withdraw
                self._turns[ticket].set_result(None)
        for ticket in step.evict:
            self._permits[ticket].evicted.set()
            _log.info("session given up for a leg of higher priority", priority=ticket.priority)
        if self._timer is not None:
            self._timer.cancel()
        due_s = self._quota.due_s(now_s)
        self._timer = None
        if due_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due_s - now_s), self._step)
        self._tell()

    # What an administrator should know.

    def _tell(self) -> None:
        counters = self.counters
        if self._turned("full", counters.full):
            _log.warning("rtzr channels full", held=counters.held, waiting=counters.waiting)
        if self._turned("spent", counters.spent):
            _log.error("rtzr quota spent; nothing is transcribed", probe_s=self._settings.probe_s)
        if self._turned("maintenance", counters.maintenance):
            _log.warning("rtzr is under maintenance (503)")
        if self._turned("alarm", counters.alarm):
            _log.warning("rtzr channels nearly full", held=counters.held, most=self._settings.max_sessions)

    def _turned(self, name: str, now: bool) -> bool:
        """Whether a state has begun; that it is over is told here."""
        before, self._told[name] = self._told.get(name, False), now
        if before and not now:
            _log.info("rtzr is itself again", over=name)
        return now and not before
