"""Call time for audio that has no time of its own: AudioSocket and WebSocket streams.

Pure. What comes over TCP is whole and in order, but late in lumps; and while a party is silent nothing comes.
"""

GAP_MS = 300.0
"""Audio this much later than the end of the last is not late: nothing was said in between."""


class Arrival:
    """The time line of one stream, in milliseconds of call time. Audio never overlaps, and follows on itself
    as long as it is not later than `GAP_MS`."""

    __slots__ = ("_end_ms",)

    def __init__(self) -> None:
        self._end_ms: float | None = None

    def place(self, length_ms: float, now_ms: float) -> float:
        """When audio of this length began that has just arrived whole."""
        began_ms = now_ms - length_ms
        if self._end_ms is not None and began_ms - self._end_ms < GAP_MS:
            began_ms = self._end_ms
        self._end_ms = began_ms + length_ms
        return began_ms
