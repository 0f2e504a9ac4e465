"""Room on the disk for the outbox: how much of it may be used, and a reserve to be given up when it is full.

Files and numbers only; what is deleted for it, and when, is `bridge.outbox.writer`'s.
"""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BALLAST = 2_000_000
"""Bytes. More than the log grows to before it is copied into the file (`outbox.file`): given up, it is enough
to copy all of the log, whose own room can then be written to again."""
LOG_LIMIT = BALLAST
"""Bytes to which a log is cut that one large commit made longer."""
_APART = 8_000_000
"""Bytes that rows leave free: the log's, one large commit's, and some for others."""
_ENOUGH = 500_000
"""A reserve that is smaller is none: the disk is as good as full."""
FLOOR = 262_144
"""What the file may always try to use: below it rather nothing is written than nothing kept."""
_BYTES = 65_536
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def free_bytes(folder: Path) -> int:
    """What we may still write there. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """The room of the file at `path`. Nothing here raises."""

    def __init__(self, path: Path, free: Callable[[Path], int] = free_bytes) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._ballast = path.with_name(f"{path.name}-reserve")
        self._free = free
        self.short = False
        """There is no reserve: the disk was full, and has no room for it yet."""

    def most(self, bound: int) -> int:
        """How many bytes may be in use in the file: `bound`, or less where the disk has less."""
        free = self._left()
        if free is None:
            return bound
        log = _length(self._log)
        ours = _length(self._path) + log + free
        apart = min(max(_APART - log, 0), ours // 2)
        return min(bound, max(ours - log - apart, FLOOR))

    @property
    def behind(self) -> bool:
        """Whether the log should be copied at once: little of the disk is left, or it was due already, and
        the disk refused, of which SQLite says nothing."""
        return self.tight or _length(self._log) > LOG_LIMIT * 1.2

    def lacking(self, length: int) -> int:
        """Bytes that a file which shall be `length` bytes long is too short."""
        return max(0, length - _length(self._path))

    @property
    def tight(self) -> bool:
        """So little is left that the log must not be longer than the file has room for."""
        free = self._left()
        return self.short or (free is not None and free < _APART)

    def keep(self) -> None:
        """Have the reserve, written out: a file with holes in it would hold no room."""
        free, has = self._left(), _length(self._ballast)
        if free is not None:
            wanted = min(BALLAST, (free + has) // 8)
            if has < wanted and self._write(wanted):
                has = wanted
        self.short = has < _ENOUGH

    def _write(self, size: int) -> bool:
        try:
            with open(self._ballast, "wb", opener=_private) as file:
                file.write(os.urandom(size))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.give()
            return False
        return True

    def give(self) -> None:
        """The disk is full: the reserve is given up, until `keep` finds room again."""
        self.short = True
        with suppress(OSError):
            self._ballast.unlink(missing_ok=True)

    def lacks(self, error: Exception) -> bool:
        """Whether this error came from a disk (a quota, a limit) that is full."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return isinstance(error, OSError) and error.errno in _NO_ROOM
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return True
        return code & 0xFF == sqlite3.SQLITE_IOERR and (self.short or self._refuses())

    def _refuses(self) -> bool:
        """SQLite does not tell a quota from a broken disk: see what a few bytes more meet with."""
        try:
            with open(self._ballast, "ab", opener=_private) as file:
                before = file.tell()
                file.truncate(max(before, _length(self._path)))  # where a limit on files' sizes shows
                try:
                    file.write(bytes(_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                finally:
                    os.truncate(self._ballast, before)
        except OSError as error:
            return error.errno in _NO_ROOM
        return False

    def _left(self) -> int | None:
        try:
            return self._free(self._path.parent)
        except OSError:
            return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
