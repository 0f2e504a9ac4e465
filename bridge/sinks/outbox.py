"""Events into the outbox: all but partials, which are worth nothing later."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from bridge.outbox import Outbox
from bridge.sinks.queued import QueuedSink
from bridge.types import Event

_PARTIAL = "rtzr.transcript.partial"
_AGAIN_S = 1.0


class OutboxSink(QueuedSink):
    """A batch is whatever came during the last commit.

    While the outbox cannot be written, the batch and the sink's own queue wait in memory: a disk that has
    room again soon costs nothing, and one that has none the oldest events, counted as dropped.
    """

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox
        self._ending = asyncio.Event()

    def deliver(self, event: Event) -> None:
        if event.type != _PARTIAL:
            super().deliver(event)

    def close(self) -> None:
        self._ending.set()
        super().close()

    async def put(self, events: Sequence[Event]) -> bool:
        while not await self._outbox.add(events):
            if self._ending.is_set():
                raise OSError(self._outbox.degraded)
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await self._ending.wait()
        return bool(events)
