"""When the PBX answers our requests slowly it has enough to do: no new taps until it is quick again.

Numbers in, a verdict out; time is an argument.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

_SLOW_S = 1.0
"""A request takes 3 to 10 ms; a busy PBX may well take a tenth of a second."""
_REMEMBERED_S = 10.0
"""After so long without a request a few calls are let in, and show how it is now."""
_ENOUGH = 4
"""So many requests are no accident."""
_MOST = 32


@dataclass(slots=True)
class Breaker:
    """The newest requests: when each was over, and how long it took."""

    _took: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MOST))

    def observe(self, now_s: float, took_s: float) -> None:
        """A request is over, answered or not."""
        self._took.append((now_s, took_s))

    def slow(self, now_s: float) -> float:
        """How long a request takes these days, in seconds, if that is too long; 0 if it is not."""
        while self._took and self._took[0][0] < now_s - _REMEMBERED_S:
            self._took.popleft()
        if len(self._took) < _ENOUGH:
            return 0.0
        usual_s = median(took_s for _, took_s in self._took)
        return usual_s if usual_s >= _SLOW_S else 0.0
