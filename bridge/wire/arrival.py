"""Call time for audio that has no time of its own: AudioSocket and WebSocket streams.

Pure. What comes over TCP is whole and in order, but late in lumps; and while a party is silent nothing comes.
"""

GAP_MS = 300.0
"""Audio this much later than the end of the last is not late: nothing was said in between. Or its sender stood
still: then what was held back follows at once, and is ahead of the clock."""
AHEAD_MS = 60.0
"""Audio that follows on itself this far ahead of the clock, before it can have been spoken, draws back: ..."""
BACK = 0.1
"""... it begins before the last has ended, by this part of its own length ..."""
BACK_MS = 2.0
"""... and no more than this, so that no frame begins before the one before it."""
LATE_MS = 150.0
"""Audio that is later than this, as that of a slow clock comes to be, moves on ..."""
ON = 0.0025
"""... by this part of its length: more than any clock is slow, and no hole."""


class Arrival:
    """The time line of one stream, in milliseconds of call time. Audio follows on itself as long as it is not
    later than `GAP_MS`, and overlaps only while it draws back."""

    __slots__ = ("_end_ms",)

    def __init__(self) -> None:
        self._end_ms: float | None = None

    def place(self, length_ms: float, now_ms: float) -> float:
        """When audio of this length began that has just arrived whole."""
        began_ms = now_ms - length_ms
        if self._end_ms is not None:
            late_ms = began_ms - self._end_ms
            if -AHEAD_MS <= late_ms <= LATE_MS:  # as nearly always
                began_ms = self._end_ms
            elif late_ms < 0:
                began_ms = draw_back(self._end_ms, began_ms, length_ms)
            elif late_ms < GAP_MS:
                began_ms = self._end_ms + length_ms * ON
        self._end_ms = began_ms + length_ms
        return began_ms


def draw_back(end_ms: float, due_ms: float, length_ms: float) -> float:
    """Where audio begins that was due at `due_ms`, while what is before it ends only at `end_ms`: there, or a
    little sooner if that is too far ahead."""
    return min(end_ms, max(due_ms + AHEAD_MS, end_ms - min(length_ms * BACK, BACK_MS)))
