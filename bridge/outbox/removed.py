"""An outbox whose file is taken away while it is open: noticed, told, and written to its path anew.

Blocking, on the outbox's thread. What was removed is still there for who has it open, and for nobody else:
without this, all that waits would end with the process.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from bridge.outbox.file import OutboxFile

_log = structlog.get_logger()

_LOOK_S = 1.0
_AGAIN_S = 60.0
"""Between two tries to write it anew, which may be as much as `max_mb`."""


class Removal:
    """Of the file at `path`. Nothing here raises."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._look_at = float("-inf")
        self.told = ""
        """What a person is to know; "" where all is well."""

    def look(self, file: OutboxFile, *, now: bool = False) -> bool:
        """Whether all of `file` was written to its path anew: it is to be closed, and opened there. Looks
        once a second, or `now`."""
        if not now and self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + _LOOK_S
        try:
            there = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return self._write_anew(file)
        except OSError:
            return False  # nobody can tell
        if (there.st_dev, there.st_ino) == file.inode:
            self.told = ""
        else:
            self._tell("another file is in its place")
        return False

    def _write_anew(self, file: OutboxFile) -> bool:
        made = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._beside("-wal").unlink(missing_ok=True)  # of the file that was removed
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            made = True
            file.copy(self._path)
        except (OSError, sqlite3.Error) as error:
            if made:
                self._unmake()
            self._tell(getattr(error, "strerror", None) or str(error))
            return False
        _log.error("outbox removed under way; written anew", path=str(self._path))
        self.told = ""
        return True

    def _unmake(self) -> None:
        for part in (self._path, self._beside("-journal"), self._beside("-wal")):
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _tell(self, why: str) -> None:
        if not self.told:
            _log.error("outbox removed under way", path=str(self._path), reason=why)
        self.told = f"{self._path.name} was removed, and what waits would end with this process: {why}"
        self._look_at = self._clock() + _AGAIN_S
