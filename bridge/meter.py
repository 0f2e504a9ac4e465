"""Once a second, what the parts count in plain numbers goes to the metrics: a packet costs no metric.

It reads counters and sets gauges. Nothing depends on it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from prometheus_client import Counter

from bridge import metrics
from bridge.desk import Desks
from bridge.net.rtzr import Session, Tokens
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.sinks.queued import QueuedSink
from bridge.switchboard import Switchboard

_TICK_S = 1.0


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
    ) -> None:
        self._pbx = pbx
        self._pbx_told: dict[str, int] = {}
        self._switchboard = switchboard
        self._tokens = tokens
        self._desks = desks
        self._governor = governor
        self._sinks = sinks
        self._told: dict[tuple[Counter, tuple[str, ...]], int] = {}

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(_TICK_S)

    def tick(self) -> None:
        metrics.LEGS.set(self._switchboard.legs)
        counts = self._desks.counts()
        metrics.SESSIONS.set(counts.sessions_open)
        metrics.bump(counts.fates)
        self._tell_pbx()
        self._tell_quota()
        for reason, calls in self._switchboard.refused.items():
            self._tell(metrics.CALLS_REFUSED, (reason,), calls)
        self._tell(metrics.TOKENS_ISSUED, (), self._tokens.issued)
        self._tell(metrics.SESSIONS_OPENED, (), counts.sessions_opened)
        for sink in self._sinks:
            name = sink.name
            self._tell(metrics.EVENTS, (name, "delivered"), sink.delivered)
            self._tell(metrics.EVENTS, (name, "dropped"), sink.dropped)
            self._tell(metrics.EVENTS, (name, "failed"), sink.failed)

    def _tell_quota(self) -> None:
        counters = self._governor.counters
        metrics.WAITING.set(counters.waiting)
        metrics.LONGEST_WAIT.set(counters.longest_wait_s)
        metrics.ALARMS.labels("full").set(counters.full)
        metrics.ALARMS.labels("spent").set(counters.spent)
        metrics.ALARMS.labels("nearly_full").set(counters.alarm)
        self._tell(metrics.EVICTED, (), counters.evicted)
        for code, number in counters.refused.items():
            self._tell(metrics.REFUSED, (code,), number)

    def _tell_pbx(self) -> None:
        fates = asdict(self._pbx.counters)
        metrics.export(self._pbx_told, fates, metrics.PBX)
        self._pbx_told = fates

    def _tell(self, counter: Counter, labels: tuple[str, ...], total: int) -> None:
        grown = total - self._told.get((counter, labels), 0)
        if grown:
            (counter.labels(*labels) if labels else counter).inc(grown)
            self._told[counter, labels] = total
