"""Events as lines of JSON in a file, UTF-8, one object a line, written with every batch.

The file may be moved away by others at any time. Where it is rotated here, `events.jsonl` is the newest,
`events.jsonl.1` the one before it, and so on; the oldest goes when there are enough.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from bridge.sinks.queued import BlockingSink
from bridge.types import Event
from bridge.wire.eventjson import encoded

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JsonlSettings:
    """How the file is kept."""

    max_bytes: int = 0
    """A file that would grow beyond it becomes the first of the older ones; 0: none ever does."""
    keep: int = 5
    """Older files, one at least."""
    sync: bool = False
    """Whether events count as written only once the disk has them."""


DEFAULTS = JsonlSettings()
_OPEN_ALREADY = ("/dev/std", "/dev/fd/", "/proc/")
"""Paths that lead to what a process has open: somebody else's file, whatever it is."""
_HEAD = b'{"specversion":"1.0","id":'
"""What every line begins with."""
_LOOK = 1 << 16
_LONGEST = 1 << 24
"""Bytes of a line that may be ours."""


class JsonlSink(BlockingSink):
    """Appends to `path`, which it opens for every batch, so that the file may be moved away under it."""

    def __init__(self, path: Path, settings: JsonlSettings = DEFAULTS) -> None:
        super().__init__()
        self._path = path
        self._settings = settings
        self._stuck = False
        self._whole = False
        """Whether the file is sure to end with a whole line: who was killed may have left half of one."""

    def check(self) -> None:
        """Whether the file can be written, before any call depends on it. Raises OSError."""
        self._append(b"")

    def write(self, events: Sequence[Event]) -> bool:
        lines = [line for event in events if (line := self._line(event))]
        if lines and not self._whole:
            self._mend()
        first, *others = _shared(lines, *self._space())
        if first:
            self._append(first)
        for more in others:
            self._rotate()
            self._append(more)
        return bool(events)

    def _line(self, event: Event) -> bytes:
        try:
            return encoded(event) + b"\n"
        except Exception:
            self.no_json(event)
            return b""

    def _space(self) -> tuple[int, int]:
        """Bytes that still go into the file, and into a new one; of the latter 0, for no end, where there is
        none to be had: a terminal, a pipe or a device is never renamed."""
        most = self._settings.max_bytes
        if str(self._path).startswith(_OPEN_ALREADY):
            return 0, 0
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return most, most
        return (most - found.st_size, most) if stat.S_ISREG(found.st_mode) else (0, 0)

    def _rotate(self) -> None:
        """Where it cannot be done the file grows on: better than events that are nowhere."""
        path = self._path.resolve()  # of a link, what it leads to: the link stays
        if not path.is_file():  # moved away meanwhile, or become something else
            return
        try:
            _make_room(path, self._settings.keep)
            if self._settings.sync:
                _sync_folder(path)
        except OSError as error:
            if not self._stuck:
                _log.error("events not rotated", reason=error.strerror or str(error))
            self._stuck = True
        else:
            self._stuck = False

    def _append(self, lines: bytes) -> None:
        with open(self._path, "ab", buffering=0, opener=_open) as file:
            try:
                _append(file, lines, sync=self._settings.sync)
            except OSError:
                self._whole = False
                raise

    def _mend(self) -> None:
        """Before the first line: half a line must not make a whole one unreadable. One of ours is cut off."""
        self._whole = True
        if str(self._path).startswith(_OPEN_ALREADY) or not self._path.is_file():
            return
        with (
            suppress(PermissionError),
            self._path.open("r+b", buffering=0) as file,
        ):  # one may have to write only
            if cut := _cut_half(file):
                _log.warning("half a line of events cut off", bytes=cut)


def _open(path: str, flags: int) -> int:
    """What was said is not for everybody here: a new file is its user's, and its group's to read."""
    return os.open(path, flags, 0o640)


def _shared(lines: Sequence[bytes], room: int, most: int) -> list[bytes]:
    """What goes into a file that has `room`, and into each new one of `most` bytes after it; 0: all into one.

    A line is never cut: one that is longer than a whole file has one of its own.
    """
    if not most:
        return [b"".join(lines)]
    files: list[list[bytes]] = [[]]
    for line in lines:
        if len(line) > room and room < most:
            files.append([])
            room = most
        files[-1].append(line)
        room -= len(line)
    return [b"".join(some) for some in files]


def _make_room(path: Path, keep: int) -> None:
    """`path` becomes `path.1`, `path.1` becomes `path.2`, ..., up to `path.keep`, which goes.

    From the oldest to the newest: killed in between, it leaves a gap, which the next time fills.
    """
    files = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1))]
    gap = next((number for number in range(1, keep) if not files[number].exists()), keep)
    for number in range(gap, 0, -1):
        files[number - 1].replace(files[number])


def _append(file: BinaryIO, lines: bytes, *, sync: bool = False) -> None:
    """All of it or nothing: a full disk must not leave half a line for the next one to continue."""
    start = file.seek(0, 2) if file.seekable() else 0
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]
        if sync and lines and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fsync(file.fileno())
            if not start:  # it may be new, and its folder not know it yet
                _sync_folder(Path(file.name))
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise


def _cut_half(file: BinaryIO) -> int:
    """Cut off half a line of ours at the end of the file, and end one that is not. Bytes that are gone."""
    size = start = file.seek(0, 2)
    half = b""
    while start and b"\n" not in half and len(half) < _LONGEST:
        end, start = start, file.seek(max(0, start - _LOOK))
        half = file.read(end - start) + half
    half = half.rpartition(b"\n")[2]
    if not half:
        return 0
    if half.startswith(_HEAD) or _HEAD.startswith(half):
        file.truncate(size - len(half))
        return len(half)
    file.seek(0, 2)
    file.write(b"\n")
    return 0


def _sync_folder(path: Path) -> None:
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
