"""bridge/outbox/claim.py: which file may be taken for the outbox, and which trouble is a person's to mend."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bridge.outbox.claim import APPLICATION_ID, NotOurs, claim, misplaced
from bridge.outbox.file import OutboxFile


@pytest.fixture
def ours(tmp_path: Path) -> bytes:
    """What is at the beginning of a file that was killed before its first checkpoint."""
    path = tmp_path / "ours.db"
    with closing(OutboxFile(path, "normal")):
        return path.read_bytes()


def test_ours_is_known_as_soon_as_it_is_there_whatever_of_it_is_damaged(ours: bytes, tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    claim(path)
    for there in (b"", ours, ours[:100], ours[:16], bytes(60) + ours[60:], ours[:72] + bytes(4024)):
        path.write_bytes(there)
        claim(path)
    path.write_bytes(bytes(4096))
    with pytest.raises(NotOurs):
        claim(path)
    (tmp_path / "o.db-wal").touch()
    claim(path)


def test_everything_else_is_not(ours: bytes, tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with closing(sqlite3.connect(path)) as others:
        others.execute("CREATE TABLE theirs (x)")
    with pytest.raises(NotOurs):
        claim(path)
    for there in (b"x", b"{}\n" * 99, ours[:68] + b"GPKG" + ours[72:]):
        path.write_bytes(there)
        with pytest.raises(NotOurs):
            claim(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotOurs):
        claim(path)
    with pytest.raises(IsADirectoryError):
        claim(tmp_path)


def test_a_file_keeps_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    OutboxFile(path, "normal").close()
    with closing(sqlite3.connect(path)) as read:
        assert read.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_full_disk_passes_and_a_wrong_place_does_not() -> None:
    full, locked = sqlite3.OperationalError("full"), sqlite3.OperationalError("locked")
    full.sqlite_errorcode, locked.sqlite_errorcode = sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY
    assert not misplaced(full)
    assert not misplaced(OSError(28, "No space left on device"))
    assert not misplaced(ValueError())
    assert misplaced(locked)
    assert misplaced(PermissionError(13, "Permission denied"))
    assert misplaced(NotOurs())
