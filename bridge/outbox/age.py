"""The outbox's own clock: how old an event is, whatever is done to the machine's.

A clock that was wrong at boot, or is set in mid-flight, must neither throw away what waits nor keep it for
ever. This one goes on by the monotonic clock while the outbox is open, and over a stop by what the wall clock
says, within bounds. It begins at 0 with the file and never goes back; both clocks are arguments.
"""

import sqlite3

LONGEST_STOP_S = 86_400.0
"""No stop counts for more: the wall clock may have been wrong before it, or be so now."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS age (
    one INTEGER PRIMARY KEY CHECK (one = 1), age_s REAL NOT NULL, unix_s REAL NOT NULL)
"""


class OutboxAge:
    """The clock of one open file. Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Within a transaction, once there is a table of events."""
        self._db = db
        self._began_s: float | None = None
        """Of the monotonic clock, at age 0."""
        self._unix_s = 0.0
        self.now_s = 0.0
        """How old the outbox is, as `tick` found it."""
        db.execute(_SCHEMA)
        if "age" not in {column[1] for column in db.execute("PRAGMA table_info(events)")}:
            db.execute("ALTER TABLE events ADD COLUMN age REAL NOT NULL DEFAULT 0")
            db.execute("UPDATE calls SET at = 0")

    def tick(self, unix_s: float, monotonic_s: float) -> None:
        """What time it is now: before anything is written."""
        if self._began_s is None:
            self._began_s = monotonic_s - self._resumed_s(unix_s)
        self._unix_s = unix_s
        self.now_s = max(self.now_s, monotonic_s - self._began_s)

    def _resumed_s(self, unix_s: float) -> float:
        """How old it is after a stop: a kill may have come long after the last `keep`."""
        kept = self._db.execute("SELECT age_s, unix_s FROM age").fetchone()
        last = "SELECT MAX(age) FROM (SELECT age FROM events ORDER BY seq DESC LIMIT 1)"
        (latest,) = self._db.execute(last).fetchone()
        age_s, stopped_unix_s = kept or (0.0, unix_s)
        return max(age_s + min(max(0.0, unix_s - stopped_unix_s), LONGEST_STOP_S), latest or 0.0)

    def keep(self) -> None:
        """Write down how old it is: now and then, in a transaction that is under way anyhow."""
        self._db.execute("INSERT OR REPLACE INTO age VALUES (1, ?, ?)", (self.now_s, self._unix_s))
