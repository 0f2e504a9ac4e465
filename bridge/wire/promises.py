"""Places that calls were promised and whose legs have not begun: else a burst would be let in whole.

Numbers by call. No clock, no leg, and no judgement about how many places there are.
"""

from dataclasses import dataclass, field

from bridge.types import CallId

KEPT_S = 60.0
"""A party that was not called by then is not waited for: it rang too long, or the call has but one."""


@dataclass(slots=True)
class Promises:
    """Oldest first."""

    _made: dict[CallId, tuple[int, float]] = field(default_factory=dict)
    _places: int = 0

    def make(self, call: CallId, places: int, now_s: float) -> None:
        """So many places are kept for a call that has none."""
        self._made[call] = places, now_s
        self._places += places

    def take(self, call: CallId) -> None:
        """One of the call's legs has begun. A call that was promised nothing takes nothing."""
        places, since_s = self._made.get(call, (0, 0.0))
        if places > 1:
            self._made[call] = places - 1, since_s
            self._places -= 1
        else:
            self.drop(call)

    def drop(self, call: CallId) -> None:
        """The call is over, or has all its places."""
        self._places -= self._made.pop(call, (0, 0.0))[0]

    def places(self, now_s: float) -> int:
        """How many are kept now."""
        while self._made:
            oldest = next(iter(self._made))
            if self._made[oldest][1] > now_s - KEPT_S:
                break
            self.drop(oldest)
        return self._places
