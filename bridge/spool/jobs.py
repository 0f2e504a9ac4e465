"""The jobs on disk: each a folder with its WAV and its sidecar, made whole elsewhere and moved in.

Everything here blocks and belongs in a thread. A job is claimed by a lock of the kernel on its folder, so
that two who look, threads or processes, never have the same one; the lock goes with the process. That holds
on a local disk; network file systems differ. What a job holds is in `bridge.wire.spoolfile`.
"""

import fcntl
import os
import shutil
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from bridge.types import CallId
from bridge.wire.spoolfile import Job, pack_job, unpack_job, wav_header

AUDIO = "audio.wav"
SIDECAR = "job.json"
_MODE = 0o600
_FOLDER_MODE = 0o700


def make_folder(path: Path) -> None:
    """For us alone; so are those above it, where they are new. Raises OSError."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(_FOLDER_MODE, exist_ok=True)


def lock_folder(path: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None when it is gone or another's."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), path.stat()):
            return held
    except OSError:
        pass
    os.close(held)
    return None


def write_file(path: Path, *parts: bytes | bytearray) -> None:
    """All of it, down to the disk. Raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE), "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


class Claim:
    """A job that nobody else has, until it is released: `with claim: ...`."""

    def __init__(self, job: Job, folder: Path, aside: Path, held: int) -> None:
        self.job = job
        self._folder = folder
        self._aside = aside
        self._held: int | None = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have it; once or more often."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def audio(self) -> bytes:
        """The WAV file. Raises OSError."""
        return (self._folder / AUDIO).read_bytes()

    def remember(self, job: Job) -> None:
        """Write down how far it has come. Raises OSError; then only this process knows."""
        self.job = job
        new = self._folder / f"{SIDECAR}.new"
        write_file(new, pack_job(job))
        new.replace(self._folder / SIDECAR)

    def done(self) -> None:
        """Delete audio and sidecar. Raises OSError."""
        _remove(self._folder)

    def put_aside(self) -> None:
        """Keep it for a person to look at. Raises OSError."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._aside)
        self._folder.rename(self._aside)


class Jobs:
    """The folders `jobs` and `failed` in the spool's folder."""

    def __init__(self, folder: Path) -> None:
        self._waiting = folder / "jobs"
        self._failed = folder / "failed"

    def open(self) -> None:
        """Raises OSError."""
        make_folder(self._waiting)
        make_folder(self._failed)

    @staticmethod
    def write(folder: Path, job: Job, pcm: bytes | bytearray) -> None:
        """A job's folder, whole and on the disk, but not yet among the jobs. Raises OSError."""
        if folder.exists():
            shutil.rmtree(folder)
        make_folder(folder)
        write_file(folder / AUDIO, wav_header(job.head.codec.rate, len(pcm)), pcm)
        write_file(folder / SIDECAR, pack_job(job))

    def take_in(self, folder: Path, name: str) -> None:
        """Move a written job in; one that is there already stays. Raises OSError."""
        make_folder(self._waiting)
        if (self._waiting / name).exists():
            shutil.rmtree(folder)
        else:
            folder.rename(self._waiting / name)

    def oldest(self, now: float, paused: Container[CallId] = ()) -> Claim | None:
        """The first job, in the order in which they were spoken, whose time has come and which is free.

        `now`: Unix seconds. `paused`: calls of which no audio is to leave now.
        """
        for folder in _folders(self._waiting):
            claim = self._claim(folder)
            if claim is None:
                continue
            if claim.job.not_before <= now and claim.job.head.leg.call not in paused:
                return claim
            claim.release()
        return None

    def _claim(self, folder: Path) -> Claim | None:
        held = lock_folder(folder)
        if held is None:
            return None
        try:
            job = unpack_job((folder / SIDECAR).read_bytes())
            if (folder / AUDIO).stat().st_size:
                return Claim(job, folder, self._failed / folder.name, held)
        except FileNotFoundError:  # half deleted
            with suppress(OSError):
                _remove(folder)
        except (OSError, ValueError):
            with suppress(OSError):
                folder.rename(self._failed / folder.name)
        os.close(held)
        return None

    def count(self) -> int:
        """Jobs that wait."""
        return len(_folders(self._waiting))

    def size(self) -> int:
        """Bytes of audio of all jobs, the failed among them."""
        return sum(_size(folder) for folder in (*_folders(self._waiting), *_folders(self._failed)))

    def trim(self, most: int) -> int:
        """Delete the oldest, failed ones first, until `most` bytes are left. How many went."""
        size, gone = self.size(), 0
        for folder in (*_folders(self._failed), *_folders(self._waiting)):
            if size <= most:
                break
            length = _size(folder)
            if _delete(folder):
                size, gone = size - length, gone + 1
        return gone

    def expire(self, before: float) -> int:
        """Delete those made before this time, in Unix seconds. How many went."""
        old = (folder for folder in self._all() if _made(folder) < before)
        return sum(_delete(folder) for folder in old)

    def _all(self) -> Iterator[Path]:
        yield from _folders(self._waiting)
        yield from _folders(self._failed)


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(folder for folder in path.iterdir() if not folder.name.startswith("."))
    except OSError:
        return []


def _size(folder: Path) -> int:
    try:
        return (folder / AUDIO).stat().st_size
    except OSError:
        return 0


def _made(folder: Path) -> float:
    try:
        return (folder / AUDIO).stat().st_mtime
    except OSError:
        return 0.0


def _delete(folder: Path) -> bool:
    """Delete a job unless it is claimed."""
    held = lock_folder(folder)
    if held is None:
        return False
    try:
        _remove(folder)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _remove(folder: Path) -> None:
    """The sidecar first: without it what is left is no job."""
    (folder / SIDECAR).unlink(missing_ok=True)
    shutil.rmtree(folder)
