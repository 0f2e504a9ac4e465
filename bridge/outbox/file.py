"""The outbox on the disk: an SQLite file in WAL mode, and the statements that are made in it.

Blocking, for one thread; what a method wrote is there once `commit` has returned. Who calls it, when, and
what happens when the disk refuses, is in `bridge.outbox`; how old an event is, `bridge.outbox.age`'s.
"""

import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from bridge.outbox.age import OutboxAge
from bridge.outbox.claim import APPLICATION_ID, claim
from bridge.outbox.past import OutboxPast
from bridge.outbox.room import LOG_LIMIT
from bridge.outbox.statements import (
    BACKLOG,
    BACKLOGS,
    ERASED,
    NOW_DELIVERED,
    NOW_GONE,
    OF_CALL,
    OLDEST_WAITING,
    SCHEMA,
    WAITED,
)
from bridge.outbox.stored import Stored
from bridge.wire.eventjson import fingerprint, renamed

_CALLS_KNOWN = 10_000
_CHUNK = 32
_LOOKED_AT = 2000
_SPARED = 0.98
"""What is kept of a full outbox, so that not every commit has to make room."""
_LOG_PAGES = 400
"""After so many the log is copied into the file, for which `outboxroom.BALLAST` must be enough."""
_NOT_TO_BE_STORED = (ValueError, TypeError, OverflowError, RecursionError, sqlite3.DataError)
"""What is an event's own fault, and not the file's."""

Rules = Mapping[str, frozenset[str] | None]
"""Endpoint -> the rules whose calls it gets; None: it gets every call's."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as it is to be written."""

    id: str
    call: str
    type: str
    body: bytes
    rule: str | None = None
    """Of a call's start, and of what comes late: the rule that chose the call, or ""; else None."""


class OutboxFile:
    """The open file. Every method raises sqlite3.Error, after which `rollback` is due."""

    def __init__(self, path: Path, sync: Literal["normal", "full"], *, keep: bool = True) -> None:
        """Opens the file, or makes one that only its owner reads. `keep`: what nobody waits for stays, for
        those who ask by `since`; else it is erased at once. Raises OSError also, NotOurs among them;
        sqlite3.DatabaseError with SQLITE_CORRUPT or SQLITE_NOTADB where ours is damaged."""
        claim(path)
        unclean = path.with_name(f"{path.name}-wal").exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        there = path.stat()
        self.inode = there.st_dev, there.st_ino
        """Which file this is, whatever is at its path later."""
        self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        self._keep = keep
        self._numbers: dict[str, int] = {}
        self._rule_of: dict[str, str] = {}
        self._left: set[str] = set()
        """Rules whose events were left out since the last `add`."""
        self.stored = self.unstored = self.renamed = 0
        """Events since `begin`: that are there now, that cannot be, and that came with another one's id."""
        try:
            self._begin(sync, check=unclean)
        except BaseException:
            self._db.close()
            raise

    def _begin(self, sync: str, *, check: bool) -> None:
        # Exclusive: no file for shared memory, and a second bridge is told instead of sending all twice.
        # Before the WAL: a file that is killed before its first checkpoint is to be known as ours, too; what
        # says how it is to shrink comes before its first page.
        for pragma in ("auto_vacuum=INCREMENTAL", "locking_mode=EXCLUSIVE"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        for pragma in ("journal_mode=WAL", f"synchronous={sync}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(f"PRAGMA journal_size_limit={LOG_LIMIT}")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
        self._db.execute("PRAGMA temp_store=MEMORY")
        self._db.execute("PRAGMA secure_delete=ON")  # an erased transcript is not to be read in the file
        if check and self._one("PRAGMA quick_check(1)") != "ok":
            damaged = sqlite3.DatabaseError("database disk image is malformed")
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged
        self.begin()
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._age = OutboxAge(self._db)
        self.past = OutboxPast(self._db, keep=self._keep)
        if not self._one("SELECT COUNT(*) FROM sqlite_sequence WHERE name = 'events'"):
            # Numbers go on from the clock: none is ever given again, though a file be lost with its count.
            started = "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)"
            self._db.execute(started, (time.time_ns() // 1000,))
        self.commit()

    def _one(self, statement: str, *given: object) -> int | float | str:
        value: int | float | str = self._db.execute(statement, given).fetchone()[0]
        return value

    def begin(self) -> None:
        self.stored = self.unstored = self.renamed = 0
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def empty_log(self) -> None:
        """Bring what was committed into the file, and leave nothing in the log beside it: between commits."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rollback(self) -> None:
        """Forget what was not committed; never raises."""
        self._numbers.clear()
        self._rule_of.clear()
        self._left.clear()
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.rollback()

    def checkpoint(self) -> None:
        """Copy the log into the file: its room is written to again, and the file has its full length."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        self._db.close()

    def copy(self, path: Path) -> None:
        """All that was committed into the empty file at `path`, in one transaction: between commits."""
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as other:
            self._db.backup(other)

    def tick(self, unix_s: float, monotonic_s: float) -> None:
        """What time it is, for what is written and what is too old: after `begin`."""
        self._age.tick(unix_s, monotonic_s)

    def add(self, events: Sequence[NewEvent], rules: Rules, at: float) -> dict[str, int]:
        """Write events in order, for those of `rules` that are to have them: how many each endpoint got.
        `at`: Unix seconds, to be shown; how old they become is the outbox's own affair.

        An event that is there already is not written again. Another one with the id of such a one is, under
        an id of its own; and one that cannot be stored is left out, and keeps nothing from the others.
        """
        targets = {name: self._number(name) for name in rules}
        got = dict.fromkeys(rules, 0)
        for event in events:
            try:
                names = self._names(event, rules)
                seq = self._write(event, at) if names or self._keep else None
            except _NOT_TO_BE_STORED:
                self.unstored += 1
                continue
            self.stored += 1
            if seq is None:
                continue
            for name in names:
                got[name] += 1
                self._db.execute("INSERT INTO waiting VALUES (?, ?, ?)", (targets[name], seq, event.call))
            if not names:
                self._db.execute("INSERT INTO delivered VALUES (?)", (seq,))
        while self._left:
            self.past.incomplete(self._left.pop())
        return got

    def _names(self, event: NewEvent, rules: Rules) -> list[str]:
        """Who is to have it."""
        if event.rule is not None:
            self._learn(event.call, event.rule)
        return list(self._for(event.call, rules))

    def _write(self, event: NewEvent, at: float) -> int | None:
        """The event's number; None where it is there already."""
        seq = self._insert(event, at)
        if seq is not None:
            return seq
        (there,) = self._db.execute("SELECT body FROM events WHERE id = ?", (event.id,)).fetchone()
        told = fingerprint(event.body)
        if told == fingerprint(there):
            return None
        # The same name each time: told again, it is the same event again.
        name = f"{event.id}~{told.hex()[:12]}"
        seq = self._insert(replace(event, id=name, body=renamed(event.body, name)), at)
        self.renamed += seq is not None
        return seq

    def _insert(self, event: NewEvent, at: float) -> int | None:
        row = (event.id, event.call, event.type, at, event.body, self._age.now_s)
        written = self._db.execute(
            "INSERT INTO events (id, call, type, at, body, age) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO NOTHING",
            row,
        )
        return written.lastrowid if written.rowcount == 1 else None

    def restore(self, row: Sequence[object], endpoints: Collection[str]) -> None:
        """Put back an event of a damaged file (seq, id, call, type, at, body), for these to have."""
        statement = "INSERT INTO events (seq, id, call, type, at, body, age) VALUES (?, ?, ?, ?, ?, ?, ?)"
        if self._db.execute(f"{statement} ON CONFLICT DO NOTHING", (*row, self._age.now_s)).rowcount == 1:
            waits = ((self._number(name), row[0], row[2]) for name in endpoints)
            self._db.executemany("INSERT INTO waiting VALUES (?, ?, ?)", waits)

    def know(self, rules: Iterable[tuple[str, str]]) -> None:
        """Rules of calls, as another file had them."""
        rows = ((call, rule, self._age.now_s) for call, rule in rules)
        self._db.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?, ?)", rows)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO endpoints (name) VALUES (?)", (name,))
            number = int(self._one("SELECT number FROM endpoints WHERE name = ?", name))
            self._numbers[name] = number
        return number

    def _learn(self, call: str, rule: str) -> None:
        self._rule_of[call] = rule
        self._db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (call, rule, self._age.now_s))

    def _for(self, call: str, rules: Rules) -> Iterator[str]:
        """A call that nobody knows is only for endpoints that get every call: better one transcript less
        than one for the wrong eyes."""
        for name, wanted in rules.items():
            if wanted is None or self._rule(call) in wanted:
                yield name

    def _rule(self, call: str) -> str:
        rule = self._rule_of.get(call)
        if rule is None:
            found = self._db.execute("SELECT rule FROM calls WHERE call = ?", (call,)).fetchone()
            rule = found[0] if found else ""
            if len(self._rule_of) >= _CALLS_KNOWN:
                self._rule_of.clear()
            self._rule_of[call] = rule
        return rule

    def without(self, left_out: Collection[str], events: Sequence[NewEvent]) -> list[NewEvent]:
        """Those of `events` that are of no call of these rules, to be added next; which rule chose a call is
        kept of all."""
        kept = []
        for event in events:
            if event.rule is not None:
                self._learn(event.call, event.rule)
            rule = self._rule(event.call)
            if rule in left_out:
                self._left.add(rule)
            else:
                kept.append(event)
        return kept

    def waiting(
        self, endpoint: str, most: int, skip: Collection[str], without: Collection[int]
    ) -> list[Stored]:
        """What waits for an endpoint, the oldest first, but nothing of the calls in `skip` and none of the
        numbers in `without`."""
        found = self._db.execute("SELECT number FROM endpoints WHERE name = ?", (endpoint,)).fetchone()
        if found is None:
            return []
        with closing(self._db.execute(OLDEST_WAITING, (found[0], json.dumps(list(skip))))) as rows:
            return list(islice((Stored(*row) for row in rows if row[0] not in without), most))

    def done(self, endpoint: str, seqs: Collection[int]) -> int:
        """These wait no longer: how many did."""
        number = self._number(endpoint)
        gone = self._db.executemany(
            "DELETE FROM waiting WHERE endpoint = ? AND seq = ?", ((number, seq) for seq in seqs)
        )
        self._db.executemany(NOW_DELIVERED if self._keep else NOW_GONE, ((seq,) for seq in seqs))
        return gone.rowcount

    def drop(self, endpoint: str) -> tuple[int, list[str]]:
        """Nothing waits for an endpoint any longer; what waits for no other one is erased: how many did, and
        the ids of those that stay without their text, where delivered events are kept."""
        seqs = self._seqs("SELECT seq FROM waiting WHERE endpoint = ?", self._number(endpoint))
        dropped = self.done(endpoint, seqs)
        return dropped, self.past.blank(seqs) if self._keep else []

    def backlogs(self, owed: Mapping[str, Collection[int]]) -> list[tuple[str, int, float | None]]:
        """Each endpoint that ever was: how many wait for it, and since when the oldest does (Unix s); but
        for what is `owed`: it has that, and the disk does not know it."""
        rows = self._db.execute(BACKLOGS).fetchall()
        return [
            (name, *self._backlog(name, owed[name])) if name in owed else (name, *row) for name, *row in rows
        ]

    def _backlog(self, endpoint: str, owed: Collection[int]) -> tuple[int, float | None]:
        row = self._db.execute(BACKLOG, (endpoint, json.dumps(list(owed)))).fetchone()
        return row[0], row[1]

    def of_call(self, call: str) -> list[tuple[str, int]]:
        """What waits of one call: the endpoint and the number of each event. It reads all that waits."""
        return self._db.execute(OF_CALL, (call,)).fetchall()

    @property
    def size(self) -> int:
        """Bytes in use. The file may be longer: what is free in it is used again."""
        pages = int(self._one("PRAGMA page_count")) - int(self._one("PRAGMA freelist_count"))
        return pages * int(self._one("PRAGMA page_size"))

    @property
    def length(self) -> int:
        """Bytes of the file, once the log is copied into it."""
        return int(self._one("PRAGMA page_count")) * int(self._one("PRAGMA page_size"))

    def shorten(self, size: int) -> None:
        """Cut the file by `size` bytes, or by what is free in it."""
        for _ in range(-(-size // int(self._one("PRAGMA page_size")))):
            self._db.execute("PRAGMA incremental_vacuum(1)")  # of more, sqlite3 makes the first step alone

    def trim(self, most: int) -> int:
        """Keep to `most` bytes: delivered events go first, then the oldest. How many of these waited."""
        waited = 0
        if self.size <= most:
            return 0
        while self.size > most * _SPARED:
            seqs = self._seqs("SELECT seq FROM delivered ORDER BY seq LIMIT ?", _CHUNK)
            seqs = seqs or self._seqs("SELECT seq FROM events ORDER BY seq LIMIT ?", _CHUNK)
            if not seqs:
                break
            waited += self._erase(seqs)
        return waited

    def expire(self, kept_s: float, calls_kept_s: float) -> tuple[int, bool]:
        """Erase some of what is older: how many of these waited, and whether there may be more of it."""
        self._age.keep()
        # Ages grow with the numbers: who is too old is at the head.
        old = "SELECT seq FROM (SELECT seq, age FROM events ORDER BY seq LIMIT ?) WHERE age < ?"
        seqs = self._seqs(old, _LOOKED_AT, self._age.now_s - kept_s)
        self._db.execute("DELETE FROM calls WHERE at < ?", (self._age.now_s - calls_kept_s,))
        # Of a time when they were kept.
        done = [] if self._keep else self._seqs("SELECT seq FROM delivered LIMIT ?", _LOOKED_AT)
        return self._erase(seqs) + self._erase(done), _LOOKED_AT in (len(seqs), len(done))

    def _seqs(self, statement: str, *given: object) -> list[int]:
        return [seq for (seq,) in self._db.execute(statement, given)]

    def _erase(self, seqs: list[int]) -> int:
        """How many of these waited for anyone."""
        listed = json.dumps(seqs)
        waited = int(self._one(WAITED, listed))
        for statement in ERASED:
            self._db.execute(statement, (listed,))
        if seqs:
            self.past.erased(max(seqs))
        return waited
