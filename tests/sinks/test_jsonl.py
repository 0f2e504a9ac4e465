"""bridge/sinks/jsonl.py: whole lines of UTF-8, whatever the disk does in between."""

import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.sinks import jsonl
from bridge.sinks.jsonl import JsonlSettings, JsonlSink
from bridge.types import Event
from bridge.wire.eventjson import encoded


def event(number: int, text: str = "여보세요") -> Event:
    return Event(f"leg/{number}", "rtzr.transcript.final", "call", "now", {"text": text})


def _line(one: Event) -> bytes:
    return encoded(one) + b"\n"


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]


async def test_events_are_lines_of_cloudevents_in_order(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    events = [event(number) for number in range(20)]
    for one in events:
        sink.deliver(one)
    sink.close()
    await sink.run()
    assert written(tmp_path / "events.jsonl") == [one.as_json() for one in events]
    assert "여보세요" in (tmp_path / "events.jsonl").read_text(encoding="utf-8")


def test_a_file_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.write([event(1)])
    path.rename(tmp_path / "old.jsonl")
    sink.write([event(2)])
    assert [line["id"] for line in written(path)] == ["leg/2"]


def test_a_new_file_is_not_for_everybody_and_the_mode_of_an_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.check()
    assert path.stat().st_mode & 0o137 == 0
    path.chmod(0o644)
    sink.check()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_newline_or_half_a_character_in_a_text_breaks_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    texts = ["a\nb", "\u2028", "\ud800 half"]
    JsonlSink(path).write([event(number, text) for number, text in enumerate(texts)])
    lines = path.read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["data"]["text"] for line in lines] == texts


def test_an_event_that_is_no_json_is_counted_and_costs_no_other(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    odd = Event("leg/2", "rtzr.transcript.final", "call", "now", {"confidence": float("nan")})
    with capture_logs() as logs:
        assert sink.write([event(1), odd, event(3)])
    assert [line["id"] for line in written(tmp_path / "events.jsonl")] == ["leg/1", "leg/3"]
    assert sink.failed == 1
    assert [line["event"] for line in logs] == ["event is no json"]


async def test_a_full_disk_is_counted_and_no_end() -> None:
    sink = JsonlSink(Path("/dev/full"))
    sink.deliver(event(1))
    sink.close()
    await sink.run()
    assert (sink.delivered, sink.failed) == (0, 1)


class FullAfter(io.FileIO):
    """A file on a disk that takes so many bytes more."""

    room = 10

    def write(self, data: object) -> int:
        assert isinstance(data, memoryview)
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = super().write(data[: self.room])
        self.room -= taken
        return taken


def test_a_disk_that_fills_up_in_mid_line_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    JsonlSink(path).write([event(1)])
    with FullAfter(path, "ab") as file, pytest.raises(OSError, match="No space"):
        jsonl._append(file, b'{"this": "is longer than the disk has room"}\n')
    JsonlSink(path).write([event(2)])
    assert [line["id"] for line in written(path)] == ["leg/1", "leg/2"]


HALF = _line(event(2))


@pytest.mark.parametrize("size", [1, 20, len(HALF) - 1])
@pytest.mark.parametrize("most", [0, 3 * len(HALF)])
def test_half_a_line_that_a_kill_left_goes_before_the_next_one(tmp_path: Path, size: int, most: int) -> None:
    path = tmp_path / "events.jsonl"
    JsonlSink(path).write([event(1)])
    path.write_bytes(path.read_bytes() + HALF[:size])
    JsonlSink(path).check()
    assert path.read_bytes().endswith(HALF[:size]), "who only checks may do so beside a daemon that writes"
    with capture_logs() as logs:
        sink = JsonlSink(path, JsonlSettings(most))
        sink.write([event(3)])
        sink.write([event(4)])
    assert [line["id"] for file in sorted(tmp_path.iterdir()) for line in written(file)][-3:] == [
        "leg/1",
        "leg/3",
        "leg/4",
    ]
    assert [(log["log_level"], log["bytes"]) for log in logs] == [("warning", size)]


@pytest.mark.parametrize("half", [b"\0\0\0", b"somebody's words", b'{"specversion":"2'])
def test_half_a_line_that_is_not_ours_is_ended_and_stays(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x\n" + half)
    JsonlSink(path).write([event(1)])
    assert path.read_bytes() == b"x\n" + half + b"\n" + _line(event(1))


def test_half_a_line_longer_than_one_look_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole, long = _line(event(1)), _line(event(2, "가" * 300_000))
    path.write_bytes(whole + long[:-9])
    JsonlSink(path).write([event(3)])
    assert path.read_bytes() == whole + _line(event(3))
    path.write_bytes(long[:-9])
    JsonlSink(path).write([event(3)])
    assert path.read_bytes() == _line(event(3))


def test_half_a_line_that_a_full_disk_left_goes_once_it_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.write([event(1)])

    def torn(file: io.FileIO, lines: bytes, *, sync: bool) -> None:
        file.write(lines[:30])
        raise OSError(28, "No space left on device")  # and it could not be cut off either

    with monkeypatch.context() as patched:
        patched.setattr(jsonl, "_append", torn)
        with pytest.raises(OSError, match="No space"):
            sink.write([event(2)])
    sink.write([event(3)])
    assert [line["id"] for line in written(path)] == ["leg/1", "leg/3"]


@pytest.mark.parametrize("name", ["", "missing/events.jsonl"])
def test_a_file_that_cannot_be_is_found_out_before_the_first_event(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"directory"):
        JsonlSink(tmp_path / name).check()


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    JsonlSink(tmp_path / "events.jsonl").check()
    assert (tmp_path / "events.jsonl").read_bytes() == b""


# Rotation.

ONE = len(encoded(event(1)) + b"\n")
"""Bytes of an event with a number of one digit."""


def ids(path: Path) -> list[str]:
    return [str(line["id"]).removeprefix("leg/") for line in written(path)]


def rotated(path: Path, *batches: range, most: int = 3 * ONE, keep: int = 2) -> dict[str, list[str]]:
    """What is in each file once the batches are written."""
    sink = JsonlSink(path, JsonlSettings(most, keep))
    for batch in batches:
        assert sink.write([event(number) for number in batch])
    return {file.name: ids(file) for file in sorted(path.parent.iterdir())}


def test_a_file_that_is_full_becomes_the_first_of_the_older(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert rotated(path, range(3)) == {"events.jsonl": ["0", "1", "2"]}
    assert rotated(path, range(3, 4)) == {"events.jsonl": ["3"], "events.jsonl.1": ["0", "1", "2"]}


def test_the_oldest_goes_when_there_are_enough(tmp_path: Path) -> None:
    batches = [range(number, number + 1) for number in range(10)]
    assert rotated(tmp_path / "events.jsonl", *batches) == {
        "events.jsonl": ["9"],
        "events.jsonl.1": ["6", "7", "8"],
        "events.jsonl.2": ["3", "4", "5"],
    }


def test_a_batch_is_shared_among_files_and_no_line_is_cut(tmp_path: Path) -> None:
    assert rotated(tmp_path / "events.jsonl", range(1), range(1, 10), keep=9) == {
        "events.jsonl": ["9"],
        "events.jsonl.1": ["6", "7", "8"],
        "events.jsonl.2": ["3", "4", "5"],
        "events.jsonl.3": ["0", "1", "2"],
    }


def test_a_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    assert rotated(tmp_path / "events.jsonl", range(3), most=10) == {
        "events.jsonl": ["2"],
        "events.jsonl.1": ["1"],
        "events.jsonl.2": ["0"],
    }


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 60), st.integers(0, 60))
def test_lines_are_shared_in_order_and_no_file_is_too_long(sizes: list[int], most: int, size: int) -> None:
    lines = [bytes([number % 256]) * length for number, length in enumerate(sizes)]
    first, *others = jsonl._shared(lines, most - size, most)
    assert b"".join([first, *others]) == b"".join(lines)
    longest = max(sizes, default=0)
    assert all(0 < len(other) <= max(most, longest) for other in others)
    assert not first or len(first) <= max(most - size, 0 if size else longest)


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_a_rotation_that_was_broken_off_loses_nothing(tmp_path: Path, gap: int) -> None:
    path = tmp_path / "events.jsonl"
    rotated(path, range(4), most=ONE, keep=3)
    (tmp_path / f"events.jsonl.{gap}").rename(tmp_path / "away")
    before = {number for file in tmp_path.glob("events*") for number in ids(file)}
    after = rotated(path, range(4, 5), most=ONE, keep=3)
    after.pop("away")
    assert {number for numbers in after.values() for number in numbers} == before | {"4"}
    assert [after[name][0] for name in sorted(after, reverse=True)] == [*sorted(before), "4"]


def test_a_link_stays_and_what_it_leads_to_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "events.jsonl"
    link.symlink_to(tmp_path / "disk" / "real.jsonl")
    sink = JsonlSink(link, JsonlSettings(ONE, 2))
    sink.write([event(1), event(2)])
    assert link.is_symlink()
    assert ids(link) == ["2"]
    assert ids(tmp_path / "disk" / "real.jsonl.1") == ["1"]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe that somebody reads, who takes what a pipe holds (64 kB)."""
    path = tmp_path / "events.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path
    os.close(reader)


def test_what_is_no_file_is_never_renamed(pipe: Path) -> None:
    sink = JsonlSink(pipe, JsonlSettings(ONE, 2, sync=True))
    assert sink.write([event(number) for number in range(9)])
    sink._rotate()  # not even where it became one a moment ago
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(pipe.parent.iterdir()) == [pipe]


def test_a_file_of_somebody_else_s_is_never_renamed(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("ab") as file:
        sink = JsonlSink(Path(f"/proc/self/fd/{file.fileno()}"), JsonlSettings(ONE, 2))
        sink.write([event(number) for number in range(3)])
    assert list(tmp_path.iterdir()) == [path]
    assert ids(path) == ["0", "1", "2"]


def test_a_file_that_cannot_be_rotated_grows_on_and_that_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    (tmp_path / "events.jsonl.1").mkdir()
    (tmp_path / "events.jsonl.1" / "full").touch()
    sink = JsonlSink(path, JsonlSettings(ONE, 1))
    with capture_logs() as logs:
        for number in range(3):
            sink.write([event(number)])
    assert ids(path) == ["0", "1", "2"]
    assert [line["event"] for line in logs] == ["events not rotated"]


# What the disk has.


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order: `folder`, or how many lines the file had."""
    found: list[str] = []

    def fsync(number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").resolve()
        found.append("folder" if path.is_dir() else str(len(ids(path))))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_with_sync_a_batch_is_on_the_disk_when_it_is_written(tmp_path: Path, synced: list[str]) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl", JsonlSettings(sync=True))
    sink.check()
    sink.write([event(1), event(2)])
    sink.write([event(3)])
    assert synced == ["2", "folder", "3"]


def test_with_sync_a_rotation_is_on_the_disk_too(tmp_path: Path, synced: list[str]) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl", JsonlSettings(2 * ONE, 2, sync=True))
    sink.write([event(number) for number in range(3)])
    assert synced == ["2", "folder", "folder", "1", "folder"]


def test_without_sync_nothing_waits_for_the_disk(tmp_path: Path, synced: list[str]) -> None:
    JsonlSink(tmp_path / "events.jsonl", JsonlSettings(ONE, 2)).write([event(1), event(2)])
    assert synced == []


async def test_a_disk_that_cannot_keep_what_it_took_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    sink = JsonlSink(tmp_path / "events.jsonl", JsonlSettings(sync=True))
    sink.deliver(event(1))
    sink.close()
    await sink.run()
    assert (sink.delivered, sink.failed) == (0, 1)
    assert (tmp_path / "events.jsonl").read_bytes() == b""
