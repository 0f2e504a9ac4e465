"""Call time for audio that has no time of its own: AudioSocket and WebSocket streams.

Pure. What comes over TCP is whole and in order, but late in lumps; and while a party is silent nothing comes.
"""

from math import inf

GAP_MS = 300.0
"""Audio this much later than the end of the last is not late: nothing was said in between. Or its sender
stood still: then what was held back follows at once, and is ahead of the clock."""
AHEAD_MS = 60.0
"""Audio that comes to lie farther ahead of the clock, long before it can have been spoken, draws back: ..."""
BACK = 0.1
"""... it begins before the last has ended, by this part of its own length ..."""
BACK_MS = 2.0
"""... and no more than this, so that no frame begins before the one before it."""
LATE_MS = 150.0
"""Audio that is later than this, as that of a slow clock comes to be, moves on ..."""
ON = 0.0025
"""... by this part of its length: more than any clock is slow, and no hole."""
STALL_MS = 2000.0
"""A sender that was seen to stand still, and never to be silent, may have done so again: audio that is no
later than this follows on itself ..."""
SETTLE_MS = 150.0
"""... for so long: if it is as late then, nothing was held back. So soon after a stall comes what was."""


class Arrival:
    """The time line of one stream, in milliseconds of call time. Audio follows on itself as long as it is not
    later than `GAP_MS`, and overlaps only while it draws back."""

    __slots__ = ("_end_ms", "_leap_ms", "_leapt_ms", "_pauses", "_since_ms", "_stalls")

    def __init__(self) -> None:
        self._end_ms: float | None = None
        self._leapt_ms = -inf
        """When the line was last moved on to what had just arrived ..."""
        self._leap_ms = 0.0
        """... and how far; 0 once that was found to be the end of a stall."""
        self._since_ms: float | None = None
        """Since when audio is late that may have been held back."""
        self._stalls = False
        self._pauses = False
        """Whether its sender was seen to stand still, and to send nothing because there was nothing."""

    def place(self, length_ms: float, now_ms: float) -> float:
        """When audio of this length began that has just arrived whole."""
        began_ms = now_ms - length_ms
        if self._end_ms is not None:
            late_ms = began_ms - self._end_ms
            if -AHEAD_MS <= late_ms <= LATE_MS:  # as nearly always
                began_ms = self._end_ms
            elif late_ms < 0:
                self._recognise(-late_ms, now_ms)
                began_ms = draw_back(self._end_ms, began_ms, length_ms)
            elif late_ms < GAP_MS:
                self._since_ms = None
                began_ms = self._end_ms + length_ms * ON
            elif self._held_back(late_ms, now_ms):
                began_ms = self._end_ms
            else:
                self._leapt_ms, self._leap_ms = now_ms, late_ms
        self._end_ms = began_ms + length_ms
        return began_ms

    def _recognise(self, ahead_ms: float, now_ms: float) -> None:
        """Whether audio that is ahead of the clock was held back until the line leapt."""
        if ahead_ms > self._leap_ms / 2 and now_ms - self._leapt_ms < SETTLE_MS:
            self._stalls, self._leap_ms = True, 0.0

    def _held_back(self, late_ms: float, now_ms: float) -> bool:
        """Whether audio this late is taken to have been held back, rather than said after a pause."""
        self._pauses |= self._leap_ms > 0
        if not self._stalls or self._pauses or late_ms > STALL_MS:
            return False
        if self._since_ms is None or now_ms - self._since_ms > STALL_MS:
            self._since_ms = now_ms
        return now_ms - self._since_ms < SETTLE_MS


def draw_back(end_ms: float, due_ms: float, length_ms: float) -> float:
    """Where audio begins that was due at `due_ms`, while what is before it ends only at `end_ms`: there, or a
    little sooner if that is too far ahead."""
    return min(end_ms, max(due_ms + AHEAD_MS, end_ms - min(length_ms * BACK, BACK_MS)))
