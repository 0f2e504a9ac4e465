"""bridge/reload/file.py: a file that is being written is not read by halves."""

import os
from pathlib import Path

import pytest

from bridge.config import ConfigError
from bridge.reload.file import steady


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        raise ConfigError([f"{path}: cannot be read"]) from None


def test_it_waits_until_nobody_writes(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("a")
    pieces = iter(["ab", "abc"])

    def pause(_s: float) -> None:
        if (more := next(pieces, None)) is not None:
            file.write_text(more)

    assert steady(file, text_of, pause) == "abc"


def test_a_file_that_is_written_for_ever_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("")

    def pause(_s: float) -> None:
        file.write_text(file.read_text() + "x")

    with pytest.raises(ConfigError, match="is being written; reload again once it is saved"):
        steady(file, text_of, pause)


def test_a_file_that_vanished_is_the_readers_fault_to_tell(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        steady(tmp_path / "none.yaml", text_of, lambda _s: None)


def test_one_that_is_replaced_meanwhile_is_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "bridge.yaml", tmp_path / "other"
    file.write_text("one")
    other.write_text("two")
    moves = iter([other])

    def pause(_s: float) -> None:
        if (new := next(moves, None)) is not None:
            new.replace(file)

    assert steady(file, text_of, pause) == "two"


def test_a_pipe_cannot_be_read_again(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="was a pipe, which cannot be read again"):
        steady(pipe, text_of, lambda _s: None)


def test_a_folder_in_its_place_is_the_readers_fault_to_tell(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        steady(tmp_path, text_of, lambda _s: None)


def test_a_folder_that_may_not_be_looked_into_is_the_readers_fault_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", stat)  # root may look everywhere
    with pytest.raises(ConfigError, match="cannot be read"):
        steady(tmp_path / "none.yaml", text_of, lambda _s: None)
