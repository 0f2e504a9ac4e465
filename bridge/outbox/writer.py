"""What the outbox's one thread does: commits what came meanwhile, makes room, bears with the disk.

Blocking, without a loop and without a queue: those are `bridge.outbox`'s. No disk makes anything here raise.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from bridge.outbox.aside import Aside
from bridge.outbox.claim import misplaced
from bridge.outbox.counters import OutboxCounters
from bridge.outbox.file import OutboxFile
from bridge.outbox.removed import Removal
from bridge.outbox.room import FLOOR, Room

_log = structlog.get_logger()

_HOUSE_S = 60.0
"""Between two looks for what is too old."""
_SOON_S = 0.05
"""And while there is more of it than one commit should hold."""
_REOPEN_S = 1.0
_FULL_S = 60.0
"""For so long after an event had to go unsent the outbox says that it is full."""
_KEPT_OF_FULL = 0.94
"""Of what is in use when the disk is full, in spite of what it said of its room."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """What the YAML's `outbox:` says."""

    max_mb: float = 500
    """On the disk; beyond it what was delivered goes first, then the oldest that waits."""
    keep_days: float = 7
    """Events that are older by the outbox's own clock go, delivered or not."""
    sync: Literal["normal", "full"] = "normal"
    """normal: a kill of the process costs nothing, a power cut the last moments; full: neither does."""
    keep_delivered: bool = True
    """For who comes back to the feed; else an event is erased as soon as every endpoint has it."""


@dataclass(slots=True)
class Job:
    """What is asked of the file."""

    work: Callable[[OutboxFile], Any]
    answer: Any
    """What `work` gave; before, and if it cannot be done, what is to be said then."""
    writes: bool = False
    delivered: tuple[str, Sequence[int]] | None = None
    """Endpoint and numbers that are not to be given out again, whatever the disk says."""


class OutboxWriter:
    """The file as one thread has it: opened when it can be, again and again."""

    def __init__(
        self,
        path: Path,
        settings: OutboxSettings,
        counters: OutboxCounters,
        *,
        unix: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        room: Room | None = None,
    ) -> None:
        self._path = path
        self._room = room or Room(path)
        self._keep_at = float("-inf")
        self._aside = Aside(path, counters, clock)
        self._removal = Removal(path, clock)
        self._settings = settings
        self._counters = counters
        self._unix = unix
        self._clock = clock
        self._file: OutboxFile | None = None
        self._reopen_at = float("-inf")
        self._house_at = float("-inf")
        self._full_until = float("-inf")
        self._owed: dict[str, set[int]] = {}
        self._reason = ""
        self._had = False
        """Whether there ever was a file."""
        self.misplaced = ""
        """Why there never was a file, if it is for where it is to be, or for who has it: not told in the log,
        but by who opens."""

    @property
    def degraded(self) -> str:
        """Why not all is well; "" if it is. For any thread."""
        full = "outbox full: the oldest of what waits is dropped"
        reasons = (
            self._reason,
            full if self._clock() < self._full_until else "",
            self._removal.told,
            self._aside.told,
            f"disk full: make room in {self._path.parent}" if self._room.short and not self._reason else "",
        )
        return "; ".join(filter(None, reasons))

    @property
    def due_s(self) -> float:
        """In how many seconds there is something to do, though nothing be asked."""
        if self._owed or self._file is None or self._room.short:
            return _REOPEN_S
        return min(max(self._house_at - self._clock(), _SOON_S), _HOUSE_S)

    @property
    def owing(self) -> Sequence[str]:
        """Endpoints that have what the disk could not yet be told."""
        return list(self._owed)

    def owed(self, endpoint: str) -> frozenset[int]:
        """What an endpoint has, and the disk could not yet be told."""
        return frozenset(self._owed.get(endpoint, ()))

    @property
    def _most(self) -> int:
        """Bytes that the file may have now."""
        return self._room.most(int(self._settings.max_mb * 1_000_000))

    def serve(self, jobs: Sequence[Job]) -> None:
        """Do them all, those that write in one commit and before those that read."""
        for job in jobs:
            if job.delivered is not None:
                endpoint, seqs = job.delivered
                self._owed.setdefault(endpoint, set()).update(seqs)
        self._look_after()
        reads = [job for job in jobs if not job.writes]
        writes = [job for job in jobs if job.writes]
        # The second time is for a full disk that has room now, and for a damaged file, in whose place there
        # is a new one.
        if (writes or self._owed or self._clock() >= self._house_at) and not self._commit(writes, again=True):
            self._commit(writes, again=False)
        for job in reads:
            self._read(job)
        self._keep_room()
        self._aside.look()

    def _keep_room(self) -> None:
        if self._file is not None and not self._reason and self._clock() >= self._keep_at:
            was = self._room.short
            self._room.keep()
            self._keep_at = self._clock() + (_REOPEN_S if self._room.short else _HOUSE_S)
            if was and not self._room.short:
                _log.info("disk has room again", folder=str(self._path.parent))

    def _look_after(self) -> None:
        if self._file is not None and self._removal.look(self._file):
            self._shut()
            self._keep_at = float("-inf")  # the reserve may have gone, too

    def close(self) -> None:
        """Nothing follows."""
        if self._file is not None:
            self._removal.look(self._file, now=True)
        self._shut()

    def _shut(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None

    def _commit(self, jobs: Sequence[Job], *, again: bool) -> bool:
        """Whether it is of no use to try the same `again` at once."""
        file, due = self._opened(), self._clock() >= self._house_at
        if file is None:
            return True
        try:
            file.begin()
            file.tick(self._unix(), self._clock())
            self._pay(file)
            answers = [job.work(file) for job in jobs]
            full = file.trim(self._most)
            old = self._expire(file)
            file.commit()
        except Exception as error:
            file.rollback()
            if again and self._made_room(file, error):
                return False
            self._trouble(error)
            return self._file is not None
        for job, answer in zip(jobs, answers, strict=True):
            job.answer = answer
        self._owed.clear()
        self._count(file)
        self._dropped(full, old)
        if due:
            with suppress(sqlite3.Error):  # what was erased may stay there for a minute, and not for ever
                file.empty_log()
        if self._reason:
            _log.info("outbox written again", errors=self._counters.errors)
            self._reason = ""
        self._catch_up(file)
        return True

    def _catch_up(self, file: OutboxFile) -> None:
        """Let the file have its length while the disk has room for that; find out in time that it has not."""
        try:
            if self._room.behind:
                file.checkpoint()
        except sqlite3.Error as error:
            self._made_room(file, error)

    def _pay(self, file: OutboxFile) -> None:
        for endpoint, seqs in self._owed.items():
            file.done(endpoint, seqs)

    def _made_room(self, file: OutboxFile, error: Exception) -> bool:
        """Whether it was the disk that is full, and now there is room for more: the reserve's for the log to
        be copied, then the log's for what the file shall be rid of."""
        if not self._room.lacks(error):
            return False
        self._counters.errors += 1
        if not self._room.short:
            _log.error("disk full: the outbox deletes, oldest first", folder=str(self._path.parent))
        self._room.give()
        self._keep_at = self._clock() + _REOPEN_S
        try:
            lacking = 0 if _copied(file) else self._room.lacking(file.length)
            file.begin()
            self._pay(file)
            most = min(int(file.size * _KEPT_OF_FULL), file.length - lacking)
            waited = file.trim(max(most, FLOOR))
            file.shorten(lacking)
            file.commit()
        except sqlite3.Error:
            file.rollback()
            return False
        self._owed.clear()
        self._dropped(waited, 0)
        _copied(file)
        return True

    def _count(self, file: OutboxFile) -> None:
        self._counters.written += file.stored
        self._counters.unwritable += file.unstored
        self._counters.renamed += file.renamed
        if file.renamed:
            _log.error("events came with the ids of others; stored under new ones", events=file.renamed)

    def _read(self, job: Job) -> None:
        for _ in range(2):  # once more where a damaged file was moved aside
            file = self._opened()
            if file is None:
                return
            try:
                job.answer = job.work(file)
            except Exception as error:
                if self._trouble(error):
                    continue
            return

    def _expire(self, file: OutboxFile) -> int:
        if self._clock() < self._house_at:
            return 0
        kept_s = self._settings.keep_days * _DAY_S
        waited, more = file.expire(kept_s, 2 * kept_s)
        self._house_at = self._clock() + (_SOON_S if more else _HOUSE_S)
        return waited

    def _dropped(self, full: int, old: int) -> None:
        """Tell what was lost, once a minute at most where it goes on."""
        self._counters.dropped_full += full
        self._counters.dropped_old += old
        if full and self._clock() >= self._full_until:
            _log.error("outbox full", **self._bound(), dropped=self._counters.dropped_full)
        if full:
            self._full_until = self._clock() + _FULL_S
        if old:
            _log.error("events too old to be delivered", keep_days=self._settings.keep_days, dropped=old)

    def _bound(self) -> dict[str, Any]:
        """What there was not enough of."""
        asked = self._settings.max_mb
        if self._room.short or self._most < int(asked * 1_000_000):
            return {"disk": str(self._path.parent)}
        return {"max_mb": asked}

    def _opened(self) -> OutboxFile | None:
        if self._file is None and self._clock() >= self._reopen_at:
            for _ in range(2):  # once more where a damaged file was moved aside
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = OutboxFile(
                        self._path, self._settings.sync, keep=self._settings.keep_delivered
                    )
                    self._had = True
                    self._aside.salvage(self._file, self._most)
                    break
                except (OSError, sqlite3.Error) as error:
                    self._reopen_at = self._clock() + _REOPEN_S
                    if not self._trouble(error):
                        break
        return self._file

    def _trouble(self, error: Exception) -> bool:
        """Tell it, once, until something works again. Whether a damaged file was moved aside."""
        self._counters.errors += 1
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _DAMAGED:
            return self._move_aside()
        if not isinstance(error, OSError | sqlite3.Error):
            _log.exception("outbox failed")
        reason = "another process has it" if _locked(code) else _text(error)
        if not self._had and misplaced(error):
            self.misplaced = reason
        elif not self._reason:
            _log.error("outbox not written", reason=reason)
        self._reason = f"outbox not written: {reason}"
        return False

    def _move_aside(self) -> bool:
        """Whether a damaged file made room for a new one."""
        self._shut()
        self._counters.moved_aside += 1
        if why := self._aside.move():
            self._reason = f"outbox damaged, and not to be moved aside: {why}"
            return False
        self._reopen_at = float("-inf")
        return True


def _copied(file: OutboxFile) -> bool:
    try:
        file.checkpoint()
    except sqlite3.Error:
        return False
    return True


def _locked(code: int | None) -> bool:
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
