"""Once a second, what the parts count in plain numbers goes to the metrics: a packet costs no metric.

It reads counters and sets gauges. Nothing depends on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from prometheus_client import Counter

from bridge import metrics
from bridge.calls.switchboard import Switchboard
from bridge.leg.desk import Desks
from bridge.load import Observe, usage
from bridge.net.rtzr import Session, Tokens
from bridge.onlookers import every_second
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.readiness import Readiness, line_down
from bridge.sinks.queued import QueuedSink
from bridge.spool.catchup import CatchUpCounters


def watched(observe: Observe | None = None) -> Observe:
    """Tells the lag of the daemon's own loop to the metrics, and all of it to `observe`."""

    def tell(cpu_s: float, lag_ms: float) -> None:
        metrics.LOOP_LAG.labels("daemon").observe(lag_ms / 1000)
        if observe is not None:
            observe(cpu_s, lag_ms)

    return tell


class Meter:
    """What the metrics were told so far, so that the next tick tells the difference."""

    def __init__(
        self,
        switchboard: Switchboard,
        desks: Desks,
        pbx: Pbx,
        tokens: Tokens,
        governor: Governor[Session],
        sinks: Sequence[QueuedSink],
        readiness: Readiness,
    ) -> None:
        self._pbx = pbx
        self._pbx_told: dict[str, int] = {}
        self._switchboard = switchboard
        self._tokens = tokens
        self._desks = desks
        self._governor = governor
        self._sinks = sinks
        self._readiness = readiness
        self.late: CatchUpCounters | None = None
        """Of what is made up for, where there is a spool."""
        self._told: dict[tuple[Counter, tuple[str, ...]], float] = {}
        self._cpu_s: dict[int, float] = {}
        """Of the workers, by process id."""

    async def run(self) -> None:
        """Tick until cancelled."""
        await every_second(self.tick, "metrics")

    def tick(self) -> None:
        metrics.READY.set(not self._readiness.reasons)
        metrics.LEGS.set(self._switchboard.legs)
        metrics.CALLS_PAUSED.set(len(self._switchboard.pauses.paused()))
        counts = self._desks.counts()
        metrics.SESSIONS.set(counts.sessions_open)
        metrics.BACKLOG.set(counts.backlog_ms / 1000)
        metrics.bump(counts.fates)
        metrics.bump_audio(counts.audio)
        self._tell_processes(counts.processes)
        self._tell_pbx()
        self._tell_quota()
        for fate, number in ({} if self.late is None else asdict(self.late)).items():
            self._tell(metrics.LATE, (fate,), number)
        for reason, calls in self._switchboard.refused.items():
            self._tell(metrics.CALLS_REFUSED, (reason,), calls)
        self._tell(metrics.TOKENS_ISSUED, (), self._tokens.issued)
        self._tell(metrics.SESSIONS_OPENED, (), counts.sessions_opened)
        for sink in self._sinks:
            name = sink.name
            metrics.SINK_WAITING.labels(name).set(sink.waiting)
            self._tell(metrics.EVENTS, (name, "delivered"), sink.delivered)
            self._tell(metrics.EVENTS, (name, "dropped"), sink.dropped)
            self._tell(metrics.EVENTS, (name, "failed"), sink.failed)

    def _tell_processes(self, processes: Mapping[str, int]) -> None:
        """Of a worker that is gone, only its CPU is left."""
        metrics.WORKER_MEMORY.clear()
        metrics.WORKER_FILES.clear()
        before, self._cpu_s = self._cpu_s, {}
        for name, pid in processes.items():
            used = usage(pid)
            if used is not None:
                self._cpu_s[pid] = used.cpu_s
                metrics.WORKER_CPU.labels(name).inc(max(0.0, used.cpu_s - before.get(pid, 0.0)))
                metrics.WORKER_MEMORY.labels(name).set(used.resident_bytes)
                metrics.WORKER_FILES.labels(name).set(used.files)

    def _tell_quota(self) -> None:
        counters = self._governor.counters
        metrics.QUOTA_USED.set(counters.held)
        metrics.QUOTA_LIMIT.set(self._governor.limit)
        metrics.WAITING.set(counters.waiting)
        metrics.LONGEST_WAIT.set(counters.longest_wait_s)
        metrics.ALARMS.labels("full").set(counters.full)
        metrics.ALARMS.labels("spent").set(counters.spent)
        metrics.ALARMS.labels("nearly_full").set(counters.alarm)
        self._tell(metrics.EVICTED, (), counters.evicted)
        for code, number in counters.refused.items():
            self._tell(metrics.REFUSED, (code,), number)

    def _tell_pbx(self) -> None:
        metrics.PBX_CONNECTED.set(not line_down(self._pbx))
        fates = asdict(self._pbx.counters)
        metrics.export(self._pbx_told, fates, metrics.PBX)
        self._pbx_told = fates

    def _tell(self, counter: Counter, labels: tuple[str, ...], total: float) -> None:
        """Also of what has not grown, so that the first of a kind is an increase."""
        series = counter.labels(*labels) if labels else counter
        series.inc(total - self._told.get((counter, labels), 0))
        self._told[counter, labels] = total
