"""How fast a backlog may follow: a bucket of milliseconds of audio. Arithmetic only."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """`rate` times real time, and `burst_ms` at once after a pause."""

    rate: float
    burst_ms: float
    ms: float = 0.0
    """What may be sent now."""
    _at_ms: float | None = None

    def refill(self, now_ms: float) -> None:
        """Time has gone on to `now_ms`."""
        passed_ms = self.burst_ms if self._at_ms is None else now_ms - self._at_ms
        self._at_ms = now_ms
        self.ms = min(self.burst_ms, self.ms + passed_ms * self.rate)
