"""Whether a file may be taken for the outbox: one that is not there, empty, or ours by its own header.

Whatever else is at the path is left as it is: a file is opened, and moved aside as damaged, only where this
says so. Nothing is opened for good here; what the file holds is `bridge.outbox.file`'s. Source of the header:
sqlite.org/fileformat2.html, 1.3.
"""

import errno
import sqlite3
import stat
from pathlib import Path

APPLICATION_ID = 0x52545A52
"""`PRAGMA application_id`, "RTZR": no other program's SQLite file has it."""

_MAGIC = b"SQLite format 3\0"
_ID_AT = slice(68, 72)
_HEADER = 100
_MISPLACED = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
_MISPLACED_OF_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


class NotOurs(OSError):
    """Something else than an outbox is at the path."""

    def __init__(self) -> None:
        super().__init__(errno.EEXIST, "what is there is no outbox of ours")


def claim(path: Path) -> None:
    """Raises NotOurs where something else is there, OSError where that cannot be told.

    Of a file that is damaged the header may be, too: its id alone is enough, or a beginning too short for
    one, or zeros with the log of a process that was killed beside them (a power cut leaves such).
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if not stat.S_ISREG(mode):  # to read from a pipe would wait for ever
        raise NotOurs
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if not header or header[_ID_AT] == APPLICATION_ID.to_bytes(4):
        return
    if len(header) < _ID_AT.stop and header.startswith(_MAGIC):
        return
    logs = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    if any(header) or not any(log.exists() for log in logs):
        raise NotOurs


def misplaced(error: Exception) -> bool:
    """Whether a file cannot be had for where it is, or for who has it: nothing that passes by itself, as a
    full disk may."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _MISPLACED_OF_SQLITE
    return isinstance(error, OSError) and error.errno in _MISPLACED
