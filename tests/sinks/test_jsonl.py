"""bridge/sinks/jsonl.py: whole lines of UTF-8, whatever the disk does in between."""

import io
import json
from pathlib import Path

import pytest

from bridge.sinks import jsonl
from bridge.sinks.jsonl import JsonlSink
from bridge.types import Event


def event(number: int, text: str = "여보세요") -> Event:
    return Event(f"leg/{number}", "rtzr.transcript.final", "call", "now", {"text": text})


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


def test_a_newline_or_half_a_character_in_a_text_breaks_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    texts = ["a\nb", "\u2028", "\ud800 half"]
    JsonlSink(path).write([event(number, text) for number, text in enumerate(texts)])
    lines = path.read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["data"]["text"] for line in lines] == texts


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


@pytest.mark.parametrize("name", ["", "missing/events.jsonl"])
def test_a_file_that_cannot_be_is_found_out_before_the_first_event(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"directory"):
        JsonlSink(tmp_path / name).check()


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    JsonlSink(tmp_path / "events.jsonl").check()
    assert (tmp_path / "events.jsonl").read_bytes() == b""
