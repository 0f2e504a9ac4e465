"""Events into the outbox: all but partials, which are worth nothing later."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from bridge.outbox.outbox import Outbox
from bridge.sinks.queued import QueuedSink
from bridge.types import Event

_PARTIAL = "rtzr.transcript.partial"
_AGAIN_S = 1.0


class OutboxSink(QueuedSink):
    """A batch is whatever came during the last commit.

    While the outbox cannot be written, the batch and the sink's own queue wait in memory: a disk that has
    room again soon costs nothing, and one that has none the oldest events, counted as dropped.
    """

    for_every_call = True
    """Also those that the outbox is to leave out: it learns their rule, and keeps nothing else of them."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox
        self._ending = asyncio.Event()
        self._taken = 0
        self._progress = asyncio.Condition()
        outbox.fed_by(lambda: self._taken - self.delivered - self._lost)

    def deliver(self, event: Event) -> None:
        if event.type != _PARTIAL:
            self._taken += 1
            super().deliver(event)

    async def written(self) -> bool:
        """Wait until all that was delivered here is on the disk; False if something will never be.

        For whoever has a copy that may go then, such as audio whose transcript this is: to be awaited at
        once, for what was lost before is not told again.
        """
        taken, lost = self._taken, self._lost
        async with self._progress:
            await self._progress.wait_for(lambda: self.delivered + self._lost >= taken)
        return self._lost == lost

    @property
    def left(self) -> int:
        """Events that are not on the disk, apart from those that were dropped on the way: once all is over,
        what the end cost."""
        return self._taken - self.delivered - self.dropped

    @property
    def _lost(self) -> int:
        return self.dropped + self.failed

    def close(self) -> None:
        self._ending.set()
        super().close()

    async def _try(self, batch: Sequence[Event]) -> None:
        await super()._try(batch)
        async with self._progress:
            self._progress.notify_all()

    async def put(self, events: Sequence[Event]) -> bool:
        """At the end it is tried once more: what refused a moment ago may have been mended since."""
        last = self._ending.is_set()
        while not await self._outbox.add(events):
            if last:
                raise OSError(self._outbox.degraded)
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await self._ending.wait()
            last = self._ending.is_set()
        return bool(events)
