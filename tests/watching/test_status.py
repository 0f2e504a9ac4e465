"""bridge/watching/status.py: how all does, before and after the parts are open."""

from dataclasses import dataclass, field
from typing import Any, cast

from bridge.net.rtzr import Session
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.watching.book import Book
from bridge.watching.pbxnotes import PbxNotes
from bridge.watching.status import Status
from bridge.wire.channels import QuotaSettings
from bridge.wire.watched import NoteKind
from tests.watching.calls import Told


@dataclass
class Counters:
    connected: int = 1
    disconnected: int = 0
    held: int = 3


@dataclass
class Part:
    """A PBX and a governor, as far as they are asked."""

    counters: Counters = field(default_factory=Counters)
    why: str = ""
    settings: QuotaSettings = field(default_factory=lambda: QuotaSettings(max_sessions=7))


def test_all_is_told_from_the_first_moment_on() -> None:
    now_s, reasons = [100.0], ["the bridge is starting"]
    status = Status(lambda: reasons, lambda: now_s[0])
    told = status.as_json(Book(), 0)
    assert (told["ready"], told["reasons"], told["pbx"]["connected"]) == (False, reasons, False)
    assert (told["sessions_open"], told["sessions_quota"], told["uptime_s"]) == (0, None, 0)

    part, notes = Part(), PbxNotes()
    notes.version = "22.10.1"
    status.begin(cast("Pbx", part), cast("Governor[Session]", part), notes)
    reasons.clear()
    now_s[0] = 165.0
    told = status.as_json(Book(), 4)
    assert told["pbx"] == {"connected": True, "why": "", "version": "22.10.1"}
    assert (told["ready"], told["uptime_s"], told["deliveries_waiting"]) == (True, 65, 4)
    assert (told["sessions_open"], told["sessions_quota"]) == (3, 7)
    part.counters.disconnected, part.why = 1, "refused"
    assert status.as_json(Book(), 0)["pbx"]["why"] == "the PBX is not connected: refused"


def test_the_latest_loop_counts() -> None:
    status, seen = Status(list), list[tuple[float, float]]()
    status.beside(lambda cpu_s, lag_ms: seen.append((cpu_s, lag_ms)))(1.5, 7.26)
    assert (seen, status.as_json(Book(), 0)["loop_lag_ms"]) == ([(1.5, 7.26)], 7.3)
    status.ask_lag(lambda: 30.0)
    assert status.as_json(Book(), 0)["loop_lag_ms"] == 30.0


def test_calls_and_legs_that_live_are_counted() -> None:
    book, call, over = Book(), Told(), Told("call-2")
    given: list[Any] = [*call.begins(), *over.begins(), over.ends()[0]]
    for event in given:
        book.take(event)
    book.note(call.note("paused", NoteKind.ORDER, paused=True))
    told = Status(list).as_json(book, 0)
    assert (told["calls"], told["legs"], told["paused_calls"]) == (2, 1, 1)
