"""Whether a process can bear more legs, so that what is in keeps its latency.

It is told a few times a second how much CPU the process took and how late its loop was, learns from that what
a leg costs, and says no to legs for which there would be no core left. Whom it lets in has a place kept
until its legs begin. No clock here.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.types import CallId
from bridge.wire.promises import Promises

LEG_MS = 2.5
"""CPU of a leg in a second, in milliseconds, before it was measured: the dearest gate."""
_LEAST_LEG_MS, _MOST_LEG_MS = 0.2, 25.0
_BASE = 0.02
"""Share of a core that a process takes without a leg, before it was measured."""
_WINDOW_S = 2.0
_ENOUGH_LEGS = 20
"""With fewer legs, what else the process does would be taken for theirs."""
_OPEN_S = 0.01
"""CPU that a leg's beginning takes at most, for its tap, its session and TLS."""
_DEARER, _LEARN = 1.0, 0.2
"""How much of a new figure is believed at once: what is dearer than was thought, and what is cheaper."""
_DOUBT = 0.02
"""How much of a dear figure is given up each time while too few legs show whether it still holds."""
_LATE_MS, _IN_TIME_MS = 100.0, 50.0
_LATE_TIMES = 3
"""So many observations in a row that are late are no accident."""
_AGAIN = 0.95
"""Once refused, only this share of what is allowed is filled again: else it would flap."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is a word for a counter, `text` is for a person."""

    reason: str
    text: str


class _Seen(NamedTuple):
    at_s: float
    cpu_s: float
    legs: int


@dataclass(slots=True)
class Door:
    """The door of one process. `full_at`: the share of a core that legs may take."""

    full_at: float = 0.85
    base: float = _BASE
    leg_ms: float = LEG_MS
    """What a leg costs in a second, as far as is known."""
    promises: Promises = field(default_factory=Promises)
    _seen: deque[_Seen] = field(default_factory=deque)
    _late: int = 0
    _is_late: bool = False
    _is_full: bool = False

    def observe(self, now_s: float, cpu_s: float, legs: int, lag_ms: float) -> None:
        """The process took `cpu_s` of CPU since its start, has `legs`, and its loop was late by `lag_ms` at
        worst since the last time."""
        self._seen.append(_Seen(now_s, cpu_s, legs))
        while len(self._seen) > 2 and self._seen[1].at_s <= now_s - _WINDOW_S:
            self._seen.popleft()
        self._learn()
        self._late = self._late + 1 if lag_ms >= _LATE_MS else 0
        if self._late >= _LATE_TIMES:
            self._is_late = True
        elif lag_ms <= _IN_TIME_MS:
            self._is_late = False

    @property
    def share(self) -> float:
        """Share of a core that was taken lately."""
        first, last = self._seen[0], self._seen[-1]
        took_s = last.at_s - first.at_s
        return (last.cpu_s - first.cpu_s) / took_s if took_s > 0 else 0.0

    def _learn(self) -> None:
        if self._seen[-1].at_s - self._seen[0].at_s < _WINDOW_S / 2:
            return
        legs = self._legs
        if legs == 0:
            self.base += _LEARN * (min(self.share, self.full_at / 2) - self.base)
        if legs >= _ENOUGH_LEGS:
            self._learn_leg(legs)
        elif self.leg_ms > LEG_MS:  # else one bad moment could keep it shut for ever
            self.leg_ms += _DOUBT * (LEG_MS - self.leg_ms)

    def _learn_leg(self, legs: float) -> None:
        """While legs begin, nobody can say how much of the CPU is theirs: between all of it and what their
        beginning takes at most there is nothing to be learnt."""
        most = 1000 * (self.share - self.base) / legs
        least = most - 1000 * self._beginning / legs
        known = min(max(self.leg_ms, least, _LEAST_LEG_MS), max(most, _LEAST_LEG_MS), _MOST_LEG_MS)
        self.leg_ms += (_DEARER if known > self.leg_ms else _LEARN) * (known - self.leg_ms)

    @property
    def _legs(self) -> float:
        """How many there were while `share` was taken."""
        return sum(seen.legs for seen in self._seen) / len(self._seen)

    @property
    def _beginning(self) -> float:
        """Share of a core that legs which began may have taken, as far as their number tells."""
        first, last = self._seen[0], self._seen[-1]
        return _OPEN_S * max(0, last.legs - first.legs) / (last.at_s - first.at_s)

    def _seen_and(self, legs: int) -> float:
        """The share that was seen, and what the legs take that came since or are to come."""
        if not self._seen:
            return 0.0
        return self.share + max(0.0, legs - self._legs) * self.leg_ms / 1000

    def forget(self) -> None:
        """Another process has taken this one's place."""
        self._seen.clear()
        self.promises = Promises()
        self._late, self._is_late = 0, False

    def admit(self, call: CallId, legs: int, wanted: int, now_s: float) -> Refusal | None:
        """As `refuses`; where there is room, it is kept for the legs of this call."""
        refusal = self.refuses(legs + self.promises.places(now_s), wanted)
        if refusal is None:
            self.promises.make(call, wanted, now_s)
        return refusal

    def refuses(self, legs: int, wanted: int) -> Refusal | None:
        """Why `wanted` more legs are not to be begun where there are `legs`; None when they may be."""
        if self._is_late:
            return Refusal("lag", f"the loop is late by more than {_LATE_MS:.0f} ms")
        by_cost = self.base + (legs + wanted) * self.leg_ms / 1000
        foreseen = max(by_cost, self._seen_and(legs + wanted))
        self._is_full = foreseen > self.full_at * (_AGAIN if self._is_full else 1.0)
        if self._is_full:
            return Refusal("cpu", f"{legs} legs and {wanted} more would take {foreseen:.0%} of a core")
        return None
