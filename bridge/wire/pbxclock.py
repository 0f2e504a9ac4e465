"""The offset between a PBX's wall clock and our monotonic one, learnt from the stamps on its events.

Pure: both clocks are arguments. It serves every PBX whose events carry a time.
"""


class PbxClock:
    """The PBX's wall clock seen from our monotonic one.

    An event is read some time after it was stamped, never before, so the smallest `now - stamp` is the best
    estimate of the offset. It is taken over the last two windows, so that drift is followed. A clock that was
    set forward gives a smaller offset at once; of one that was set back every event would seem very late.
    """

    WINDOW_S = 120.0
    SET_S = 6.0
    """Later than this no event comes while the line is up: the clock was set back, and what was known of it
    is good no more. If one does, the next that is in time puts it right."""
    _UNTOLD_S = 0.5
    """How long the PBX's word of its clock may have been on its way."""

    def __init__(self, unix_s: float, now_s: float) -> None:
        """Until something is observed the PBX's clock is ours: `unix_s` (time.time()) at `now_s`."""
        self._seed = now_s - unix_s
        self._current: float | None = None
        self._previous: float | None = None
        self._window_began = now_s

    def observe(self, stamp_s: float, now_s: float) -> None:
        """An event stamped `stamp_s` (Unix seconds, PBX) was read at `now_s` (monotonic seconds)."""
        if now_s - self._window_began >= self.WINDOW_S and self._current is not None:
            self._previous, self._current, self._window_began = self._current, None, now_s
        offset = now_s - stamp_s
        if offset - self._known() > self.SET_S:
            self._current = self._previous = None
        self._current = offset if self._current is None else min(self._current, offset)

    def shows(self, second_s: float, now_s: float) -> None:
        """The PBX says that its clock shows `second_s`, whole Unix seconds. What agrees with that is known
        better; else it is right within half a second, until the next event."""
        latest = now_s - second_s
        if not latest - 1 - self._UNTOLD_S <= self._known() <= latest + self._UNTOLD_S:
            self._current = self._previous = None
            self._seed = latest - 0.5

    def monotonic(self, pbx_s: float) -> float:
        """When, on our monotonic clock, the PBX's clock showed `pbx_s`.

        A call takes it once of its first channel's `created` and keeps it as its origin, so that its time
        never jumps.
        """
        return pbx_s + self._known()

    def _known(self) -> float:
        """The best estimate of the offset, in seconds."""
        known = [offset for offset in (self._current, self._previous) if offset is not None]
        return min(known) if known else self._seed

    def call_ms(self, created_s: float, now_s: float) -> float:
        """Milliseconds from `created_s` (Unix seconds, PBX) to `now_s` (monotonic seconds), at least 0."""
        return max(0.0, (now_s - self.monotonic(created_s)) * 1000)
