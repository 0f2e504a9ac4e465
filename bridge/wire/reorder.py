"""Puts the packets of one RTP source back in order, and says which are missing.

It knows sequence numbers and arrival times only; what an item is, it does not ask. Packets in order pass at
once. After a gap, packets wait at most `depth_ms` for it to be filled. A packet far off the line may be a
stray or a source that started again: it waits too, and the line moves there if nothing else comes.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from bridge.wire.fates import RtpCounters

T = TypeVar("T")

BEHIND = 100
"""How many packets back a number is late or repeated; farther is another line (RFC 3550 A.1 MAX_MISORDER)."""
AHEAD = 100
"""How far ahead a number is a plain gap, whatever the clock says."""
SHORTEST_MS = 5
"""Farther ahead it is a gap only if there was time to send that many packets of at least this length."""

_RECENT = (1 << BEHIND) - 1


@dataclass(slots=True)
class _Waiting(Generic[T]):
    item: T
    arrived_ms: float


class Reorder(Generic[T]):
    """The reorder buffer of one source: items go in with their 16-bit number and come out in order."""

    __slots__ = (
        "_capacity", "_depth_ms", "_held", "_line_ms", "_next", "_passed", "_strays", "counters",
        "release_at_ms",
    )  # fmt: skip

    def __init__(self, depth_ms: float = 60, capacity: int = 64, counters: RtpCounters | None = None) -> None:
        """Waits `depth_ms` at most; holds `capacity` packets at most behind a gap, and as many off it."""
        self.counters = counters or RtpCounters()
        self._depth_ms = depth_ms
        self._capacity = capacity
        self._next: int | None = None  # extended: counts on past 65535
        self._passed = 0  # bit n: number _next - 1 - n has passed, or come late
        self._line_ms = 0.0
        self._held: dict[int, _Waiting[T]] = {}
        self._strays: dict[int, _Waiting[T]] = {}
        self.release_at_ms: float | None = None
        """When the oldest packet held has waited long enough: call `release` then. None if none is held."""

    def __len__(self) -> int:
        """How many packets are held."""
        return len(self._held) + len(self._strays)

    def passes(self, sequence: int, now_ms: float) -> bool:
        """Whether the packet that arrived at `now_ms` is the next one, and nothing waits: then it has passed.

        So it is with nearly all. What is told False here goes to `push`.
        """
        line = self._next
        if line is None or sequence != line & 0xFFFF or self.release_at_ms is not None:
            return False
        self._line_ms = now_ms
        self._next = line + 1
        self._passed = (self._passed << 1 | 1) & _RECENT
        return True

    def push(self, sequence: int, item: T, now_ms: float) -> list[T]:
        """Takes the packet that arrived at `now_ms`; returns what may pass, in order."""
        if self.passes(sequence, now_ms):
            return [item]
        items = self._sort(sequence, item, now_ms)
        self._note_due()
        return items

    def _sort(self, sequence: int, item: T, now_ms: float) -> list[T]:
        if self._next is None:
            self._next = sequence
        offset = ((sequence - self._next + 0x8000) & 0xFFFF) - 0x8000
        if offset < 0:
            return self._behind(sequence, offset, item, now_ms)
        if offset > AHEAD and offset * SHORTEST_MS > now_ms - self._line_ms:
            return self._astray(sequence, item, now_ms)
        self._line_ms = now_ms
        if self._strays:
            self.counters.strayed += len(self._strays)
            self._strays.clear()
        return self._hold(self._next + offset, item, now_ms)

    def _note_due(self) -> None:
        waiting = (*self._held.values(), *self._strays.values())
        oldest_ms = min((one.arrived_ms for one in waiting), default=None)
        self.release_at_ms = None if oldest_ms is None else oldest_ms + self._depth_ms

    def release(self, now_ms: float) -> list[T]:
        """What has waited `depth_ms`, in order; the gaps before it are given up."""
        items: list[T] = []
        while self._held and now_ms >= self._depth_ms + min(one.arrived_ms for one in self._held.values()):
            items += self._give_up()
        if self._strays and now_ms >= self._depth_ms + min(one.arrived_ms for one in self._strays.values()):
            items += self._resync()
        self._note_due()
        return items

    def flush(self) -> list[T]:
        """Everything held, in order: the stream has ended."""
        items: list[T] = []
        while self._held or self._strays:
            items += self._give_up() if self._held else self._resync()
        self.release_at_ms = None
        return items

    def _behind(self, sequence: int, offset: int, item: T, now_ms: float) -> list[T]:
        if offset < -BEHIND:
            return self._astray(sequence, item, now_ms)
        bit = 1 << (-offset - 1)
        if self._passed & bit:
            self.counters.duplicated += 1
        else:
            self.counters.late += 1
            self._passed |= bit  # a second copy of it is a duplicate
        return []

    def _hold(self, number: int, item: T, now_ms: float) -> list[T]:
        if number in self._held:
            self.counters.duplicated += 1
            return []
        if self._held and number < max(self._held):
            self.counters.reordered += 1
        self._held[number] = _Waiting(item, now_ms)
        items = self._run()
        while len(self._held) > self._capacity:
            items += self._give_up()
        return items

    def _run(self) -> list[T]:
        """What is held without a gap before it."""
        items: list[T] = []
        while self._next is not None and (waiting := self._held.pop(self._next, None)):
            self._next += 1
            self._passed = (self._passed << 1 | 1) & _RECENT
            items.append(waiting.item)
        return items

    def _give_up(self) -> list[T]:
        """Gives up the gap before the first packet held; returns that packet and what follows it."""
        assert self._next is not None  # noqa: S101 - for the type checker: something is held
        missing = min(self._held) - self._next
        self.counters.lost += missing
        self._next += missing
        self._passed = self._passed << min(missing, BEHIND) & _RECENT
        return self._run()

    def _astray(self, sequence: int, item: T, now_ms: float) -> list[T]:
        if sequence in self._strays:
            self.counters.duplicated += 1
            return []
        self._strays[sequence] = _Waiting(item, now_ms)
        return self._resync() if len(self._strays) > self._capacity else []

    def _resync(self) -> list[T]:
        """The line has stopped: goes on where the strays are, after all that was held on the old line."""
        items: list[T] = []
        while self._held:
            items += self._give_up()
        strays, self._strays = self._strays, {}
        origin = next(iter(strays))
        self.counters.resynced += 1
        self._next, self._passed = None, 0
        # The first to arrive need not be the first in order: begin with the lowest of its neighbourhood.
        for sequence in sorted(strays, key=lambda one: (one - origin + BEHIND) & 0xFFFF):
            items += self._sort(sequence, strays[sequence].item, strays[sequence].arrived_ms)
        return items
