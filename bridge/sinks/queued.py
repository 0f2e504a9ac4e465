"""What every sink shares: a bounded queue between the legs, which never wait, and a writer that may.

When a sink cannot keep up, its oldest events are dropped and counted; nothing upstream notices.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

import structlog

from bridge.types import Event

_log = structlog.get_logger()

_BOUND = 10_000


class QueuedSink(ABC):
    """A sink fed by `deliver` and worked off by `run`, until `close`.

    A write that fails is told once, counted, and no reason to stop: the next batch is tried as ever.
    """

    for_every_call = False
    """Whether it gets the events of every call, though the call's rule names other sinks."""

    def __init__(self, bound: int = _BOUND) -> None:
        self._waiting: deque[Event] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._closed = False
        self._failing = False
        self.delivered = 0
        self.dropped = 0
        """Events that came faster than they could be written."""
        self.failed = 0
        """Events whose write failed."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        return type(self).__name__.removesuffix("Sink").lower()

    @property
    def waiting(self) -> int:
        """Events that are not being written yet."""
        return len(self._waiting)

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self._failing

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
            await self._try(batch)

    async def _try(self, batch: Sequence[Event]) -> None:
        failed = self.failed
        try:
            written = await self.put(batch)
        except OSError as error:
            self.failed += len(batch)
            if not self._failing:
                _log.error("events not written", sink=self.name, reason=error.strerror or str(error))
            self._failing = True
            return
        self.delivered += len(batch) - (self.failed - failed)
        if self._failing and written:
            _log.info("events written again", sink=self.name, failed=self.failed)
            self._failing = False

    def no_json(self, event: Event) -> None:
        """While an error is handled: the event cannot be written. It is told and counted, and must cost no
        other one."""
        self.failed += 1
        _log.exception("event is no json", sink=self.name, type=event.type, call=event.subject)

    @abstractmethod
    async def put(self, events: Sequence[Event]) -> bool:
        """Bring a batch where it belongs, in order. Whether there was anything in it. Raises OSError."""


class BlockingSink(QueuedSink):
    """One that writes in a thread: a disk or a terminal that stands still must not hold up the calls."""

    async def put(self, events: Sequence[Event]) -> bool:
        return await asyncio.to_thread(self.write, events)

    @abstractmethod
    def write(self, events: Sequence[Event]) -> bool:
        """Write a batch, in order; may block. Whether there was anything in it to write. Raises OSError."""
