"""From one RTZR session's clock to call time.

RTZR counts the milliseconds of audio it was sent. What the gate withheld never reached it, so its clock
falls behind the call's; only the order in which audio was sent says by how much. One map per session,
kept as a list of runs; no other file converts between the two clocks.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

_SEAM_MS = 1.0
"""Pieces closer than this are one run: sample rounding, not a hole."""


@dataclass(slots=True)
class TimeMap:
    """Piecewise map, both clocks in milliseconds."""

    sent_ms: float = 0.0
    """How much audio this session was sent."""
    again_ms: float = 0.0
    """Up to where that was audio which another session had been sent before."""
    _session: list[float] = field(default_factory=list)
    _call: list[float] = field(default_factory=list)

    def append(self, at_ms: float, length_ms: float, *, again: bool = False) -> None:
        """Note that audio of call time `at_ms`, `length_ms` long, goes out next."""
        if not self._call or abs(self._next_call_ms() - at_ms) > _SEAM_MS:
            self._session.append(self.sent_ms)
            self._call.append(at_ms)
        self.sent_ms += length_ms
        if again:
            self.again_ms = self.sent_ms

    def pad(self, length_ms: float) -> None:
        """Note that silence of no call time goes out next."""
        self.append(self._next_call_ms() if self._call else 0.0, length_ms)

    def _next_call_ms(self) -> float:
        return self._call[-1] + self.sent_ms - self._session[-1]

    def start(self, session_ms: float) -> float:
        """Call time of audio that begins at `session_ms`."""
        return self._at(bisect_right(self._session, session_ms) - 1, session_ms)

    def end(self, session_ms: float) -> float:
        """Call time of audio that ends at `session_ms`: on a seam, the end of the run before it."""
        return self._at(bisect_left(self._session, session_ms) - 1, session_ms)

    def _at(self, run: int, session_ms: float) -> float:
        if not self._call:
            return session_ms
        run = max(run, 0)
        return self._call[run] + session_ms - self._session[run]
