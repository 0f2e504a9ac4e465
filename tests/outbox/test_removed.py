"""bridge/outbox/removed.py: a file that is removed while it is open costs nothing, or that is told."""

import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.outbox.file import OutboxFile
from bridge.outbox.outbox import Outbox, OutboxSettings
from tests.outboxes import EVERY, event, ids, opened


def remove(path: Path, pattern: str) -> None:
    for part in path.parent.glob(pattern):
        part.unlink()


class Machine:
    """One whose clock goes by on demand."""

    def __init__(self, path: Path) -> None:
        self.now_s = 0.0
        self.outbox = Outbox(path, OutboxSettings(), clock=lambda: self.now_s)
        self.outbox.endpoints(EVERY)

    async def looks(self) -> None:
        self.now_s += 61
        await self.outbox.counts()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "box").mkdir()
    return Machine(tmp_path / "box" / "o.db")


@pytest.mark.parametrize("pattern", ["o.db*", "o.db"])
async def test_what_waits_is_written_anew_and_goes_on(tmp_path: Path, machine: Machine, pattern: str) -> None:
    path = tmp_path / "box" / "o.db"
    await machine.outbox.open()
    await machine.outbox.add([event(1), event(2)])
    remove(path, pattern)
    with capture_logs() as logs:
        await machine.outbox.add([event(3)])
        await machine.looks()
        assert machine.outbox.degraded == ""
    assert [line["event"] for line in logs] == ["outbox removed under way; written anew"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_name("o.db-reserve").exists()
    await machine.outbox.add([event(4)])
    killed = tmp_path / "killed"  # as the files are now, without any farewell
    killed.mkdir()
    for part in path.parent.iterdir():
        (killed / part.name).write_bytes(part.read_bytes())
    await machine.outbox.close()
    for one in (killed / "o.db", path):
        async with opened(one) as outbox:
            assert await ids(outbox) == ["c/1", "c/2", "c/3", "c/4"]
            assert outbox.degraded == ""


async def test_a_folder_that_is_removed_is_made_anew_at_an_orderly_end(
    tmp_path: Path, machine: Machine
) -> None:
    path = tmp_path / "box" / "o.db"
    await machine.outbox.open()
    await machine.outbox.add([event(1)])
    remove(path, "*")
    path.parent.rmdir()
    await machine.outbox.close()
    async with opened(path) as outbox:
        assert await ids(outbox) == ["c/1"]


async def test_another_file_in_its_place_is_left_alone_and_told_while_it_is_there(
    tmp_path: Path, machine: Machine
) -> None:
    path = tmp_path / "box" / "o.db"
    await machine.outbox.open()
    await machine.outbox.add([event(1)])
    remove(path, "o.db*")
    path.write_text("mine")
    with capture_logs() as logs:
        for _ in range(3):
            await machine.looks()
    assert [line["event"] for line in logs] == ["outbox removed under way"]
    assert machine.outbox.degraded == (
        "o.db was removed, and what waits would end with this process: another file is in its place"
    )
    assert path.read_text() == "mine"
    assert await machine.outbox.add([event(2)]), "calls go on"
    path.unlink()
    await machine.looks()
    assert machine.outbox.degraded == ""
    assert await ids(machine.outbox) == ["c/1", "c/2"]
    await machine.outbox.close()


async def test_a_disk_without_room_for_it_is_told_and_nothing_is_left_half_done(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "box" / "o.db"

    def full(_: OutboxFile, to: Path) -> None:
        to.write_text("half")
        raise sqlite3.OperationalError("database or disk is full")

    await machine.outbox.open()
    await machine.outbox.add([event(1)])
    remove(path, "o.db*")
    with monkeypatch.context() as patch:
        patch.setattr(OutboxFile, "copy", full)
        await machine.looks()
        assert machine.outbox.degraded.endswith("this process: database or disk is full")
        assert not path.exists()
        assert await ids(machine.outbox) == ["c/1"]
    await machine.looks()
    assert machine.outbox.degraded == ""
    await machine.outbox.close()
    async with opened(path) as outbox:
        assert await ids(outbox) == ["c/1"]
