"""What one worker counts, through all its lives, as its messages tell it.

Sums only: the worker's process and its legs are `bridge.workers.workers`', and who asks is `bridge.meter`.
"""

from collections import Counter
from collections.abc import Iterable

from bridge import metrics
from bridge.leg.desk import Counts
from bridge.wire import link as wire

_NOTHING = wire.Counts(0.0, 0.0, 0, 0, {})


class WorkerCounts:
    """One worker's."""

    def __init__(self, number: int) -> None:
        self._name = f"worker {number}"
        self._pid: int | None = None
        self._opened_before = 0
        """In former lives."""
        self._last = _NOTHING
        """Of this one."""
        self._fates = Counter[str]()
        self._audio: dict[str, float] = {}

    def began(self, pid: int) -> None:
        """A life, as the process of this id."""
        self._pid = pid

    def lost(self) -> None:
        """That life is over."""
        self._pid = None
        self._opened_before += self._last.sessions_opened
        self._last = _NOTHING

    def take(self, told: wire.Counts) -> None:
        """What the worker says of itself."""
        self._last = told
        self._fates.update(told.fates)
        for fate, ms in told.audio.items():
            self._audio[fate] = self._audio.get(fate, 0.0) + ms
        metrics.LOOP_LAG.labels(self._name).observe(told.lag_ms / 1000)

    @property
    def lag_ms(self) -> float:
        """How late its loop was, the last time it told."""
        return self._last.lag_ms

    def counts(self) -> Counts:
        """As `Desks.counts`."""
        fates, self._fates = self._fates, Counter[str]()
        audio, self._audio = self._audio, {}
        last = self._last
        opened = self._opened_before + last.sessions_opened
        processes = {} if self._pid is None else {self._name: self._pid}
        return Counts(last.sessions_open, opened, fates, audio, last.backlog_ms, processes)


def total(workers: Iterable[WorkerCounts]) -> Counts:
    """Those of all of them, as one."""
    fates, audio, processes, sums = Counter[str](), dict[str, float](), dict[str, int](), Counts()
    for counts in (worker.counts() for worker in workers):
        sums.sessions_open += counts.sessions_open
        sums.sessions_opened += counts.sessions_opened
        sums.backlog_ms = max(sums.backlog_ms, counts.backlog_ms)
        fates.update(counts.fates)
        processes |= counts.processes
        for fate, ms in counts.audio.items():
            audio[fate] = audio.get(fate, 0.0) + ms
    sums.fates, sums.audio, sums.processes = fates, audio, processes
    return sums
