"""Events as lines of JSON in a file, UTF-8, one object a line, flushed with every batch."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bridge.sinks.queued import BlockingSink
from bridge.types import Event


class JsonlSink(BlockingSink):
    """Appends to `path`, which it opens for every batch, so that the file may be moved away under it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def check(self) -> None:
        """Whether the file can be written, before any call depends on it. Raises OSError."""
        self.write(())

    def write(self, events: Sequence[Event]) -> bool:
        with self._path.open("ab", buffering=0) as file:
            _append(file, b"".join(_line(event) for event in events))
        return bool(events)


def _append(file: BinaryIO, lines: bytes) -> None:
    """All of it or nothing: a full disk must not leave half a line for the next one to continue."""
    start = file.seek(0, 2) if file.seekable() else 0
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise


def _line(event: Event) -> bytes:
    # A lone surrogate, which JSON can bring and UTF-8 cannot hold, becomes `\udxxx`: in JSON, itself again.
    text = json.dumps(event.as_json(), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"
