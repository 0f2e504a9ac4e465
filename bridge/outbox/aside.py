"""A damaged outbox: moved aside for a new one, which takes over what can be read; told of until it is gone.

Blocking, on the outbox's thread. How a damaged file is read is in `bridge.outbox.salvage`.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from bridge.outbox.counters import OutboxCounters
from bridge.outbox.file import OutboxFile
from bridge.outbox.salvage import Damaged, Findings, aside, kept, remove

_log = structlog.get_logger()

_LOOK_S = 1.0
_SALVAGE_S = 3.0
"""The longest that a damaged file holds up what follows."""
_MOST_OF_ROOM = 0.9
_TOLD = "holds events that were not delivered: see docs/outbox.md, then move it away or delete it"


class Aside:
    """The damaged files of one outbox."""

    def __init__(self, path: Path, counters: OutboxCounters, clock: Callable[[], float]) -> None:
        self._path = path
        self._counters = counters
        self._clock = clock
        self._moved: Path | None = None
        self._look_at = float("-inf")
        self.told = ""
        """What a person is to know of files that lie there; "" if none does."""

    def move(self) -> str:
        """Make room for a new file; the damaged one is kept until that has what waits. Why it could not be
        done; "" if it was."""
        damaged = aside(self._path)
        try:
            for suffix in ("-wal", ""):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    os.replace(part, damaged.with_name(damaged.name + suffix))  # noqa: PTH105
        except OSError as error:
            why = error.strerror or str(error)
            _log.error("outbox damaged", reason=why)
            return why
        self._look_at = float("-inf")
        self._moved = damaged
        _log.error("outbox damaged; a new one is begun", kept=str(damaged))
        return ""

    def look(self) -> None:
        """Files are told of until a person took them away."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_S
            names = ", ".join(file.name for file in kept(self._path))
            self.told = names and f"{names} {_TOLD}"

    def salvage(self, file: OutboxFile, most: int) -> None:
        """Let a new file take over what waits in the one that was moved: once, in one commit, not for long
        and not beyond `most` bytes."""
        damaged, self._moved = self._moved, None
        if damaged is None:
            return
        found = Findings()
        try:
            with closing(Damaged(damaged, found)) as rows:
                file.begin()
                self._take_over(file, rows, found, int(most * _MOST_OF_ROOM))
                file.past.incomplete()  # what was delivered stays behind, and perhaps more
                file.commit()
        except sqlite3.Error as error:
            file.rollback()
            found.saved, found.complete = 0, False
            _log.error("damaged outbox not to be read", kept=str(damaged), reason=str(error))
        self._settle(damaged, found)

    def _take_over(self, file: OutboxFile, rows: Damaged, found: Findings, most: int) -> None:
        ends = self._clock() + _SALVAGE_S
        file.know(rows.rules())
        for one in rows.waiting(lambda: self._clock() > ends):
            if found.saved % 100 == 0 and file.size > most:
                found.complete = False
                return
            file.restore(one.row, one.endpoints)
            found.saved += 1

    def _settle(self, damaged: Path, found: Findings) -> None:
        self._counters.salvaged += found.saved
        self._counters.lost_damaged += found.lost
        if found.complete:
            remove(damaged)
        if found.saved or found.lost:
            left = "" if found.complete else str(damaged)
            _log.warning("damaged outbox salvaged", events=found.saved, lost=found.lost, kept=left)
