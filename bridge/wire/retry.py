"""When what was not delivered is tried again. Arithmetic only: who sends and what counts as a failure is
the caller's.

Two things are told apart. A call whose event failed rests, ever longer, while other calls go on. An endpoint
that fails at everything is left alone by a circuit breaker, which lets one event through now and then.
"""

from dataclasses import dataclass
from enum import Enum

_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How patient we are. With these a call's 14 tries take from two to four hours."""

    base_s: float = 1.0
    cap_s: float = 3600.0
    """Between two tries of one call's event."""
    tries: int = 14
    """After so many refusals of one event for its own sake it is given up."""
    open_after: int = 5
    """So many failures in a row, of whatever calls, open the circuit."""
    probe_cap_s: float = 60.0
    """Between two probes of an endpoint that fails: one event a minute harms nobody, and it is found again
    soon."""
    longest_asked_s: float = 86_400.0
    """A receiver's wish to be left alone is honoured for so long at most."""


def rest_s(failures: int, settings: RetrySettings, random01: float) -> float:
    """Seconds until a call's event is tried again, after `failures` of it (1 or more).

    From half of the exponential bound to all of it, `random01` being a number in [0, 1): patience is to
    last hours for certain, which full jitter would not give.
    """
    return _jittered(failures - 1, settings.base_s, settings.cap_s, random01)


def _jittered(doublings: int, base_s: float, cap_s: float, random01: float) -> float:
    bound = min(cap_s, base_s * 2.0 ** min(max(doublings, 0), _MAX_DOUBLINGS))
    return bound * (1 + random01) / 2


class State(Enum):
    """Of a circuit."""

    CLOSED = "closed"
    """All may be sent."""
    OPEN = "open"
    """Nothing may."""
    HALF_OPEN = "half_open"
    """One event may, alone, to see."""


class Circuit:
    """The circuit breaker of one endpoint. Times are seconds of one clock that never goes back."""

    __slots__ = ("_failures", "_opened", "_settings", "until_s")

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._failures = 0
        self._opened = False
        self.until_s = float("-inf")
        """Until when nothing may be sent."""

    def state(self, now_s: float) -> State:
        if now_s < self.until_s:
            return State.OPEN
        return State.HALF_OPEN if self._opened else State.CLOSED

    def failed(self, now_s: float, random01: float, asked_s: float | None = None) -> None:
        """A send failed; `asked_s`: for how long the receiver asks to be left alone (Retry-After)."""
        if asked_s is not None:
            asked = min(max(asked_s, 0.0), self._settings.longest_asked_s)
            self._open(now_s + asked * (1 + random01 / 10))  # never sooner, and not all at once
        if asked_s is None and now_s < self.until_s:
            return  # one of several that were under way when it opened
        self._failures += 1
        beyond = self._failures - self._settings.open_after
        if beyond >= 0:
            self._open(now_s + _jittered(beyond, self._settings.base_s, self._settings.probe_cap_s, random01))

    def worked(self, now_s: float) -> bool:
        """A send was taken. Whether that closed the circuit: what failed before was the endpoint's fault."""
        if now_s < self.until_s:
            return False  # an answer to what was sent before; the wish to be left alone holds
        closed, self._opened, self._failures = self._opened, False, 0
        return closed

    def reset(self) -> None:
        """Begin anew, as a person wants it."""
        self._failures, self._opened, self.until_s = 0, False, float("-inf")

    def _open(self, until_s: float) -> None:
        self._opened = True
        self.until_s = max(self.until_s, until_s)
