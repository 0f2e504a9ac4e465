"""bridge/outbox/room.py and what is made of it: a full disk costs the oldest, and heals without a restart."""

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.outbox.counters import OutboxCounters
from bridge.outbox.file import NewEvent, OutboxFile
from bridge.outbox.room import BALLAST, FLOOR, Room
from bridge.outbox.writer import Job, OutboxSettings, OutboxWriter
from tests.outboxes import EVERY, A

MB = 1_000_000


def room(path: Path, free: int) -> Room:
    return Room(path, lambda _: free)


# The numbers.


def test_the_bound_is_what_is_asked_for_or_what_the_disk_has(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    path.write_bytes(bytes(10 * MB))
    assert room(path, 1000 * MB).most(500 * MB) == 500 * MB
    assert room(path, 100 * MB).most(500 * MB) == 102 * MB, "some is left for the log and for others"
    assert room(path, 100 * MB).most(50 * MB) == 50 * MB
    assert room(path, 0).most(500 * MB) == 5 * MB, "of a small disk never more than half is left"
    (tmp_path / "o.db-wal").write_bytes(bytes(6 * MB))
    assert room(path, 0).most(500 * MB) == 8 * MB, "the log's own room is there already"
    assert room(tmp_path / "new.db", 0).most(500 * MB) == FLOOR


def test_a_disk_that_does_not_tell_is_no_bound(tmp_path: Path) -> None:
    def refuses(_: Path) -> int:
        raise OSError(errno.ENOSYS, "no statvfs")

    silent = Room(tmp_path / "o.db", refuses)
    silent.keep()
    assert silent.short, "and no reserve"
    assert silent.most(7) == 7
    assert Room(tmp_path / "nowhere" / "o.db").most(7) == 7


def test_the_reserve_is_written_out_and_only_where_there_is_room_for_it(tmp_path: Path) -> None:
    reserve = tmp_path / "o.db-reserve"
    one = room(tmp_path / "o.db", 100 * MB)
    one.keep()
    assert reserve.stat().st_size == BALLAST
    assert reserve.stat().st_blocks * 512 >= BALLAST, "no holes"
    assert reserve.stat().st_mode & 0o777 == 0o600
    before = reserve.read_bytes()
    one.keep()
    assert reserve.read_bytes() == before, "not written again"
    one.give()
    assert one.short
    assert not reserve.exists()
    small = room(tmp_path / "o.db", 6 * MB)
    small.keep()
    assert (small.short, reserve.stat().st_size) == (False, 6 * MB // 8)
    one.keep()
    assert reserve.stat().st_size == BALLAST
    small.give()
    none = room(tmp_path / "o.db", 1000)
    none.keep()
    assert none.short


def test_a_full_disk_is_told_from_a_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sqlite(code: int) -> sqlite3.Error:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        return error

    one = room(tmp_path / "o.db", 100 * MB)
    assert one.lacks(sqlite(sqlite3.SQLITE_FULL))
    assert one.lacks(OSError(errno.EDQUOT, "quota"))
    assert not one.lacks(OSError(errno.EACCES, "no"))
    assert not one.lacks(ValueError("x"))
    assert not one.lacks(sqlite(sqlite3.SQLITE_CORRUPT))
    one.keep()
    assert not one.lacks(sqlite(sqlite3.SQLITE_IOERR_WRITE)), "there is room"
    assert (tmp_path / "o.db-reserve").stat().st_size == BALLAST

    def quota(_: int) -> None:
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(os, "fsync", quota)
    assert one.lacks(sqlite(sqlite3.SQLITE_IOERR_WRITE))


# The outbox, on disks that are small or full.


class Disk:
    """The outbox's thread, by hand, on a disk of so many bytes; what it holds is looked up when asked."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size, self.now, self.number = folder, size, 0.0, 0
        self.path = folder / "o.db"
        self.counters = OutboxCounters()
        self.room = Room(self.path, self.free)
        self.writer = OutboxWriter(
            self.path,
            OutboxSettings(),
            self.counters,
            unix=lambda: 1e9,
            clock=lambda: self.now,
            room=self.room,
        )

    def free(self, folder: Path) -> int:
        return max(0, self.size - sum(file.stat().st_size for file in folder.iterdir()))

    def add(self, many: int) -> bool:
        news = [NewEvent(f"{self.number + n}", "c", "t", b'{"text":"' + b"x" * 500) for n in range(many)]
        self.number += many
        job = Job(lambda file: file.add(news, EVERY, 1e9), None, writes=True)
        self.writer.serve([job])
        return job.answer is not None

    def take(self) -> int:
        job = Job(lambda file: file.waiting(A, 1000, (), self.writer.owed(A)), [])
        self.writer.serve([job])
        seqs = [one.seq for one in job.answer]
        self.writer.serve([Job(lambda _: None, None, writes=True, delivered=(A, seqs))])
        return len(seqs)


def test_an_outbox_that_is_bigger_than_its_disk_never_fills_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 8 * MB)
    for _ in range(400):
        assert disk.add(50)
        assert disk.take() == 50
        assert disk.free(tmp_path) > 0
    assert (disk.counters.dropped_full, disk.writer.degraded) == (0, "")
    for _ in range(400):
        assert disk.add(50)
        assert disk.free(tmp_path) > 0
    assert 10_000 < disk.counters.dropped_full < 20_000
    assert disk.counters.errors == 0
    disk.writer.close()


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from tests.outboxes import A, event, ids, opened

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def some(first):
    return [event(n, text="x" * 500) for n in range(first, first + 20)]

async def healed(outbox):
    async with asyncio.timeout(20):
        while outbox.degraded:
            await asyncio.sleep(0.05)

async def take(outbox, most=10_000):
    rows = await outbox.waiting(A, most)
    await outbox.done(A, [one.seq for one in rows])
    return [one.id for one in rows]
"""

_TAKEN = """
async def main():
    async with opened(Path(sys.argv[1])) as outbox:
        assert await outbox.add(some(0))
        limit(4_000_000)
        refused, got = 0, len(await take(outbox))
        for n in range(20, 20000, 20):
            refused += not await outbox.add(some(n))
            got += len(await take(outbox))
        assert refused < 5, refused
        assert got == 20000 - 20 * refused, got
        assert outbox.counters.dropped_full == 0
        assert outbox.counters.errors > 0
        assert "make room in" in outbox.degraded, outbox.degraded
        limit(resource.RLIM_INFINITY)
        print("healing")
        async with asyncio.timeout(20):
            while "make room" in outbox.degraded:
                await asyncio.sleep(0.05)
        assert outbox.degraded == "", outbox.degraded
        assert await outbox.add(some(50000))

asyncio.run(main())
"""

_WAITING = """
async def main():
    async with opened(Path(sys.argv[1])) as outbox:
        limit(4_000_000)
        refused = [n for n in range(0, 20000, 20) if not await outbox.add(some(n))]
        assert len(refused) < 5, refused
        left = await ids(outbox)
        firsts = [first for first in range(0, 20000, 20) if first not in refused]
        stored = [f"c/{n}" for first in firsts for n in range(first, first + 20)]
        assert left == stored[-len(left):], "the oldest went"
        assert len(left) + outbox.counters.dropped_full == len(stored)
        assert "the oldest of what waits is dropped" in outbox.degraded, outbox.degraded

asyncio.run(main())
"""

_STUCK = """
async def main():
    async with opened(Path(sys.argv[1])) as outbox:
        assert await outbox.add(some(0))
        limit(4096)
        assert not await outbox.add(some(20))
        assert outbox.degraded.startswith("outbox not written: "), outbox.degraded
        taken = await take(outbox, 15)
        counts = (await outbox.counts())[A]
        assert counts.waiting == 5 and counts.since is not None, counts
        assert await ids(outbox) == [f"c/{n}" for n in range(15, 20)]
        await take(outbox)
        counts = (await outbox.counts())[A]
        assert counts.waiting == 0 and counts.since is None, counts
        limit(resource.RLIM_INFINITY)
        await healed(outbox)
        assert (await outbox.counts())[A].waiting == 0
        assert outbox._writer.owing == []
        assert await outbox.add(some(40))
        assert outbox.counters.moved_aside == outbox.counters.dropped_full == 0
    async with opened(Path(sys.argv[1])) as outbox:
        assert await ids(outbox) == [f"c/{n}" for n in range(40, 60)]

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [_TAKEN, _WAITING, _STUCK], ids=["taken", "waiting", "stuck"])
def test_a_disk_that_is_full_costs_what_was_delivered_then_the_oldest_and_heals_by_itself(
    tmp_path: Path, script: str
) -> None:
    """A real limit on the size of files, of which free space tells nothing: a page is written in part."""
    run = [sys.executable, "-c", _LIMITED + script, str(tmp_path / "o.db")]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]


def test_a_disk_that_others_filled_is_told_until_it_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, real = Disk(tmp_path, 100 * MB), OutboxFile.commit
    assert disk.add(500)
    full = True

    def commit(file: OutboxFile) -> None:
        if full and (tmp_path / "o.db-reserve").exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        real(file)

    monkeypatch.setattr(OutboxFile, "commit", commit)
    with capture_logs() as logs:
        assert disk.add(20), "the reserve was given up for it"
        disk.size = 0
        assert disk.take() > 400
        assert disk.writer.degraded.endswith(f"disk full: make room in {tmp_path}")
        assert disk.writer.due_s <= 1
        full, disk.size, disk.now = False, 100 * MB, 61.0
        disk.writer.serve([])
        assert disk.writer.degraded == ""
    assert (tmp_path / "o.db-reserve").stat().st_size == BALLAST
    assert [line["event"] for line in logs] == [
        "disk full: the outbox deletes, oldest first",
        "outbox full",
        "disk has room again",
    ]
    assert logs[1]["disk"] == str(tmp_path), "and not max_mb"
    disk.writer.close()
