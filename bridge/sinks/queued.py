"""What every sink shares: a bounded queue between the legs, which never wait, and a writer that may.

When a sink cannot keep up, its oldest events are dropped and counted; nothing upstream notices.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from bridge.types import Event

_BOUND = 10_000


class QueuedSink(ABC):
    """A sink fed by `deliver` and worked off by `run`, until `close`."""

    def __init__(self, bound: int = _BOUND) -> None:
        self._waiting: deque[Event] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._closed = False
        self.delivered = 0
        self.dropped = 0

    def deliver(self, event: Event) -> None:
        """Take an event; never waits."""
        self._waiting.append(event)
        if len(self._waiting) > self._bound:
            self._waiting.popleft()
            self.dropped += 1
        self._changed.set()

    def close(self) -> None:
        """No event follows; `run` ends once what waits is written."""
        self._closed = True
        self._changed.set()

    async def run(self) -> None:
        """Write events in order until closed."""
        while self._waiting or not self._closed:
            if not self._waiting:
                await self._changed.wait()
                self._changed.clear()
                continue
            batch = tuple(self._waiting)
            self._waiting.clear()
            await self.write(batch)
            self.delivered += len(batch)

    @abstractmethod
    async def write(self, events: Sequence[Event]) -> None:
        """Write a batch, in order."""
