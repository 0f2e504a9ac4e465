"""A file that an administrator may be writing at this moment, read as a whole."""

import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bridge.config import ConfigError

T = TypeVar("T")

_STILL_S = 0.2
"""A file that did not change for so long, and not while it was read, was not being written."""
_TRIES = 10


def steady(path: Path, read: Callable[[Path], T], pause: Callable[[float], None] = time.sleep) -> T:
    """What `read` makes of the file, once nobody writes it. Blocks. Raises ConfigError, as `read` does."""
    if _is_pipe(path):
        raise ConfigError([f"{path}: was a pipe, which cannot be read again; restart with a file"])
    for _ in range(_TRIES):
        before = _stamp(path)
        pause(_STILL_S)
        fault: ConfigError | None = None
        try:
            found = read(path)
        except ConfigError as error:
            fault = error
        if _stamp(path) == before:
            if fault is not None:
                raise fault
            return found
    raise ConfigError([f"{path}: is being written; reload again once it is saved"])


def _is_pipe(path: Path) -> bool:
    """Or a socket or a device; not what cannot be looked at, of which `read` tells why."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another after every write; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
