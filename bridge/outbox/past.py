"""What those ask of the outbox's file who come back: what was written after an event, and whether it is all.

Blocking, for the outbox's thread, within the transactions of `bridge.outbox.file`. Events are erased in other
orders than they came in, and some are never written: for each rule the file knows up to where that was so.
"""

import json
import sqlite3
from collections.abc import Callable, Collection

from bridge.outbox.stored import Page, Stored

_SCHEMA = "CREATE TABLE IF NOT EXISTS gone (rule TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID"
_ANY = ""
"""Of calls of whatever rule."""
_ALL = 2**63 - 1
"""A life in which nothing is kept that nobody waits for: all of it may be gone."""
_BLANKED = """
UPDATE events SET body = x'' WHERE seq IN (SELECT value FROM json_each(?))
AND seq IN (SELECT seq FROM delivered) RETURNING id
"""


class OutboxPast:
    """Of one open file. Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, *, keep: bool) -> None:
        """Within a transaction, once there is a table of events; `keep` as of `OutboxFile`."""
        self._db = db
        had = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'gone'").fetchone()
        db.execute(_SCHEMA)
        if not keep:
            self.erased(_ALL)
            return
        if not had and self._last():
            self.incomplete()  # a file of a time when this was not written down
        db.execute("UPDATE gone SET seq = ? WHERE seq = ?", (self._last() + 1, _ALL))

    def _last(self) -> int:
        """The greatest number that was given; 0 in a new file."""
        found = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(found[0]) if found else 0

    def erased(self, seq: int, rule: str = _ANY) -> None:
        """Of what came up to this number something is not there."""
        self._db.execute(
            "INSERT INTO gone VALUES (?, ?) ON CONFLICT (rule) DO UPDATE SET seq = MAX(seq, excluded.seq)",
            (rule, seq),
        )

    def incomplete(self, rule: str = _ANY) -> None:
        """Of what came up to now something is not there, perhaps of what came last: only with what comes next
        one has all that follows."""
        self.erased(self._last() + 1, rule)

    def since(self, event_id: str, most: int, concerns: Callable[[str], bool]) -> Page | None:
        """What was written after an event, delivered or not, with an empty body where it was dropped; None if
        that event is not there (any more). `concerns`: whether calls of this rule are asked for."""
        found = self._db.execute("SELECT seq FROM events WHERE id = ?", (event_id,)).fetchone()
        if found is None:
            return None
        rows = self._db.execute(
            "SELECT seq, id, call, type, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (found[0], most),
        ).fetchall()
        later = self._db.execute("SELECT rule FROM gone WHERE seq > ?", found).fetchall()
        gap = any(rule == _ANY or concerns(rule) for (rule,) in later)
        return Page([Stored(*row) for row in rows], gap)

    def rules(self, calls: Collection[str]) -> dict[str, str]:
        """The rules of those of `calls` that are known."""
        statement = "SELECT call, rule FROM calls WHERE call IN (SELECT value FROM json_each(?))"
        return dict(self._db.execute(statement, (json.dumps(list(calls)),)).fetchall())

    def blank(self, seqs: Collection[int]) -> list[str]:
        """Of these, what is delivered loses its text, and stays so that `since` tells the gap: the ids."""
        return [name for (name,) in self._db.execute(_BLANKED, (json.dumps(list(seqs)),)).fetchall()]
