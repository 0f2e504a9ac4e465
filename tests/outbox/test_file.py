"""bridge/outbox/file.py: whatever is done to it in whatever order, and wherever its log is cut, what waits is
what a list of events would have."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.outbox.file import NewEvent, OutboxFile
from tests.outboxes import A, B
from tests.scale import scaled

RULES = {A: None, B: frozenset({"sales"})}
CALLS = st.sampled_from("xyz")


class Waiting(RuleBasedStateMachine):
    """The file beside lists of ids, through ends, kills and commits that are taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lives = 0
        self.number = 0
        self.last_seq = 0
        self.unix = 1.7e9
        self.monotonic = 0.0
        self.age = 0.0
        """What the outbox's own clock is to show."""
        self.ages: dict[str, float] = {}
        self.waits: dict[str, list[str]] = {A: [], B: []}
        self.rule_of: dict[str, str] = {}

    @initialize(keep=st.booleans())
    def open(self, keep: bool) -> None:
        self.keep = keep
        self.file = OutboxFile(self.folder / "0", "normal", keep=keep)

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.folder)

    def committed(self, method: str, *given: Any) -> Any:
        self.file.begin()
        self.file.tick(self.unix, self.monotonic)
        answer = getattr(self.file, method)(*given)
        self.file.commit()
        return answer

    def write(self, call: str, begins: str | None) -> None:
        self.number += 1
        new = NewEvent(f"{call}/{self.number}", call, "t", bytes(self.number % 3000), begins)
        self.committed("add", [new], RULES, float(self.number))
        if begins is not None:
            self.rule_of[call] = begins
        self.ages[new.id] = self.age
        self.waits[A].append(new.id)
        if self.rule_of.get(call) == "sales":
            self.waits[B].append(new.id)

    @rule(call=CALLS)
    def add(self, call: str) -> None:
        self.write(call, None)

    @rule(call=CALLS, of=st.sampled_from(["", "sales", "help"]))
    def start(self, call: str, of: str) -> None:
        self.write(call, of)

    @rule(call=CALLS)
    def take_back(self, call: str) -> None:
        self.file.begin()
        self.file.add([NewEvent("never", call, "t", b"{}", "sales")], RULES, 0.0)
        self.file.rollback()

    @rule(endpoint=st.sampled_from([A, B]), most=st.integers(1, 5), skip=st.frozensets(CALLS, max_size=2))
    def deliver(self, endpoint: str, most: int, skip: frozenset[str]) -> None:
        rows = self.file.waiting(endpoint, most, skip, ())
        wanted = [one for one in self.waits[endpoint] if one[0] not in skip][:most]
        assert [one.id for one in rows] == wanted
        assert self.committed("done", endpoint, [one.seq for one in rows]) == len(rows)
        self.waits[endpoint] = [one for one in self.waits[endpoint] if one not in wanted]

    @rule(endpoint=st.sampled_from([A, B]))
    def drop(self, endpoint: str) -> None:
        assert self.committed("drop", endpoint)[0] == len(self.waits[endpoint])
        self.waits[endpoint] = []

    @rule(step=st.sampled_from([-1.7e9, -3600.0, 3600.0, 1e9]))
    def set_clock(self, step: float) -> None:
        """By hand or by NTP: it makes nothing older or younger."""
        self.unix += step

    @rule(seconds=st.integers(1, 9))
    def time_goes_by(self, seconds: int) -> None:
        self.unix += seconds
        self.monotonic += seconds
        self.age += seconds

    @rule(kept=st.integers(0, 40))
    def expire(self, kept: int) -> None:
        lost = {one for rows in self.waits.values() for one in rows if self.ages[one] < self.age - kept}
        assert self.committed("expire", float(kept), 1e9) == (len(lost), False)
        self.waits = {name: [one for one in rows if one not in lost] for name, rows in self.waits.items()}

    @rule(kill=st.booleans(), stop=st.sampled_from([-1e9, 0.0, 5.0, 86_399.0, 1e9]))
    def end(self, kill: bool, stop: float) -> None:
        """`kill`: the next life has the files as they are now, without any farewell."""
        before, self.lives = self.folder / f"{self.lives}", self.lives + 1
        after = self.folder / f"{self.lives}"
        self.committed("expire", 1e9, 1e9)  # as it does every minute, and then writes down how old it is
        if not kill:
            self.file.close()
        for suffix in ("", "-wal"):
            part = before.with_name(before.name + suffix)
            if part.exists():
                shutil.copy(part, after.with_name(after.name + suffix))
        self.file.close()
        self.unix += stop
        self.age += max(0.0, min(stop, 86_400.0))
        self.monotonic = 0.0
        self.file = OutboxFile(after, "normal", keep=self.keep)
        self.committed("add", [], RULES, 0.0)  # the first look at the clocks comes with the opening

    @invariant()
    def what_waits_is_what_was_written_and_not_taken(self) -> None:
        if not hasattr(self, "file"):
            return
        for name, wanted in self.waits.items():
            rows = self.file.waiting(name, 10_000, (), ())
            assert [one.id for one in rows] == wanted
            seqs = [one.seq for one in rows]
            assert seqs == sorted(set(seqs))
        if not self.keep:
            self.nothing_else_is_kept()

    def nothing_else_is_kept(self) -> None:
        with closing(sqlite3.connect(":memory:")) as copy:
            self.file._db.backup(copy)
            there = {name for (name,) in copy.execute("SELECT id FROM events")}
            assert copy.execute("SELECT COUNT(*) FROM delivered").fetchone() == (0,)
        assert there == {one for rows in self.waits.values() for one in rows}


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=scaled(300, 20), stateful_step_count=30, deadline=None)


@settings(max_examples=scaled(300, 20), deadline=None)
@given(commits=st.lists(st.integers(1, 9), min_size=1, max_size=20), cut=st.floats(0, 1), noise=st.booleans())
def test_a_log_that_is_cut_off_anywhere_holds_the_first_commits_whole(
    commits: list[int], cut: float, noise: bool
) -> None:
    """As after a power cut: of the last commits none, some or one in part reached the disk."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "o"
        OutboxFile(path, "full").close()
        file, after = OutboxFile(path, "full"), [0]
        for size in commits:
            file.begin()
            first = after[-1]
            news = [NewEvent(f"{n}", "c", "t", b"{}" * 100) for n in range(first, first + size)]
            file.add(news, {A: None}, 0.0)
            file.commit()
            after.append(first + size)
        log = path.with_name("o-wal").read_bytes()
        kept = round(len(log) * cut)
        (Path(name) / "p").write_bytes(path.read_bytes())
        (Path(name) / "p-wal").write_bytes(log[:kept] + os.urandom(len(log) - kept) * noise)
        file.close()
        again = OutboxFile(Path(name) / "p", "full")
        found = [one.id for one in again.waiting(A, 10_000, (), ())]
        again.close()
    assert found == [f"{n}" for n in range(len(found))]
    assert len(found) in after
    if cut == 1:
        assert len(found) == after[-1]


def test_the_oldest_go_until_it_fits_those_that_were_delivered_first(tmp_path: Path) -> None:
    file = OutboxFile(tmp_path / "o", "normal")
    file.begin()
    for n in range(1000):
        file.add([NewEvent(f"{n}", "c", "t", bytes(1000))], {A: None}, 0.0)
    rows = file.waiting(A, 1000, (), ())
    file.done(A, [one.seq for one in rows[500:]])
    size = file.size
    assert file.trim(size) == 0
    assert file.trim(size * 6 // 10) == 0, "delivered ones were enough"
    assert len(file.waiting(A, 1000, (), ())) == 500
    assert 200 < file.trim(size * 2 // 10) < 500
    left = file.waiting(A, 1000, (), ())
    assert left == rows[500 - len(left) : 500]
    assert file.size <= size * 2 // 10
    file.trim(0)
    assert file.waiting(A, 1000, (), ()) == []
    file.commit()
    file.close()
