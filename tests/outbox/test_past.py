"""bridge/outbox/past.py: who comes back gets what came since, or is told that something may be missing."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.types import Event
from tests.outboxes import A, event, opened, started

AWAY = {A: frozenset({"a"})}
"""An endpoint for the calls of one rule, which is away."""
FIRST = [started("A", "a"), event(1, "A")]


def others(count: int, size: int = 50) -> list[Event]:
    """Of a call that nobody waits for."""
    return [event(number, "B", text="x" * size) for number in range(count)]


async def told(outbox: Outbox, after: str) -> tuple[list[str], bool]:
    page = await outbox.since(after, 10_000)
    assert page is not None
    return [one.id for one in page.events], page.gap


async def test_where_all_is_there_no_gap_is_told(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path / "o.db", AWAY) as outbox:
            await outbox.add([*FIRST, *others(3), event(2, "A")])
            assert await told(outbox, "A/1") == (["B/0", "B/1", "B/2", "A/2"], False)


async def test_what_went_for_want_of_room_though_an_older_one_stays_is_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", AWAY, OutboxSettings(max_mb=1)) as outbox:
        await outbox.add(FIRST)
        for first in range(0, 800, 50):
            await outbox.add(others(800, 2000)[first : first + 50])
        await outbox.add([event(2, "A")])
        assert outbox.counters.dropped_full == 0
    async with opened(tmp_path / "o.db", AWAY) as outbox:
        found, gap = await told(outbox, "A/1")
        assert (len(found) < 700, gap) == (True, True)
        assert await told(outbox, found[0]) == (found[1:], False), "from there on all is there"
        assert await told(outbox, "A/2") == ([], False)


async def test_what_was_too_old_is_a_gap_for_nobody_who_had_what_came_after(tmp_path: Path) -> None:
    now = [0.0]
    outbox = Outbox(tmp_path / "o.db", OutboxSettings(keep_days=1), clock=lambda: now[0])
    await outbox.open()
    await outbox.add(FIRST)
    now[0] += 80_000
    await outbox.add([event(2, "A"), event(3, "A")])
    now[0] += 10_000
    await outbox.add([event(4, "A")])
    assert await outbox.since("A/1", 9) is None
    assert await told(outbox, "A/2") == (["A/3", "A/4"], False)
    await outbox.close()


async def test_what_came_while_nothing_was_kept_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path, AWAY) as outbox:
        await outbox.add(FIRST)
    async with opened(path, AWAY, OutboxSettings(keep_delivered=False)) as outbox:
        await outbox.add(others(3))
        assert await told(outbox, "A/1") == ([], True)
    async with opened(path, AWAY) as outbox:
        assert await told(outbox, "A/1") == ([], True)
        await outbox.add([event(2, "A"), event(3, "A")])
        assert await told(outbox, "A/1") == (["A/2", "A/3"], True)
        assert await told(outbox, "A/2") == (["A/3"], False)


async def test_a_call_that_is_left_out_is_a_gap_for_whom_it_would_have_been_shown(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        outbox.leave_out(frozenset({"boss"}))
        await outbox.add(FIRST)
        assert await told(outbox, "A/1") == ([], False)
        await outbox.add([event(2, "A"), started("s", "boss"), event(1, "s")])
    async with opened(path) as outbox:
        assert await told(outbox, "A/1") == (["A/2"], True)
        assert await told(outbox, "A/2") == ([], True)
        page = await outbox.since("A/1", 9, lambda rule: rule != "boss")
        assert page is not None
        assert not page.gap
        await outbox.add([event(3, "A")])
        assert await told(outbox, "A/3") == ([], False)


async def test_out_of_a_damaged_file_only_what_waits_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path, AWAY) as outbox:
        await outbox.add([*FIRST, *others(1000, 200), event(2, "A")])
    raw = bytearray(path.read_bytes())
    raw[40 * 4096 : 42 * 4096] = os.urandom(8192)
    path.write_bytes(raw)
    async with opened(path, AWAY) as outbox:
        await outbox.since("A/1", 2000)
        assert await told(outbox, "A/1") == (["A/2"], True)
        await outbox.add([event(3, "A")])
        assert await told(outbox, "A/1") == (["A/2", "A/3"], True)
        assert await told(outbox, "A/3") == ([], False)


async def test_a_file_of_a_time_when_that_was_not_written_down_may_have_gaps(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path) as outbox:
        await outbox.add([event(1), event(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE gone")
    async with opened(path) as outbox:
        assert await told(outbox, "c/1") == (["c/2"], True)
        await outbox.add([event(3)])
        assert await told(outbox, "c/3") == ([], False)
