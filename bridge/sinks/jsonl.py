"""Events as lines of JSON in a file, UTF-8, one object a line, flushed with every batch."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import structlog

from bridge.sinks.queued import QueuedSink
from bridge.types import Event

_log = structlog.get_logger()


class JsonlSink(QueuedSink):
    """Appends to `path`; a write that fails is told once and counted, and the next batch tries again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._failing = False
        self.failed = 0

    async def write(self, events: Sequence[Event]) -> None:
        text = "".join(json.dumps(event.as_json(), ensure_ascii=False) + "\n" for event in events)
        try:
            await asyncio.to_thread(self._append, text)
        except OSError as error:
            self.failed += len(events)
            if not self._failing:
                _log.error("events not written", path=str(self._path), reason=error.strerror)
            self._failing = True
            return
        self._failing = False

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
