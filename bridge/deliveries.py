"""All endpoints' deliveries as one: what the daemon runs, and what the metrics are told of it.

What happens with one endpoint is `bridge.delivering`'s, what waits `bridge.outbox`'s.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

from bridge import metrics
from bridge.delivering import Delivery
from bridge.outbox import Outbox
from bridge.stored import Sender
from bridge.wire.retry import RetrySettings

_TICK_S = 5.0


class Deliveries:
    """`run` it once, with the outbox open. Sets the outbox's endpoints by `rules` (None: every call's)."""

    def __init__(
        self,
        outbox: Outbox,
        senders: Sequence[tuple[Sender, frozenset[str] | None]],
        settings: RetrySettings | None = None,
        *,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._unix = unix
        outbox.endpoints({sender.name: rules for sender, rules in senders})
        self.all: Sequence[Delivery] = tuple(Delivery(outbox, sender, settings) for sender, _ in senders)
        self._told: dict[str, dict[str, int]] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for delivery in self.all:
                tasks.create_task(delivery.run())
            while True:
                await self.tick()
                await asyncio.sleep(_TICK_S)

    async def finish(self, patience_s: float) -> None:
        """Wait until all that can go out now went, or no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(delivery.settle() for delivery in self.all))

    async def tick(self) -> None:
        """Tell the metrics."""
        self._tell("", asdict(self._outbox.counters))
        metrics.OUTBOX_DEGRADED.set(bool(self._outbox.degraded))
        now = self._unix()
        metrics.DELIVERIES_WAITING.clear()  # of former days, once nothing waits for it
        metrics.DELIVERIES_OLDEST.clear()
        for name, backlog in (await self._outbox.counts()).items():
            waiting_s = 0.0 if backlog.since is None else max(0.0, now - backlog.since)
            metrics.DELIVERIES_WAITING.labels(name).set(backlog.waiting)
            metrics.DELIVERIES_OLDEST.labels(name).set(waiting_s)
        for delivery in self.all:
            self._tell(delivery.name, asdict(delivery.counters))

    def _tell(self, name: str, counters: dict[str, int]) -> None:
        for fate, grown in metrics.difference(self._told.get(name, {}), counters).items():
            counter = metrics.DELIVERIES.labels(name, fate) if name else metrics.OUTBOX.labels(fate)
            counter.inc(grown)
        self._told[name] = counters
