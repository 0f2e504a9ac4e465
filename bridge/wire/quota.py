"""Who may dial RTZR next, and when: the queue of waiting legs, their priorities, and who makes room for whom.

Policy only: time and chance are arguments, the dialling is done elsewhere. How many channels there are is in
the settings and in what `channels` has learnt from refusals, whichever is less.
"""

import math
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from bridge.wire.bucket import Bucket
from bridge.wire.channels import Channels, Dial, OnFull, QuotaSettings
from bridge.wire.rtzr import Refused, Unreachable, Verdict

__all__ = ["Counters", "OnFull", "Quota", "QuotaSettings", "Step", "Ticket"]

_HYSTERESIS = 0.1
"""How much of `max_sessions` must become free below the alarm before it is over; one session at least."""


class _State(Enum):
    WAITING = "waiting"
    DIALLING = "dialling"
    HELD = "held"
    OUT = "out"


_NO_DIAL = Dial(-1, early=False)


@dataclass(slots=True, eq=False)
class Ticket:
    """One leg's place in the queue, and then its session. Nobody but `Quota` changes it."""

    priority: int
    since_s: float
    number: int
    asked_s: float
    state: _State = _State.WAITING
    dial: Dial = _NO_DIAL
    opened: int = 0
    """When its session was opened, counted in sessions."""
    opened_s: float = 0.0
    promised: bool = False
    """Whether another leg was told to make room for it."""
    evicted: bool = False

    @property
    def place(self) -> tuple[int, float, int]:
        return -self.priority, self.since_s, self.number


@dataclass(slots=True)
class Counters:
    """What has happened so far, and how things stand. `asked` is the sum of all that became of it:
    `waiting + dialling + admitted + failed + withdrawn`; and `held = admitted - released`."""

    asked: int = 0
    admitted: int = 0
    failed: int = 0
    """Told to the leg: refused for good, or RTZR not to be had."""
    withdrawn: int = 0
    released: int = 0
    evicted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """By RTZR's code for 429, by HTTP status for others; `unreachable`; `closed` after the handshake."""
    waiting: int = 0
    dialling: int = 0
    held: int = 0
    longest_wait_s: float = 0.0
    """Of all legs that waited or wait."""
    full: bool = False
    """RTZR has lately refused one session more than we held."""
    spent: bool = False
    """RTZR refuses for money, not for channels: nothing is transcribed until the account is topped up."""
    maintenance: bool = False
    """RTZR's last answer was a 503."""
    alarm: bool = False
    """Most of `max_sessions` are in use."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now."""

    dial: list[Ticket]
    evict: list[Ticket]


class Quota:
    """The queue and the limits. The shell asks, tells what came of each dial, and carries out each `step`."""

    def __init__(self, settings: QuotaSettings) -> None:
        self._settings = settings
        self._most = settings.max_sessions or math.inf
        self._queue: list[Ticket] = []
        """Bounded by the number of legs: each has one place at most."""
        self._dialling: set[Ticket] = set()
        self._held: dict[Ticket, None] = {}
        self._counters = Counters()
        self._channels = Channels(settings)
        self._down = False
        """Whether the last answer was a failure that has nothing to do with the number of sessions."""
        self._pace = Bucket(settings.rate, settings.burst)

    def adopt(self, settings: QuotaSettings) -> None:
        """Other limits: at the next `step`. What RTZR's refusals have taught stays known."""
        self._settings = settings
        self._most = settings.max_sessions or math.inf
        self._counters.alarm &= settings.max_sessions > 0
        self._watch()

    # What happens.

    def ask(self, priority: int, now_s: float, since_s: float | None = None) -> Ticket:
        """A leg wants a session. `since_s` keeps the place of one that comes back."""
        self._counters.asked += 1
        since_s = now_s if since_s is None else since_s
        ticket = Ticket(priority, since_s, self._counters.asked, now_s)
        insort(self._queue, ticket, key=lambda each: each.place)
        return ticket

    def opened(self, ticket: Ticket, now_s: float) -> None:
        """Its dial gave a session."""
        self._dialling.remove(ticket)
        self._held[ticket] = None
        self._counters.admitted += 1
        ticket.state, ticket.opened, ticket.opened_s = _State.HELD, self._counters.admitted, now_s
        self._waited(ticket, now_s)
        self._down = self._counters.maintenance = False
        self._channels.opened(ticket.dial, len(self._held), now_s)
        self._watch()

    def failed(self, ticket: Ticket, error: Refused | Unreachable, now_s: float, random01: float) -> bool:
        """Its dial failed. True: it is back in its place; False: the leg is to be told, and is out."""
        self._dialling.remove(ticket)
        self._count(error)
        if isinstance(error, Refused) and error.status == 429:
            self._down = self._counters.maintenance = False
            held, alone = len(self._held), not self._dialling
            self._channels.refused(ticket.dial, error.code, held, alone, now_s, random01)
            ticket.state = _State.WAITING
            insort(self._queue, ticket, key=lambda each: each.place)
            return True
        if isinstance(error, Unreachable) or error.verdict is Verdict.WAIT:
            self._down = True
        if isinstance(error, Refused):
            self._counters.maintenance = error.status == 503
        self._counters.failed += 1
        ticket.state = _State.OUT
        self._waited(ticket, now_s)
        return False

    def withdraw(self, ticket: Ticket, now_s: float) -> None:
        """The leg does not want it any more; nothing if it has its session or is out."""
        if ticket.state is _State.WAITING:
            self._queue.remove(ticket)
        elif ticket.state is _State.DIALLING:
            self._dialling.remove(ticket)
        else:
            return
        self._counters.withdrawn += 1
        ticket.state = _State.OUT
        self._waited(ticket, now_s)

    def released(self, ticket: Ticket, now_s: float) -> None:
        """Its session is closed; nothing if that was told before."""
        if ticket.state is not _State.HELD:
            return
        self._leave(ticket, now_s)
        self._channels.released(now_s)

    def closed_at_once(self, ticket: Ticket, now_s: float, random01: float) -> None:
        """RTZR closed its session soon after the handshake: at once, while we hold others, and it was one
        too many; else it says nothing of channels."""
        if ticket.state is not _State.HELD:
            return
        self._leave(ticket, now_s)
        self._counters.refused["closed"] = self._counters.refused.get("closed", 0) + 1
        if self._held and now_s <= ticket.opened_s + self._settings.at_once_s:
            self._channels.closed_at_once(ticket.dial, len(self._held), now_s, random01)
        else:
            self._down = True
            self._channels.released(now_s)

    def step(self, now_s: float) -> Step:
        """Who dials now, and whose session is to be given up for one who waits."""
        self._channels.ease(now_s)
        dial: list[Ticket] = []
        while self._queue and self._may_dial(self._queue[0], now_s):
            ticket = self._queue.pop(0)
            ticket.state, ticket.dial = _State.DIALLING, self._channels.dial(now_s)
            self._dialling.add(ticket)
            dial.append(ticket)
        return Step(dial, list(self._evictions()))

    # What is known.

    @property
    def limit(self) -> int | None:
        """Sessions we held when RTZR last refused one more; None while it does not."""
        return self._channels.limit

    @property
    def spent(self) -> bool:
        """Whether RTZR has refused for money, not for channels."""
        return self._channels.spent

    def due_s(self, now_s: float) -> float | None:
        """When `step` may have something to do though nothing happens till then; None: not before."""
        moments = list(self._moments(self._queue[0])) if self._queue else []
        if not moments:
            return None
        return max(min(moments), self._pace.due_s(now_s)) if self._bound else min(moments)

    def room(self) -> bool:
        """Whether a session for something that can wait would be in nobody's way."""
        return not self._queue and not self.spent and self._in_use < self._cap(0)

    def counters(self, now_s: float) -> Counters:
        """How things stand. It is the quota's own, to be read at once."""
        counters = self._counters
        counters.waiting, counters.dialling = len(self._queue), len(self._dialling)
        counters.held, counters.full, counters.spent = len(self._held), self.limit is not None, self.spent
        for ticket in (*self._queue, *self._dialling):
            self._waited(ticket, now_s)
        return counters

    # Admission.

    @property
    def _in_use(self) -> int:
        return len(self._held) + len(self._dialling)

    def _cap(self, priority: int) -> float:
        """How many sessions there may be for one more of this priority."""
        return self._unreserved(min(self._most, math.inf if self.limit is None else self.limit), priority)

    def _unreserved(self, limit: float, priority: int) -> float:
        return limit if priority > 0 else min(limit, max(1, limit - self._settings.reserve))

    def _may_dial(self, ticket: Ticket, now_s: float) -> bool:
        if self._knocks(ticket):
            if now_s < self._channels.knock_s:
                return False
        elif self.spent or self._in_use + self._channels.unripe >= self._cap(ticket.priority):
            return False
        return not self._bound or self._pace.take(now_s)

    def _knocks(self, ticket: Ticket) -> bool:
        """Whether it can only be a try in the face of refusals: one for all who wait, and alone."""
        if self._dialling or self._in_use >= self._unreserved(self._most, ticket.priority):
            return False
        return self.spent or (self.limit is not None and self._in_use >= self.limit)

    @property
    def _bound(self) -> bool:
        """Whether dials fail, so that their rate is bounded."""
        return self._down or self.limit is not None

    def _moments(self, head: Ticket) -> Iterator[float]:
        if self._knocks(head):
            yield self._channels.knock_s
        elif not self.spent and self._in_use + self._channels.unripe < self._cap(head.priority):
            yield -math.inf  # it waits for the pace alone
        yield from self._channels.moments()

    def _evictions(self) -> Iterator[Ticket]:
        """One for each leg that waits for a channel, while there is one of lower priority."""
        if self._settings.on_full is not OnFull.LOWEST_PRIORITY_OUT or self.spent:
            return
        leaving = sum(each.evicted for each in self._held)
        used = self._in_use - leaving + min(leaving, sum(each.promised for each in self._queue))
        for ticket in self._queue:
            cap = self._cap(ticket.priority)
            if ticket.promised:
                continue
            if used < cap:
                used += 1
            elif used > cap or (victim := self._victim(ticket.priority)) is None:
                return
            else:
                ticket.promised = victim.evicted = True
                self._counters.evicted += 1
                yield victim

    def _victim(self, priority: int) -> Ticket | None:
        """The held ticket of the lowest priority, the latest among equals, if it is lower than this."""
        lower = (each for each in self._held if each.priority < priority and not each.evicted)
        return min(lower, key=lambda each: (each.priority, -each.opened), default=None)

    # Counting.

    def _leave(self, ticket: Ticket, now_s: float) -> None:
        del self._held[ticket]
        ticket.state = _State.OUT
        self._counters.released += 1
        known = self.limit is not None
        self._channels.ended(len(self._held), now_s)
        self._down |= known and self.limit is None
        self._watch()

    def _watch(self) -> None:
        """The alarm, with hysteresis."""
        if not self._settings.max_sessions:
            return
        threshold = self._settings.alarm * self._most
        if self._counters.alarm:
            threshold -= max(1.0, _HYSTERESIS * self._most)
        self._counters.alarm = len(self._held) >= max(1.0, threshold - 1e-9)

    def _waited(self, ticket: Ticket, now_s: float) -> None:
        self._counters.longest_wait_s = max(self._counters.longest_wait_s, now_s - ticket.asked_s)

    def _count(self, error: Refused | Unreachable) -> None:
        if isinstance(error, Unreachable):
            code = "unreachable"
        else:  # not just any code: every code is a label of the metrics
            code = error.code if error.code in ("A0001", "A0002") else str(error.status)
        self._counters.refused[code] = self._counters.refused.get(code, 0) + 1
