"""bridge/outbox/outbox.py: what was added waits for whom it is for, whatever becomes of the process."""

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.outbox.claim import APPLICATION_ID
from bridge.outbox.file import OutboxFile
from bridge.outbox.outbox import NotDropped, Outbox, OutboxSettings
from bridge.types import Event
from tests.outboxes import BOTH, A, B, event, ids, killed, opened, started
from tests.scale import scaled

BEGAN = 1.7e9


# In order.


async def test_what_was_added_waits_for_each_endpoint_until_it_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", BOTH) as outbox:
        assert await outbox.add([event(1), event(2, text="여보세요")])
        first, second = await outbox.waiting(A, 10)
        assert (first.id, first.call, first.type) == ("c/1", "c", "rtzr.transcript.final")
        assert first.seq < second.seq
        assert json.loads(second.body) == event(2, text="여보세요").as_json()
        assert "여보세요" not in repr(second)
        await outbox.done(A, [first.seq])
        assert (await ids(outbox, A), await ids(outbox, B)) == (["c/2"], ["c/1", "c/2"])
    async with opened(tmp_path / "o.db", BOTH) as outbox:
        assert (await ids(outbox, A), await ids(outbox, B)) == (["c/2"], ["c/1", "c/2"])
        assert await outbox.add([event(3)])
        assert await ids(outbox, A) == ["c/2", "c/3"]


async def test_the_oldest_come_first_without_calls_that_are_to_be_skipped(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(n, call) for n in range(3) for call in "xyz"])
        assert await ids(outbox, most=4) == ["x/0", "y/0", "z/0", "x/1"]
        assert [one.id for one in await outbox.waiting(A, 2, frozenset({"x", "y"}))] == ["z/0", "z/1"]
        assert await outbox.waiting(B, 9) == []


async def test_an_event_that_is_added_again_is_the_same_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(1)])
        await outbox.add([event(1), event(2)])
        (first, _) = await outbox.waiting(A, 9)
        await outbox.done(A, [first.seq])
        await outbox.add([event(1)])
        assert await ids(outbox) == ["c/2"]


async def test_endpoints_of_a_rule_get_its_calls_alone_and_after_a_restart_too(tmp_path: Path) -> None:
    names = {A: frozenset({"sales", "help"}), B: None}
    async with opened(tmp_path / "o.db", names) as outbox:
        await outbox.add([started("s", "sales"), event(1, "s"), started("n"), event(1, "n"), event(1, "?")])
        await outbox.add([started("o", "other")])
        assert await ids(outbox, A) == ["s/0", "s/1"]
        assert await ids(outbox, B) == ["s/0", "s/1", "n/0", "n/1", "?/1", "o/0"]
    async with opened(tmp_path / "o.db", names) as outbox:
        await outbox.add([event(2, "s"), event(2, "o")])
        assert await ids(outbox, A) == ["s/0", "s/1", "s/2"]


async def test_what_waits_is_counted_with_its_age_and_the_last_error(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", OutboxSettings(keep_days=3650), unix=lambda: BEGAN)
    outbox.endpoints({A: None})
    await outbox.open()
    await outbox.add([event(1)])
    await outbox.close()
    async with opened(tmp_path / "o.db", {B: None}, OutboxSettings(keep_days=3650)) as outbox:
        outbox.note(B, "503")
        counts = await outbox.counts()
        assert counts[A].waiting == 1
        assert counts[A].since == BEGAN
        assert (counts[B].waiting, counts[B].since, counts[B].error) == (0, None, "503")
        assert await outbox.drop(A) == 1
        assert list(await outbox.counts()) == [B]
        assert outbox.counters.given_up == 1


async def test_a_feed_may_go_on_after_the_last_event_that_it_saw(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(n) for n in range(5)])
        await outbox.done(A, [one.seq for one in await outbox.waiting(A, 3)])
        since = await outbox.since("c/1", 2)
        assert since is not None
        assert [one.id for one in since.events] == ["c/2", "c/3"]
        assert await outbox.since("nobody's", 2) is None
    assert await outbox.since("c/1", 2) is None, "closed, and no exception"


async def test_several_adds_at_once_are_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits, real, begun, go_on = [], OutboxFile.commit, threading.Event(), threading.Event()

    def commit(file: OutboxFile) -> None:
        commits.append(file)
        begun.set()
        assert go_on.wait(5)
        real(file)

    async with opened(tmp_path / "o.db") as outbox:
        monkeypatch.setattr(OutboxFile, "commit", commit)
        adds = [asyncio.create_task(outbox.add([event(0)]))]
        await asyncio.to_thread(begun.wait, 5)
        adds += [asyncio.create_task(outbox.add([event(n)])) for n in range(1, 50)]
        await asyncio.sleep(0)
        go_on.set()
        assert all(await asyncio.gather(*adds))
        assert len(commits) == 2
        assert await ids(outbox) == [f"c/{n}" for n in range(50)]


async def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "new" / "o.db") as outbox:
        await outbox.add([event(1)])
        files = list((tmp_path / "new").iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert sorted(file.name for file in files) == ["o.db", "o.db-reserve", "o.db-wal"]


async def test_what_cannot_be_stored_is_counted_and_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        bad = [
            event(2, odd=object()),
            event(3, odd=float("nan")),
            replace(event(4), id=None),  # type: ignore[arg-type]
            replace(started("c"), data=None),  # type: ignore[arg-type]
        ]
        with capture_logs() as logs:
            assert await outbox.add([event(1), *bad, event(6)])
        assert await ids(outbox) == ["c/1", "c/6"]
        assert (outbox.counters.written, outbox.counters.unwritable) == (2, 4)
        assert [line["event"] for line in logs] == ["event is no json"] * 4


async def test_half_a_surrogate_pair_anywhere_stops_nobody(tmp_path: Path) -> None:
    half = "\ud800"
    async with opened(tmp_path / "o.db", {A: frozenset({half, "other"})}) as outbox:
        odd = [started(half, half), event(1, half, text=half), Event("i" + half, "t" + half, half, half, {})]
        assert await outbox.add([event(0), *odd])
        first, *_ = rows = await outbox.waiting(A, 9)
        assert len(rows) == 3
        assert await outbox.rules([first.call]) == {first.call: "\\ud800"}
        assert json.loads(rows[1].body)["data"]["text"] == half
        await outbox.done(A, [one.seq for one in rows])
        assert await outbox.waiting(A, 9, frozenset({half})) == []


async def test_an_event_with_the_id_of_another_one_is_stored_under_one_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        with capture_logs() as logs:
            assert await outbox.add([event(1, text="첫째"), event(1, text="둘째"), event(1, text="첫째")])
            assert await outbox.add([event(1, text="둘째"), event(1, text="셋째")])
        first, second, third = await outbox.waiting(A, 9)
        assert first.id == "c/1"
        assert len({first.id, second.id, third.id}) == 3
        for one, text in ((first, "첫째"), (second, "둘째"), (third, "셋째")):
            body = json.loads(one.body)
            assert (body["id"], body["data"]["text"]) == (one.id, text)
        assert outbox.counters.renamed == 2
        assert [line["events"] for line in logs] == [1, 1]


async def test_a_late_transcript_that_is_told_again_after_a_kill_is_the_same_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(1, late=True, latency_ms=100)])
        await outbox.add([replace(event(1, late=True, latency_ms=9000), time="2026-01-01T00:09:00Z")])
        assert await ids(outbox) == ["c/1"]
        assert outbox.counters.renamed == 0


# How long it is kept.


class Machine:
    """Both clocks of a machine on which time is what the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unix = 1.7e9
        self.monotonic = 0.0

    def goes_by(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds

    @asynccontextmanager
    async def opened(self, settings: OutboxSettings | None = None) -> AsyncIterator[Outbox]:
        settings = settings or OutboxSettings(keep_days=2)
        outbox = Outbox(self.path, settings, unix=lambda: self.unix, clock=lambda: self.monotonic)
        outbox.endpoints({A: None})
        await outbox.open()
        yield outbox
        await outbox.close()


UNKEPT = OutboxSettings(keep_delivered=False)
SECRET = "비밀번호는 사칠일일"


def found(text: str, folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if text.encode() in file.read_bytes()]


def bytes_of(path: Path) -> bytes:
    """All that is on the disk, after an orderly end."""
    assert not path.with_name(f"{path.name}-wal").exists()
    return path.read_bytes()


async def test_what_everybody_has_is_erased_where_nobody_asks_for_it_again(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path, BOTH, UNKEPT) as outbox:
        await outbox.add([started("c", "sales"), event(1, text=SECRET), event(2)])
        seqs = [one.seq for one in await outbox.waiting(A, 2)]
        await outbox.done(A, seqs)
        assert await outbox.since("c/1", 9) is not None, "the other one still waits"
        await outbox.done(B, seqs)
        assert await outbox.since("c/1", 9) is None
        assert await ids(outbox) == ["c/2"]
        assert await outbox.rules(["c"]) == {"c": "sales"}
    assert SECRET.encode() not in bytes_of(path)


async def test_a_minute_after_it_was_erased_it_is_in_no_file(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "o.db")
    async with machine.opened(UNKEPT) as outbox:
        await outbox.add([event(1, text=SECRET)])
        await outbox.done(A, [one.seq for one in await outbox.waiting(A, 1)])
        machine.goes_by(61)
        await outbox.add([event(2)])
        assert not found(SECRET, tmp_path)
        assert await ids(outbox) == ["c/2"]


async def test_what_nobody_is_to_have_is_not_even_written(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path, {A: frozenset({"sales"})}, UNKEPT) as outbox:
        assert await outbox.add([started("c", "help"), event(1, text=SECRET)])
    assert SECRET.encode() not in bytes_of(path)


async def test_what_was_kept_is_erased_once_nobody_asks_for_it_any_more(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([event(n, text=SECRET) for n in range(3000)])
        await outbox.done(A, [one.seq for one in await outbox.waiting(A, 3000)])
        await outbox.add([event(3001)])
    assert SECRET.encode() in bytes_of(path)
    async with opened(path, settings=UNKEPT) as outbox:
        async with asyncio.timeout(10):
            while await outbox.since("c/2999", 1) is not None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        assert await ids(outbox) == ["c/3001"]
        assert outbox.counters.dropped_old == 0
    assert SECRET.encode() not in bytes_of(path)


@pytest.mark.parametrize("keep", [True, False])
async def test_what_a_person_drops_is_erased(tmp_path: Path, keep: bool) -> None:
    path = tmp_path / "o.db"
    async with opened(path, BOTH, OutboxSettings(keep_delivered=keep)) as outbox:
        await outbox.add([event(1), event(2, text=SECRET)])
        assert await outbox.drop(A) == 2
        assert await ids(outbox, B) == ["c/1", "c/2"]
        assert await outbox.drop(B) == 2
        since = await outbox.since("c/1", 9)
        assert (since is not None) == keep
        assert [one.body for one in (since.events if since else ())] == [b""] * keep
    assert SECRET.encode() not in bytes_of(path)


async def test_a_drop_that_the_disk_refuses_is_told_and_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: OutboxFile) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(1), event(2)])
        with monkeypatch.context() as patch:
            patch.setattr(OutboxFile, "commit", refuses)
            with pytest.raises(NotDropped, match="outbox not written: disk I/O error"):
                await outbox.drop(A)
        assert await ids(outbox) == ["c/1", "c/2"]
        assert outbox.counters.given_up == 0
        assert await outbox.drop(A) == 2


# Bounds.


def big(numbers: range) -> list[Event]:
    return [event(number, text="가" * 1000) for number in numbers]


async def test_what_was_delivered_goes_before_what_waits_and_then_the_oldest(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", settings=OutboxSettings(max_mb=1)) as outbox:
        for n in range(0, 200, 10):
            assert await outbox.add(big(range(n, n + 10)))
        waiting = await outbox.waiting(A, 1000)
        await outbox.done(A, [one.seq for one in waiting if int(one.id[2:]) % 2])
        assert await outbox.add(big(range(200, 260)))
        assert outbox.counters.dropped_full == 0, "what was delivered went"
        assert len(await ids(outbox)) == 160
        assert outbox.degraded == ""
        with capture_logs() as logs:
            for n in range(260, 700, 20):
                assert await outbox.add(big(range(n, n + 20)))
        left = [int(one[2:]) for one in await ids(outbox)]
        assert left == list(range(left[0], 700)), "the oldest went"
        assert len(left) + outbox.counters.dropped_full == 160 + 440
        assert [(line["event"], line["max_mb"]) for line in logs] == [("outbox full", 1)]
        assert outbox.degraded == "outbox full: the oldest of what waits is dropped"
        assert (tmp_path / "o.db").stat().st_size < 1_200_000


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "o.db")
    async with machine.opened() as outbox:
        await outbox.add([event(1), event(2)])
    machine.goes_by(80_000)
    async with machine.opened() as outbox:
        await outbox.add([event(3)])
        assert len(await ids(outbox)) == 3
        machine.goes_by(90_000)
        await outbox.add([event(4)])
        assert len(await ids(outbox)) == 4
        machine.goes_by(3_000)
        await outbox.add([event(5)])
        assert await ids(outbox) == ["c/3", "c/4", "c/5"]
        assert outbox.counters.dropped_old == 2


@pytest.mark.parametrize("first", [1000.0, 1.7e9, 1.9e9], ids=["1970", "right", "years ahead"])
async def test_a_clock_that_is_set_drops_nothing_and_hides_nothing(tmp_path: Path, first: float) -> None:
    machine = Machine(tmp_path / "o.db")
    machine.unix = first
    async with machine.opened() as outbox:
        await outbox.add([event(n) for n in range(2500)])
        for number, now in enumerate((1.8e9, 1.9e9, 5.0, 1.8e9), 2500):
            machine.unix = now
            machine.goes_by(61)
            await outbox.add([event(number)])
        assert len(await ids(outbox)) == 2504
    machine.unix = 1.9e9
    async with machine.opened() as outbox:
        assert len(await ids(outbox)) == 2504
        machine.unix = 1.8e9
        machine.goes_by(2 * 86_400)
        async with asyncio.timeout(10):
            while outbox.counters.dropped_old < 2504:
                machine.goes_by(61)
                await outbox.add([])
        assert await ids(outbox) == []


async def test_a_stop_counts_for_a_day_at_most(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "o.db")
    async with machine.opened() as outbox:
        await outbox.add([event(1)])
    for left in (["c/1"], []):
        machine.goes_by(365 * 86_400)
        async with machine.opened() as outbox:
            machine.goes_by(61)
            await outbox.add([])
            assert await ids(outbox) == left


async def test_since_when_it_waits_is_told_by_the_wall_clock(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "o.db")
    async with machine.opened() as outbox:
        await outbox.add([event(1)])
        machine.goes_by(100)
        assert (await outbox.counts())[A].since == 1.7e9


async def test_a_file_of_a_former_version_keeps_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([started("c", "sales"), event(1)])
    with closing(sqlite3.connect(path)) as file:
        file.execute("ALTER TABLE events DROP COLUMN age")
        file.execute("DROP TABLE age")
        file.execute("UPDATE calls SET at = 1.7e9")
        file.commit()
    machine = Machine(path)
    async with machine.opened() as outbox:
        assert await ids(outbox) == ["c/0", "c/1"]
        assert await outbox.rules(["c"]) == {"c": "sales"}
        machine.goes_by(5 * 86_400)
        await outbox.add([event(2)])
        assert await ids(outbox) == ["c/2"]
        assert await outbox.rules(["c"]) == {}


async def test_much_that_is_too_old_goes_without_being_asked(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "o.db")
    async with machine.opened() as outbox:
        await outbox.add([event(n) for n in range(9000)])
        machine.goes_by(3 * 86_400)
        await outbox.add([])
        async with asyncio.timeout(10):
            while outbox.counters.dropped_old < 9000:
                machine.goes_by(1)
                await asyncio.sleep(0.01)
        assert await ids(outbox) == []


async def test_what_comes_late_brings_its_rule_where_the_start_is_not_known(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", {A: frozenset({"boss"}), B: frozenset({"sales"})}) as outbox:
        await outbox.add([replace(event(1), rule="boss"), event(2)])
        assert (await ids(outbox), await ids(outbox, B)) == (["c/1", "c/2"], [])
        assert await outbox.rules(["c"]) == {"c": "boss"}


async def test_of_calls_that_are_left_out_only_the_rule_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        outbox.leave_out(frozenset({"boss"}))
        assert await outbox.add([started("b", "boss"), event(1, "b"), started("s", "sales"), event(1, "s")])
        assert await outbox.add([event(2, "b"), event(1, "unknown")])
        assert await ids(outbox) == ["s/0", "s/1", "unknown/1"]
    async with opened(path) as outbox:
        outbox.leave_out(frozenset({"boss"}))
        assert await outbox.add([event(3, "b")]), "what comes late, after a restart"
        assert await ids(outbox) == ["s/0", "s/1", "unknown/1"]
        assert await outbox.rules(["b"]) == {"b": "boss"}
        assert await outbox.add([started("b", "sales"), event(4, "b")]), "it begins again, by another rule"
        assert await ids(outbox) == ["s/0", "s/1", "unknown/1", "b/0", "b/4"]


# Trouble.


def damaged_in(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir() if ".damaged" in file.name]


async def test_a_file_of_ours_that_is_damaged_is_kept_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([event(n) for n in range(100)])
    kept = []
    for damaged in (slice(0, 60), slice(100, 4096)):
        raw = bytearray(path.read_bytes())
        raw[damaged] = os.urandom(damaged.stop - damaged.start)
        path.write_bytes(raw)
        damage = bytes(raw)
        with capture_logs() as logs:
            async with opened(path) as outbox:
                assert await outbox.add([event(1)])
                assert await ids(outbox) == ["c/1"]
                assert (outbox.misplaced, outbox.counters.moved_aside) == ("", 1)
                assert outbox.degraded.startswith("o.db.damaged")
        kept.append(damage)
        assert sorted(damaged_in(tmp_path)) == sorted(kept)
        told = ["outbox damaged; a new one is begun", "damaged outbox not to be read"]
        assert [line["event"] for line in logs] == told


async def test_what_is_no_outbox_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with closing(sqlite3.connect(tmp_path / "others.db")) as others:
        others.execute("CREATE TABLE theirs (x)")
    for bytes_there in (os.urandom(9999), b'{"id": 1}\n', (tmp_path / "others.db").read_bytes()):
        path.write_bytes(bytes_there)
        async with opened(path) as outbox:
            assert outbox.misplaced == "what is there is no outbox of ours"
            assert outbox.degraded == f"outbox not written: {outbox.misplaced}"
            assert not await outbox.add([event(1)])
            assert outbox.counters.moved_aside == 0
        assert path.read_bytes() == bytes_there
        assert not (tmp_path / "o.db.damaged").exists()


async def test_a_file_that_was_cut_short_is_one_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([event(n, text="가" * 500) for n in range(100)])
    whole = path.read_bytes()
    for size in (len(whole) - 4096, 9000, 5000, 4096, 100, 16):
        path.write_bytes(whole[:size])
        async with opened(path) as outbox:
            assert await outbox.add([event(1000)]), size
            assert await ids(outbox) == ["c/1000"]
    path.write_bytes(b"")
    async with opened(path) as outbox:
        assert outbox.counters.moved_aside == 0
        assert await outbox.add([event(1001)])


async def test_numbers_are_never_given_again_though_the_file_be_lost(tmp_path: Path) -> None:
    path, last = tmp_path / "o.db", 0
    for _ in range(3):
        async with opened(path) as outbox:
            await outbox.add([event(n) for n in range(10)])
            seqs = [one.seq for one in await outbox.waiting(A, 99)]
        assert seqs == sorted(seqs)
        assert seqs[0] > last
        last = seqs[-1]
        path.unlink()


async def test_damage_that_shows_later_is_borne_too(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([event(n, text="가" * 500) for n in range(400)])
    raw = bytearray(path.read_bytes())
    raw[8192:-8192] = os.urandom(len(raw) - 16384)
    path.write_bytes(raw)
    async with opened(path) as outbox:
        await outbox.waiting(A, 1000)
        for n in range(500, 520):
            await outbox.add([event(n, text="가" * 500)])
        assert outbox.counters.moved_aside == 1
        assert (await ids(outbox))[-1] == "c/519"
        assert outbox.degraded.startswith("o.db.damaged holds")


_HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode=EXCLUSIVE")
db.execute(f"PRAGMA application_id={sys.argv[2]}")
db.execute("PRAGMA journal_mode=WAL")
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the file."""
    command = [sys.executable, "-c", _HOLDER, str(path), str(APPLICATION_ID)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield other


async def test_a_second_process_is_told_and_gets_it_when_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with held(path) as other:
        async with opened(path) as outbox:
            assert outbox.degraded == "outbox not written: another process has it"
            assert outbox.misplaced == "another process has it"
            assert not await outbox.add([event(1)])
            assert await ids(outbox) == []
            other.kill()
            other.wait()
            async with asyncio.timeout(10):
                while not await outbox.add([event(1)]):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
            assert outbox.degraded == ""


async def test_a_folder_that_cannot_be_had_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with capture_logs() as logs:
        async with opened(tmp_path / "file" / "o.db") as outbox:
            assert outbox.degraded == f"outbox not written: {outbox.misplaced}"
            assert outbox.misplaced
            assert not await outbox.add([event(1)])
            await outbox.done(A, [1])
            with pytest.raises(NotDropped, match="outbox not written: "):
                await outbox.drop(A)
            assert list(await outbox.counts()) == [A]
    assert logs == [], "it is told by who opened it"


_KILLED = """
import asyncio, sys
from pathlib import Path
from bridge.types import Event
from tests.outboxes import A, event, opened

async def main():
    async with opened(Path(sys.argv[1])) as outbox:
        async def add(call):
            for n in range(10**9):
                if await outbox.add([event(3 * n + m, call) for m in range(3)]):
                    print("+", call, 3 * n + 2, flush=True)
        async def take():
            while True:
                rows = await outbox.waiting(A, 7)
                for one in rows:
                    print("-", one.call, one.id.split("/")[1], flush=True)
                await outbox.done(A, [one.seq for one in rows])
        await asyncio.gather(*(add(sys.argv[2] + call) for call in "xyz"), take())

asyncio.run(main())
"""


async def test_a_kill_at_any_moment_costs_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    added: dict[str, int] = {}
    got: dict[str, list[int]] = {}
    for life in range(scaled(100, 5)):
        for sign, call, number in killed(_KILLED, path, life, 1 + life * 37 % 400):
            if sign == "+":
                added[call] = int(number)
            else:
                got.setdefault(call, []).append(int(number))
    async with opened(path) as outbox:
        for one in await outbox.waiting(A, 10**6):
            got.setdefault(one.call, []).append(int(one.id.split("/")[1]))
        assert outbox.counters.moved_aside == 0
    for call, last in added.items():
        once = list(dict.fromkeys(got[call]))
        assert once == list(range(len(once))), "in order, and none left out"
        assert len(once) > last, "all that were committed"
