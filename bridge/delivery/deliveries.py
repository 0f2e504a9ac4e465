"""All endpoints' deliveries as one: what the daemon runs, and what a person asks about and orders.

What happens with one endpoint is `bridge.delivery.delivering`'s, what waits `bridge.outbox`'s.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from bridge import metrics
from bridge.delivery.delivering import Delivery, Resting
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Sender
from bridge.wire.retry import RetrySettings

_TICK_S = 5.0


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What a person wants to know of an endpoint."""

    name: str
    state: str
    """delivering, waiting (it failed, and is left alone for a while), gone (it wants nothing any more), or
    unknown: something waits for it, and the YAML names it no more."""
    waiting: int
    waiting_s: float
    """For how long the oldest waits; 0 if nothing does."""
    error: str
    """How the last send failed; "" if it did not."""
    retry_in_s: float
    resting: int
    """Calls whose next event failed."""
    rests: tuple[Resting, ...]
    """They, by the most frequent reasons."""
    sent: int
    """Events since the start, as what follows."""
    failed: int
    """Sends that failed."""
    given_up: int


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
        self._all = {sender.name: Delivery(outbox, sender, settings) for sender, _ in senders}
        self._told: dict[str, dict[str, int]] = {}

    @property
    def degraded(self) -> str:
        """Why not all is well with what is kept; "" if it is. An endpoint that is away is no such reason."""
        return self._outbox.degraded

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for delivery in self._all.values():
                tasks.create_task(delivery.run())
            while True:
                await self.tick()
                await asyncio.sleep(_TICK_S)

    async def finish(self, patience_s: float) -> None:
        """Wait until all that can go out now went, or no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(delivery.settle() for delivery in self._all.values()))

    async def report(self) -> list[EndpointReport]:
        """All endpoints, and those of former days for which something waits."""
        backlogs, now = await self._outbox.counts(), self._unix()
        reports = []
        for name, backlog in backlogs.items():
            since_s = 0.0 if backlog.since is None else max(0.0, now - backlog.since)
            delivery = self._all.get(name)
            if delivery is None:
                reports.append(
                    EndpointReport(name, "unknown", backlog.waiting, since_s, "", 0, 0, (), 0, 0, 0)
                )
                continue
            status, counters = delivery.status, delivery.counters
            reports.append(
                EndpointReport(
                    name,
                    status.state,
                    backlog.waiting,
                    since_s,
                    status.error,
                    status.retry_in_s,
                    status.resting,
                    status.rests,
                    counters.sent,
                    counters.failed,
                    counters.given_up,
                )
            )
        return reports

    def retry(self, name: str | None = None) -> bool:
        """Try an endpoint now, though it be gone (None: each of them). Whether there is one by that name."""
        chosen = [one for one in self._all.values() if name in (None, one.name)]
        for delivery in chosen:
            delivery.retry()
        return bool(chosen)

    async def drop(self, name: str) -> int:
        """Give up all that waits for an endpoint, one of former days too. How many events."""
        delivery = self._all.get(name)
        return await (self._outbox.drop(name) if delivery is None else delivery.drop())

    async def tick(self) -> None:
        """Tell the metrics."""
        self._tell("", asdict(self._outbox.counters))
        metrics.OUTBOX_DEGRADED.set(bool(self._outbox.degraded))
        reports = await self.report()
        metrics.DELIVERIES_WAITING.clear()  # of former days, once nothing waits for it
        metrics.DELIVERIES_OLDEST.clear()
        for report in reports:
            metrics.DELIVERIES_WAITING.labels(report.name).set(report.waiting)
            metrics.DELIVERIES_OLDEST.labels(report.name).set(report.waiting_s)
        for name, delivery in self._all.items():
            self._tell(name, asdict(delivery.counters))

    def _tell(self, name: str, counters: dict[str, int]) -> None:
        grown = metrics.difference(self._told.get(name, {}), counters)
        for fate in counters:  # also what has not grown, so that the first of a kind is an increase
            counter = metrics.DELIVERIES.labels(name, fate) if name else metrics.OUTBOX.labels(fate)
            counter.inc(grown.get(fate, 0))
        self._told[name] = counters
