"""A token bucket: how often something may be done. Arithmetic only; time is an argument."""

import math

_NEARLY_ONE = 1 - 1e-6
"""Times are sums of floats: a token that is due at a moment must be there at that moment."""


class Bucket:
    """`rate` tokens a second, `burst` of them at most; full at first."""

    __slots__ = ("_burst", "_filled_s", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_s = -math.inf

    def take(self, now_s: float) -> bool:
        """Take a token, if there is one."""
        self._fill(now_s)
        if self._tokens < _NEARLY_ONE:
            return False
        self._tokens -= 1
        return True

    def due_s(self, now_s: float) -> float:
        """When there is a token: `now_s` or later."""
        self._fill(now_s)
        return now_s if self._tokens >= _NEARLY_ONE else now_s + (1 - self._tokens) / self._rate

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
