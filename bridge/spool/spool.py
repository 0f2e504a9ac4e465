"""The spool: audio that may not be streamed, on disk as it arrives, until it was told or sent as a file.

Opt-in. The calls' side appends to bounded lists and never waits, never fails; one thread writes. Trouble with
the disk is counted and told once, and costs audio of the spool only. How a leg's folder works is in
`bridge.spool.journal`, what is owed in `bridge.spool.jobs`; who sends it is `bridge.spool.catchup`.
"""

import fcntl
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import structlog

from bridge.spool.jobs import Jobs, lock_folder, make_folder
from bridge.spool.journal import Journal
from bridge.types import Codec, Frame, LegId, Party
from bridge.wire.spoolfile import LegHead, Spans

_log = structlog.get_logger()

FLUSH_S = 0.25
"""What a kill of the process can cost: audio is written this often."""
QUEUE_BYTES = 16 << 20
"""Audio that waits for the disk, of all legs: more than a minute of 32 legs of G.711."""
_IDLE_S = 5.0
_RETRY_S = 30.0
_JOIN_S = 10.0
_MOST_UNFINISHED = 1000


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What the YAML's `spool:` says."""

    folder: Path
    """On a local disk; of this process's user alone."""
    max_mb: int = 1000
    """Audio on the disk in all; beyond it the oldest jobs go."""
    keep_days: float = 7.0
    """Jobs that nobody could send in this time are deleted, and failed ones too."""
    poll_s: float = 5.0
    """Between two looks at a job of RTZR's."""
    settle_s: float = 5.0
    """A lost range becomes a job when it has not grown for so long, or the leg ended."""
    longest_s: float = 300.0
    """A longer one becomes several jobs while it grows, cut where it is quietest."""


@dataclass(slots=True)
class SpoolCounters:
    """Everything since the start of the process."""

    kept_ms: float = 0.0
    dropped_ms: float = 0.0
    """Audio that was not written: the disk too slow, full, or `max_mb` reached."""
    errors: int = 0
    jobs_made: int = 0
    jobs_dropped: int = 0
    """Deleted unsent for `max_mb`."""
    jobs_expired: int = 0
    """Deleted unsent after `keep_days`."""
    legs_recovered: int = 0
    """Of a process that was killed."""


@dataclass(slots=True)
class _Work:
    """What a leg gave since the thread last came by."""

    frames: list[Frame] = field(default_factory=list)
    covered_ms: float = float("-inf")
    lost: Spans = field(default_factory=Spans)
    closed: bool = False


class _Queue:
    """What the legs share with the thread: the lock, and how much waits."""

    def __init__(self, counters: SpoolCounters) -> None:
        self.lock = threading.Lock()
        self.waiting = 0
        self.counters = counters


class LegSpool:
    """One leg's door to the spool. Nothing here waits or raises."""

    def __init__(self, head: LegHead, queue: _Queue) -> None:
        self.head = head
        self._queue = queue
        self._work = _Work()

    def keep(self, frames: Sequence[Frame]) -> None:
        """Audio as it arrives, in order."""
        size = sum(len(frame.payload) for frame in frames)
        with self._queue.lock:
            if self._queue.waiting + size > QUEUE_BYTES:
                self._queue.counters.dropped_ms += self.head.codec.ms(size)
            elif not self._work.closed:
                self._work.frames.extend(frames)
                self._queue.waiting += size

    def covered(self, call_ms: float) -> None:
        """Everything before this call time was told, or was no speech; what is lost stays so."""
        with self._queue.lock:
            self._work.covered_ms = max(self._work.covered_ms, call_ms)

    def lose(self, start_ms: float, end_ms: float) -> None:
        """This range, all of it kept before, will not be streamed: it is to be sent as a file."""
        with self._queue.lock:
            self._work.lost.add(start_ms, end_ms)

    def close(self) -> None:
        """The leg ended: what is not lost is deleted."""
        with self._queue.lock:
            self._work.closed = True

    def take(self) -> _Work:
        """What came since the last time; for the thread."""
        with self._queue.lock:
            work, self._work = self._work, _Work(closed=self._work.closed)
        size = sum(len(frame.payload) for frame in work.frames)
        with self._queue.lock:
            self._queue.waiting -= size
        return work


@dataclass(slots=True)
class _Open:
    """A leg as the thread knows it."""

    door: LegSpool
    folder: Path
    journal: Journal | None = None
    lost_at: float = 0.0
    """When its lost ranges last grew; in the future where making jobs of them failed."""


class Spool:
    """The spool of one process. `start` it before the first leg, `stop` it after the last; both block."""

    def __init__(
        self,
        settings: SpoolSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._unix = unix
        self.counters = SpoolCounters()
        self.jobs = Jobs(settings.folder)
        self._queue = _Queue(self.counters)
        self._live = settings.folder / "live"
        self._run = self._live / f"{os.getpid()}-{uuid4().hex[:12]}"
        self._held: dict[Path, int] = {}
        """Folders of runs whose lock is ours: our own, and those of the dead that are worked off."""
        self._legs: list[_Open] = []
        self._legs_begun = 0
        self._unfinished: deque[Path | Journal] = deque()
        self._retry_at = 0.0
        self._house_at = 0.0
        self._troubled = False
        self._full = False
        self._begun = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False

    def check(self) -> None:
        """Whether the folder can be had and written, before any call depends on it. Raises OSError."""
        make_folder(self.settings.folder)
        probe = self.settings.folder / f".probe-{uuid4().hex[:12]}"
        make_folder(probe)
        probe.rmdir()

    def start(self) -> None:
        """Begin to write, and to find what a killed process left."""
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits and end. A leg that was not closed stays on the disk, for the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        else:
            self._end()
        for held in self._held.values():
            os.close(held)
        self._held.clear()

    def leg(self, leg: LegId, party: Party, codec: Codec, began: float, rule: str = "") -> LegSpool:
        """A leg's door. `began`: Unix seconds of call time 0; `rule`: which one chose its call."""
        door = LegSpool(LegHead(leg, party, codec, began, rule), self._queue)
        with self._queue.lock:
            self._legs_begun += 1
            self._legs.append(_Open(door, self._run / f"{self._legs_begun:08d}"))
        self._wake.set()
        return door

    def tick(self) -> None:
        """One round of the thread. Never raises."""
        now = self._clock()
        if self._begun or self._try(self._begin):
            self._begun = True
        with self._queue.lock:
            legs = list(self._legs)
        for leg in legs:
            self._serve(leg, now)
        if self._begun and now >= self._retry_at and self._unfinished:
            self._finish(self._unfinished.popleft(), now)
        if now >= self._house_at:
            self._house_at = now + _IDLE_S
            self._keep_house()

    def _work(self) -> None:
        while not self._stopping:
            self.tick()
            busy = bool(self._legs) or (bool(self._unfinished) and self._clock() >= self._retry_at)
            self._wake.wait(FLUSH_S if busy else _IDLE_S)
            self._wake.clear()
        self._end()

    def _end(self) -> None:
        self.tick()
        for leg in self._legs:
            if leg.journal is not None:
                self._try(leg.journal.shut)
        self._try(self._run.rmdir, quiet=True)

    def _try(self, step: Callable[[], object], *, quiet: bool = False) -> bool:
        """Whether it worked; the disk's trouble is told once, until something works again."""
        try:
            step()
        except OSError as error:
            if not quiet:
                self.counters.errors += 1
                if not self._troubled:
                    _log.error("spool not written", reason=error.strerror or str(error))
                self._troubled = True
            return False
        except Exception:
            # The thread has no one above it: a fault of ours costs a step, and not all audio from now on.
            self.counters.errors += 1
            _log.exception("spool failed")
            return False
        return True

    def _begin(self) -> None:
        """Our own folder, locked, and the locks of those whose process is gone."""
        make_folder(self._live)
        self.jobs.open()
        # One at a time: a run's folder must not be found by another before its lock is held.
        gate = os.open(self._live, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            for run in sorted(self._live.iterdir()):
                self._inherit(run)
            make_folder(self._run)
            held = lock_folder(self._run)
            if held is not None:
                self._held[self._run] = held
        finally:
            os.close(gate)

    def _inherit(self, run: Path) -> None:
        if run == self._run or run in self._held or not run.is_dir():
            return
        held = lock_folder(run)
        if held is not None:
            self._held[run] = held
            self._unfinished += sorted(run.iterdir())
            self._unfinished.append(run)

    def _serve(self, leg: _Open, now: float) -> None:
        """Write what a leg gave, in the order in which its parts depend on each other."""
        work = leg.door.take()
        if work.frames:
            self._write(leg, work.frames)
        journal = leg.journal
        if journal is None:
            if work.closed:
                self._forget(leg)
            return
        if work.lost:
            leg.lost_at = now
            self._try(lambda: journal.lose(work.lost))
        if work.covered_ms > float("-inf"):
            self._try(lambda: journal.cover(work.covered_ms))
        if work.closed:
            self._forget(leg)
            self._finish(journal, now)
        elif journal.lost:
            self._give(leg, journal, now)

    def _write(self, leg: _Open, frames: list[Frame]) -> None:
        ms = leg.door.head.codec.ms(sum(len(frame.payload) for frame in frames))
        if self._begun and not self._full and self._try(lambda: self._append(leg, frames)):
            self.counters.kept_ms += ms
            if self._troubled:
                _log.info("spool written again", errors=self.counters.errors)
                self._troubled = False
        else:
            self.counters.dropped_ms += ms

    def _append(self, leg: _Open, frames: list[Frame]) -> None:
        if leg.journal is None:
            leg.journal = Journal(leg.folder, leg.door.head, self.jobs)
        leg.journal.write(frames)

    def _give(self, leg: _Open, journal: Journal, now: float) -> None:
        """Make jobs of what was lost long enough ago, or has grown too long."""
        if now < leg.lost_at:
            return
        longest_ms = self.settings.longest_s * 1000
        rest = now - leg.lost_at >= self.settings.settle_s
        if rest or journal.lost.end_ms - journal.lost.start_ms > 1.2 * longest_ms:
            made = journal.jobs_made
            if not self._try(lambda: journal.give(longest_ms, rest=rest)):
                leg.lost_at = now + _RETRY_S
            self._count_jobs(journal, made)

    def _finish(self, item: Path | Journal, now: float) -> None:
        """Close a leg's folder, or what a dead process left of one; what fails is tried again later."""
        if isinstance(item, Path):
            done = self._try(lambda: self._recover(item))
        else:
            made = item.jobs_made
            done = self._try(lambda: item.close(self.settings.longest_s * 1000))
            self._count_jobs(item, made)
        if not done:
            self._retry_at = now + _RETRY_S
            self._unfinished.append(item)
            if len(self._unfinished) > _MOST_UNFINISHED:
                self._unfinished.popleft()  # it stays on the disk, for the next start

    def _recover(self, folder: Path) -> None:
        """Raises OSError."""
        if folder in self._held:
            self._leave(folder)
            return
        journal = Journal.reopen(folder, self.jobs)
        if journal is None:
            shutil.rmtree(folder)
            return
        try:
            journal.close(self.settings.longest_s * 1000)
        finally:
            journal.shut()
            self._count_jobs(journal, 0)
        self.counters.legs_recovered += 1
        _log.warning("audio of a killed bridge found", leg=str(journal.head.leg), jobs=journal.jobs_made)

    def _leave(self, run: Path) -> None:
        """A dead process's folder goes with the last of its legs. Raises OSError."""
        if any(run.iterdir()):
            self._unfinished.append(run)
        else:
            run.rmdir()
            os.close(self._held.pop(run))

    def _count_jobs(self, journal: Journal, before: int) -> None:
        if journal.jobs_made > before:
            self.counters.jobs_made += journal.jobs_made - before
            self._house_at = 0.0

    def _forget(self, leg: _Open) -> None:
        with self._queue.lock:
            self._legs.remove(leg)

    def _keep_house(self) -> None:
        """Hold to `max_mb` and `keep_days`."""
        most = self.settings.max_mb * 1_000_000
        live = sum(leg.journal.size for leg in self._legs if leg.journal is not None)
        dropped = self.jobs.trim(max(0, most - live))
        expired = self.jobs.expire(self._unix() - self.settings.keep_days * 86400)
        if dropped or expired:
            _log.error("spooled audio deleted unsent", max_mb=dropped, keep_days=expired)
        self.counters.jobs_dropped += dropped
        self.counters.jobs_expired += expired
        full = live >= most
        if full and not self._full:
            _log.error("spool full", max_mb=self.settings.max_mb)
        self._full = full
