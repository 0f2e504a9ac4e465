"""What can be read of a damaged outbox: the events that wait, in order, for whom they waited; and where such
files are kept.

Blocking, and it writes nowhere: who stores what is found is `bridge.outbox.writer`.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE = 20_000
"""So many places one after the other that cannot be read are the end of what can."""
_WAITING = "SELECT seq FROM waiting WHERE endpoint = ? AND seq > ? ORDER BY seq"
_UNDELIVERED = "SELECT seq FROM events WHERE NOT EXISTS (SELECT 1 FROM delivered d WHERE d.seq = events.seq)"
_EVENT = "SELECT seq, id, call, type, at, body FROM events WHERE seq = ?"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A row of `events`, and the names of those who had not got it."""

    row: tuple[Any, ...]
    endpoints: tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """What became of it so far."""

    saved: int = 0
    lost: int = 0
    """Events that waited and cannot be read; there may have been more, unless `complete`."""
    complete: bool = True
    """All that waited is accounted for."""


def aside(path: Path) -> Path:
    """Where a damaged file may go without overwriting another: `.damaged`, `.damaged.1`, ..."""
    first = path.with_name(f"{path.name}.damaged")
    number, name = 0, first
    while name.exists() or name.with_name(f"{name.name}-wal").exists():
        number += 1
        name = first.with_name(f"{first.name}.{number}")
    return name


def kept(path: Path) -> list[Path]:
    """The damaged files beside an outbox. Raises nothing."""
    pattern = re.compile(re.escape(path.name) + r"\.damaged(\.\d+)?")
    with suppress(OSError):
        return sorted(file for file in path.parent.iterdir() if pattern.fullmatch(file.name))
    return []


def remove(damaged: Path) -> None:
    """Away with a file of which nothing is missing."""
    for suffix in ("-wal", ""):
        with suppress(OSError):
            damaged.with_name(damaged.name + suffix).unlink(missing_ok=True)


class Damaged:
    """A damaged file, open. Raises sqlite3.Error if nothing of it can be read."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._findings = findings
        self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._names = dict(self._db.execute("SELECT number, name FROM endpoints").fetchall())
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.close()

    def rules(self) -> Iterator[tuple[str, str]]:
        """Call, rule and time of the calls, as far as they can be read from either end."""
        for order in ("", " DESC"):
            try:
                yield from self._db.execute(f"SELECT call, rule FROM calls ORDER BY call{order}")  # noqa: S608
            except sqlite3.Error:
                continue
            return

    def waiting(self, late: Callable[[], bool]) -> Iterator[Salvaged]:
        """Events in order, the oldest first, until it is too `late`."""
        waits: dict[int, list[str]] = {}
        for number, name in self._names.items():
            for seq in self._seqs(number, late):
                waits.setdefault(seq, []).append(name)
        if not self._findings.complete:
            self._findings.lost += self._without(waits)
        for seq in sorted(waits):
            if late():
                self._findings.complete = False
                return
            row = self._event(seq)
            if row is None:
                self._findings.lost += 1
                self._findings.complete = False
            else:
                yield Salvaged(row, tuple(waits[seq]))

    def _without(self, waits: Collection[int]) -> int:
        """Events that wait, nobody knows any more for whom, as far as they can be read."""
        lost = 0
        with suppress(sqlite3.Error):
            for (seq,) in self._db.execute(_UNDELIVERED):
                lost += seq not in waits
        return lost

    def _seqs(self, endpoint: int, late: Callable[[], bool]) -> Iterator[int]:
        """What waits for one, without what lies on pages that cannot be read."""
        at, misses = -1, 0
        while misses < _PATIENCE and not late():
            try:
                with closing(self._db.execute(_WAITING, (endpoint, at))) as rows:
                    for (at,) in rows:
                        misses = 0
                        yield at
            except sqlite3.Error:
                self._findings.complete = False
                misses += 1
                at = max(at, self._first()) + 1 + misses // 64
            else:
                return
        self._findings.complete = False

    def _first(self) -> int:
        """The smallest number there may be: before it there is nothing to look for."""
        with suppress(sqlite3.Error):
            return int(self._db.execute("SELECT MIN(seq) FROM events").fetchone()[0] or 0) - 1
        return -1

    def _event(self, seq: int) -> tuple[Any, ...] | None:
        """None if it is not there, or is none: pages have no checksums."""
        try:
            row: tuple[Any, ...] | None = self._db.execute(_EVENT, (seq,)).fetchone()
            return row if row is not None and isinstance(json.loads(row[5]), dict) else None
        except (sqlite3.Error, ValueError, TypeError):
            return None
