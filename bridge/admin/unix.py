"""A listener on a Unix socket that is this user's alone, and whose path one process has at a time."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OWNER_ONLY = 0o600


class Taken(OSError):
    """Another process listens there."""


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A bound listener at `path`, mode 0600, gone afterwards; what a killed process left there is replaced.

    Raises Taken while another process has it, OSError where it cannot be: also where `path` is anything else
    than a socket, which is left alone.
    """
    with _alone(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _clear(path)
        listener.bind(str(path))
        path.chmod(_OWNER_ONLY)  # before it listens: nobody has connected yet
        listener.listen()
        try:
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock beside `path`, which the kernel frees whatever ends the process.

    The file stays: to unlink it would let two processes lock two files of one name.
    """
    beside = path.with_name(f"{path.name}.lock")
    lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _OWNER_ONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Taken(error.errno, "another daemon has it") from None
        yield
    finally:
        os.close(lock)


def _clear(path: Path) -> None:
    """Nobody else has the lock, so a socket there is nobody's."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(17, "something else than a socket is there")
    path.unlink()
