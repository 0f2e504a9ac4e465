"""bridge/outbox/salvage.py: what can be read of a damaged outbox waits in the new one, the rest is told."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from structlog.testing import capture_logs

from bridge.outbox.salvage import aside, kept
from tests.outboxes import BOTH, A, B, event, ids, opened

PAGE = 4096


async def filled(path: Path, first: int = 0) -> list[str]:
    """2,000 events, the first 100 of which one endpoint has."""
    async with opened(path, BOTH) as outbox:
        for n in range(first, first + 2000, 100):
            assert await outbox.add([event(m, f"c{m % 7}", text="x" * 200) for m in range(n, n + 100)])
        await outbox.done(A, [one.seq for one in await outbox.waiting(A, 100)])
        return await ids(outbox, B)


def overwrite(path: Path, first: int, pages: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[first * PAGE : (first + pages) * PAGE] = os.urandom(pages * PAGE)
    path.write_bytes(raw)


async def test_what_can_be_read_waits_again_in_order_for_the_same_receivers(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    every = await filled(path)
    overwrite(path, 100, 4)
    with capture_logs() as logs:
        async with opened(path, BOTH) as outbox:
            assert await ids(outbox, B), "asked again of the new file"
            assert await outbox.add([event(9999)])
            found, others = await ids(outbox, B), await ids(outbox, A)
            assert outbox.counters.moved_aside == 1
            assert found[-1] == others[-1] == "c/9999"
            assert found[:-1] == [one for one in every if one in set(found)], "in order"
            assert 1900 < len(found) < 2001
            assert others == [one for one in found if one not in set(every[:100])]
            assert outbox.counters.salvaged == len(found) - 1
            assert outbox.degraded.startswith("o.db.damaged holds events that were not delivered: ")
    assert "damaged outbox salvaged" in [line["event"] for line in logs]
    async with opened(path, BOTH) as outbox:
        assert outbox.degraded.startswith("o.db.damaged holds")
        assert await ids(outbox, B) == found
        (tmp_path / "o.db.damaged").unlink()
        async with asyncio.timeout(10):
            while outbox.degraded:
                await outbox.counts()
                await asyncio.sleep(0.05)


async def test_a_second_damage_is_kept_too_and_a_file_of_which_all_was_saved_is_not(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    for life in range(2):
        await filled(path, life * 2000)
        overwrite(path, 100, 4)
        async with opened(path, BOTH) as outbox:
            await ids(outbox, A)
            assert outbox.counters.moved_aside == 1
            assert outbox.counters.salvaged > 1900
    assert [file.name for file in kept(path)] == ["o.db.damaged", "o.db.damaged.1"]
    assert "o.db.damaged, o.db.damaged.1 holds" in outbox.degraded


async def test_damage_that_cost_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    every = await filled(path)
    async with opened(path, BOTH) as outbox:
        await outbox.done(A, [one.seq for one in await outbox.waiting(A, 5000)])
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'delivered'").fetchone()
    overwrite(path, page - 1, 1)
    async with opened(path, BOTH) as outbox:
        await outbox.done(B, [one.seq for one in await outbox.waiting(B, 1)])
        assert outbox.counters.moved_aside == 1
        assert await ids(outbox, B) == every[1:]
        assert await ids(outbox, A) == []
        assert (outbox.degraded, kept(path), outbox.counters.lost_damaged) == ("", [], 0)


def test_no_damaged_file_overwrites_another(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    names = []
    for _ in range(3):
        names.append(aside(path).name)
        aside(path).write_text("x")
    assert names == ["o.db.damaged", "o.db.damaged.1", "o.db.damaged.2"]
    (tmp_path / "o.db.damaged.2-wal").write_text("x")
    assert [file.name for file in kept(path)] == names
    assert kept(tmp_path / "nowhere" / "o.db") == []
