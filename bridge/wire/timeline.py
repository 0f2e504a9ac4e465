"""From RTP timestamps to call time, for one source whose packets come in order.

The line runs through the arrival of the first packet, one millisecond a millisecond of samples: jitter and a
burst after a stall do not move it, a timestamp jump over a silent pause maps to the pause. It is moved only
when it and the arrival clock contradict each other for good, and in a pause rather than in the middle of a
word. No packet is refused here, whatever its timestamp.

What Asterisk 22 does (tests/captures/asterisk/README.md): after a pause the timestamp has jumped by wall
clock and the marker is set; but frames that a busy machine swallows in the middle of speech leave no trace in
the timestamps, so the line falls behind: by 180 ms within a second, once.
"""

from collections import deque
from itertools import islice
from math import inf

from bridge.wire.arrival import draw_back
from bridge.wire.fates import RtpCounters

JUMP_MS = 200
"""Line and arrival farther apart than this: the source's clock has changed."""
SETTLE_MS = 100
"""Late packets may have waited while nobody read them: the line jumps forward only if they stay as late for
this long, for what has waited is read faster than it was spoken, and so is less and less late."""
WAVER_MS = 60
"""Packets whose lateness changes by more are not "as late"; less is jitter."""
PAUSE_MS = 100
"""A hole in the timestamps this long is a pause: there the line is set right without tearing a word."""
SLIP_MS = 10
"""How far behind the line may be when a pause sets it right; less is jitter."""
TORN_MS = 120
"""How far behind it may be in unbroken audio. Less than `JUMP_MS`, more than a hole that splits a word."""
WATCHED = 50
"""Packets whose lateness is remembered: the least of it is how far behind the line is, jitter apart."""
RECENT = 10
"""So many of them are asked in a pause."""


class Timeline:
    """The line of one source at `rate` timestamps a second."""

    __slots__ = ("_arrived_ms", "_end_ms", "_late", "_line_ms", "_overdue", "_rate", "_timestamp", "counters")

    def __init__(self, rate: int, counters: RtpCounters | None = None) -> None:
        self.counters = counters or RtpCounters()
        self._rate = rate
        self._timestamp: int | None = None
        self._arrived_ms = 0.0
        self._line_ms = 0.0  # call time of _timestamp
        self._end_ms = -inf  # where the frame before ended
        self._late: deque[float] = deque(maxlen=WATCHED)
        self._overdue: tuple[float, float] | None = None  # since when packets are so much too late

    def restart(self) -> None:
        """Another source follows: its first packet is placed by its arrival. Frames still do not overlap."""
        self._timestamp = None

    def place(self, timestamp: int, duration_ms: float, marker: bool, arrived_ms: float) -> float:
        """Call time of the packet's first sample: not before the end of the packet placed before it, but if
        packets lie too far ahead of the line. They come to after a jump forward that was wrong, as what had
        been held back shows, and where a source's clock runs fast; then they draw back bit by bit.
        """
        if self._timestamp is None:
            self._anchor(arrived_ms)
        else:
            step = ((timestamp - self._timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
            self._line_ms += step * 1000 / self._rate
            if self._line_ms - self._end_ms >= PAUSE_MS:
                self._slip_beyond(SLIP_MS, RECENT)
            late_ms = arrived_ms - self._line_ms
            if 0 <= late_ms <= TORN_MS:  # as nearly always
                self._overdue = None
                self._late.append(late_ms)
            else:
                self._compare(step, late_ms, marker, arrived_ms)
        self._timestamp, self._arrived_ms = timestamp, arrived_ms
        at_ms = self._line_ms
        if at_ms < self._end_ms:
            at_ms = draw_back(self._end_ms, at_ms, duration_ms)
        self._end_ms = at_ms + duration_ms
        return at_ms

    def _compare(self, step: int, late_ms: float, marker: bool, arrived_ms: float) -> None:
        if late_ms < 0:  # nothing arrives before it is spoken: it was the earlier packets that were delayed
            self._set(arrived_ms)
        elif late_ms <= JUMP_MS:
            self._overdue = None
            self._late.append(late_ms)
            self._slip_beyond(TORN_MS, WATCHED)
        elif step < 0 or (marker and self._stood_still(step, late_ms, arrived_ms)):
            self._set(arrived_ms)
        else:
            self._doubt(late_ms, arrived_ms)

    def _stood_still(self, step: int, late_ms: float, arrived_ms: float) -> bool:
        """Whether a pause before this packet shows in its arrival and not in the timestamps.

        One that shows in them is no reason to trust the arrival: the packet may have waited to be read.
        """
        return step * 1000 / self._rate < PAUSE_MS and arrived_ms - self._arrived_ms > late_ms - JUMP_MS

    def _set(self, line_ms: float) -> None:
        if abs(line_ms - self._line_ms) > JUMP_MS:
            self.counters.jumps += 1
        self._anchor(line_ms)

    def _anchor(self, line_ms: float) -> None:
        self._line_ms = line_ms
        self._overdue = None
        self._late.clear()
        self._late.append(0.0)

    def _doubt(self, late_ms: float, arrived_ms: float) -> None:
        """A stall of ours, or a source whose timestamps stood still in a pause? The next packets tell."""
        since_ms, late_then_ms = self._overdue or (arrived_ms, late_ms)
        if abs(late_ms - late_then_ms) > WAVER_MS:
            since_ms, late_then_ms = arrived_ms, late_ms
        self._overdue = since_ms, late_then_ms
        if arrived_ms - since_ms >= SETTLE_MS:
            self._set(self._line_ms + min(late_ms, late_then_ms))

    def _slip_beyond(self, tolerance_ms: float, packets: int) -> None:
        """Moves the line to where the least late of the last `packets` lay, if that is out of tolerance."""
        if len(self._late) < packets:
            return
        behind_ms = min(islice(reversed(self._late), packets))
        if behind_ms > tolerance_ms:
            self.counters.slips += 1
            self._line_ms += behind_ms
            self._late.clear()
