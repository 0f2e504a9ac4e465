"""bridge/watching/book.py: what is known of each call, found by how its id begins; never too much."""

import pytest

from bridge import events
from bridge.types import Event
from bridge.watching import book as books
from bridge.watching.book import MOST_LEGS, MOST_NOTES, Book, Several
from bridge.watching.shown import call_json, timeline_json
from bridge.watching.words import phrase
from bridge.wire.ledger import Ledger
from bridge.wire.watched import LegState, NoteKind
from tests.watching.calls import Told, now_s

CALL_KEYS = {"id", "rule", "state", "started", "age_ms", "verdict", "reasons", "paused", "cost", "legs"}
LEG_KEYS = {
    "leg", "role", "number", "name", "mode", "state", "level_db", "latency_ms", "arrived_ms", "sent_ms",
    "lost_ms", "paused_ms", "sessions", "packets", "last", "partial",
}  # fmt: skip


def told(book: Book, *given: Event | list[Event]) -> None:
    for one in given:
        for event in one if isinstance(one, list) else [one]:
            book.take(event)


def test_a_live_call_is_shown_as_it_stands() -> None:
    book, call = Book(), Told()
    told(book, call.begins(), call.says("안녕", final=False))
    book.stand([call.stands(arrived_ms=900, sent_ms=800, sessions=1, received=45)], now_s())
    (shown,) = [call_json(one, now_s(5)) for one in book]
    (leg,) = shown["legs"]
    assert set(shown) == CALL_KEYS
    assert set(leg) == LEG_KEYS
    assert (shown["id"], shown["rule"], shown["state"], shown["cost"]) == ("call-1", "sales", "live", None)
    assert 4900 < shown["age_ms"] < 6000
    assert (leg["role"], leg["number"], leg["name"]) == ("caller", "***5678", "김철수")
    assert (leg["state"], leg["mode"], leg["level_db"]) == ("streaming", "hybrid", -20.5)
    assert (leg["arrived_ms"], leg["sent_ms"], leg["packets"]) == (900, 800, {"received": 45})
    assert (leg["partial"], leg["last"], leg["latency_ms"]) == ("안녕", "", None)
    told(book, call.says("안녕하세요"))
    leg = call_json(next(iter(book)), now_s())["legs"][0]
    assert (leg["partial"], leg["last"], leg["latency_ms"]) == ("", "안녕하세요", 400)


def test_an_ended_call_keeps_its_story() -> None:
    book, call = Book(), Told()
    book.turn("2026-01-01")
    told(book, call.begins(), call.says("네"), call.loses(300), call.ends(lost_ms=300))
    (ended,) = book
    shown = call_json(ended, now_s(1000))
    assert (shown["state"], shown["age_ms"], shown["verdict"]) == ("ended", 9000, "partial")
    assert (shown["reasons"], shown["cost"]["won"]) == (["ring"], 5.5)
    assert (shown["legs"][0]["state"], shown["legs"][0]["lost_ms"]) == ("ended", 300)
    kinds = [note["kind"] for note in timeline_json(ended)["timeline"]]
    assert sorted(kinds) == ["gap", "pbx", "pbx", "utterance"]
    assert (book.won, book.lost_ms, book.live) == (5.5, 300, [])
    book.turn("2026-01-02")
    assert (book.won, book.lost_ms) == (0, 0)


def test_what_lives_counts_as_lost_today_too_and_only_once() -> None:
    book, call = Book(), Told()
    told(book, call.begins())
    book.stand([call.stands(lost_ms=250)], now_s())
    assert book.lost_ms == 250
    told(book, call.ends(lost_ms=300))
    assert book.lost_ms == 300


def test_a_call_is_found_by_how_it_or_a_leg_begins() -> None:
    book = Book()
    for id_, channel in (("17.1", "17.1"), ("17.12", "17.12"), ("phone-a", "x9")):
        told(book, Told(id_, channel).begins())

    def found(beginning: str) -> str | None:
        call = book.find(beginning)
        return None if call is None else call.id

    assert found("17.1") == "17.1", "whole ids first"
    assert found("17.12") == "17.12"
    assert found("ph") == found("phone-a/x9") == found("phone-a/x") == found("x9") == "phone-a"
    assert found("zz") is None
    with pytest.raises(Several, match=r"17\.1, 17\.12"):
        book.find("17.")
    told(book, Told("phone-b", "x9").begins())
    assert found("phone-b/x9") == "phone-b"


def test_nothing_in_it_grows_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "_MOST_ENDED", 3)
    monkeypatch.setattr(books, "MOST_LIVE", 4)
    book = Book()
    for number in range(20):
        call = Told(f"c{number}")
        told(book, call.begins(), *([call.ends()] if number < 10 else []))
    assert [one.id for one in book.live] == ["c16", "c17", "c18", "c19"]
    assert [one.id for one in book if not one.live] == ["c15", "c14", "c13"]
    for number in range(MOST_NOTES + 10):
        book.note(Told("c19").note("x", at_ms=number))
    kept = book.get("c19")
    assert kept is not None
    assert (len(kept.notes), kept.notes_dropped) == (MOST_NOTES, 11), "the leg's beginning is a note as well"
    monkeypatch.setattr(books, "_MOST_NOTES_OF_ENDED", MOST_NOTES)
    told(book, Told("c19").ends())
    assert [one.id for one in book if not one.live] == ["c19"]


def test_of_a_call_that_rings_many_in_vain_those_are_kept_who_said_something() -> None:
    """A queue that rings all of its members again and again, while one caller waits."""
    book, caller = Book(), Told()
    told(book, caller.begins())
    for number in range(2 * MOST_LEGS):
        member = Told(channel=f"member-{number}")
        heard = [member.says("여보세요")] if number == 0 else []
        told(book, member.begins()[1:], *heard, member.ends(lost_ms=10)[:1])
    call = book.get("call-1")
    assert call is not None
    assert len(call.legs) == MOST_LEGS
    assert list(call.legs)[:2] == ["call-1/chan-1", "call-1/member-0"]
    assert list(call.legs)[-1] == f"call-1/member-{2 * MOST_LEGS - 1}"
    assert timeline_json(call)["legs_dropped"] == MOST_LEGS + 1
    assert book.lost_ms == 2 * MOST_LEGS * 10
    told(book, caller.ends(lost_ms=5))
    assert book.lost_ms == 2 * MOST_LEGS * 10 + 5


def test_whoever_lives_is_kept_however_many_they_are() -> None:
    book = Book()
    told(book, Told().begins())
    for number in range(MOST_LEGS):
        told(book, Told(channel=f"member-{number}").begins()[1:])
    assert len(book.live[0].legs) == MOST_LEGS + 1


def test_a_late_text_of_a_leg_that_is_not_kept_brings_nobody_back_to_life() -> None:
    book, call = Book(), Told()
    late = call.says("여보세요")
    late.data["late"] = True
    told(book, call.begins()[:1], late)
    assert [leg.state for leg in book.live[0].legs.values()] == [LegState.ENDED]


def test_what_is_not_known_is_counted_and_harms_nothing() -> None:
    book, call = Book(), Told()
    book.note(call.note("rings"))
    book.stand([call.stands()], now_s())
    told(book, call.says("누구"), call.ends())
    assert (list(book), book.unknown) == ([], 1)


def test_lost_packets_are_noted_together_as_long_as_nothing_else_happens() -> None:
    book, call = Book(), Told()
    told(book, call.begins())
    for lost in (0, 2, 5, 5):
        book.stand([call.stands(received=100, lost=lost)], now_s())
    book.note(call.note("leaves the conversation"))
    book.stand([call.stands(received=200, lost=6, late=1)], now_s())
    (watched,) = book
    notes = [(note.what, dict(note.data)) for note in watched.notes if note.kind is NoteKind.PACKETS]
    assert notes == [("packets lost", {"lost": 5}), ("packets lost", {"lost": 1, "late": 1})]
    book.note(call.note("packets in all", NoteKind.PACKETS, received=300, lost=7))
    assert watched.legs[str(call.leg)].packets == {"received": 300, "lost": 7}


def test_two_legs_that_lose_packets_side_by_side_fill_no_timeline() -> None:
    book, one, other = Book(), Told(), Told(channel="chan-2")
    told(book, one.begins(), other.begins()[1])
    for second in range(1, 2 * MOST_NOTES):
        book.stand([leg.stands(received=50 * second, lost=second) for leg in (one, other)], now_s())
    (watched,) = book
    packets = [dict(note.data) for note in watched.notes if note.kind is NoteKind.PACKETS]
    assert packets == [{"lost": 2 * MOST_NOTES - 1}] * 2
    assert watched.notes_dropped == 0


def test_what_another_inlet_loses_is_counted_from_its_beginning() -> None:
    book, call = Book(), Told()
    told(book, call.begins())
    for received, lost in ((5000, 40), (100, 3)):
        book.stand([call.stands(received=received, lost=lost)], now_s())
    (watched,) = book
    assert [note.data["lost"] for note in watched.notes if note.kind is NoteKind.PACKETS] == [43]


def test_an_outage_is_a_line_for_each_leg_however_long_it_is() -> None:
    book, one, other = Book(), Told(), Told(channel="chan-2")
    told(book, one.begins(), other.begins()[1])
    for attempt in range(MOST_NOTES):
        for leg in (one, other):
            tried = leg.note(
                "no session", NoteKind.SESSION, 100 + attempt, reason="refused", attempt=attempt + 2
            )
            book.note(tried)
    book.note(one.note("no session", NoteKind.SESSION, 9000, reason="429", attempt=9))
    (watched,) = book
    timeline = timeline_json(watched)["timeline"]
    assert [phrase(note) for note in timeline if note["kind"] == "session"] == [
        "no session: refused (500 tries, until 00:00.5)",
        "no session: refused (500 tries, until 00:00.5)",
        "no session: 429 (1 try)",
    ]


def test_a_word_that_comes_by_the_disk_is_not_what_is_being_said() -> None:
    book, call = Book(), Told()
    late = call.says("오래전", latency_ms=60_000)
    late.data["late"] = True
    told(book, call.begins(), call.says("지금", 8000), call.says("말하", 9000, final=False), late)
    (watched,) = book
    leg = watched.legs[str(call.leg)]
    assert (leg.last, leg.partial, leg.latency_ms) == ("지금", "말하", 400)


def test_a_pause_is_seen_and_kept_in_the_story() -> None:
    book, call = Book(), Told()
    told(book, [*call.begins(), events.call_paused(call.id, 2000, "consent")])
    (watched,) = book
    stood = [watched.paused]
    told(book, [events.call_resumed(call.id, 5000, "page", "kim")])
    assert [*stood, watched.paused] == [True, False]
    notes = [(one.at_ms, one.leg, phrase(timeline)) for one, timeline in zip(
        watched.notes, timeline_json(watched)["timeline"], strict=True
    ) if one.kind is NoteKind.ORDER]  # fmt: skip
    assert notes == [
        (2000, None, "paused: its rule asks for consent first"),
        (5000, None, "resumed: on the page (kim)"),
    ]


def test_an_order_pauses_a_call() -> None:
    book, call = Book(), Told()
    told(book, call.begins())
    (watched,) = book
    book.note(call.note("paused", NoteKind.ORDER, paused=True))
    assert watched.paused
    book.note(call.note("resumed", NoteKind.ORDER, paused=False))
    assert not watched.paused


def test_calls_that_were_refused_or_have_met_others_tell_it() -> None:
    book, call = Book(), Told()
    told(
        book, events.call_refused("full", 5, "max_legs"), call.begins(), events.call_merged("call-1", "c0", 7)
    )
    refused = book.find("full")
    assert refused is not None
    assert (refused.live, refused.verdict, refused.reasons) == (False, "partial", ["refused: max_legs"])
    merged = book.find("call-1")
    assert merged is not None
    assert ("merged", {"into": "c0"}) in [(note.what, dict(note.data)) for note in merged.notes]


def test_a_leg_whose_process_was_lost_keeps_what_was_known() -> None:
    book, call = Book(), Told()
    told(book, call.begins())
    book.stand([call.stands(arrived_ms=900, lost_ms=40)], now_s())
    told(book, call.made.ended("worker lost", Ledger(), ["worker lost"]))
    leg = next(iter(book)).legs[str(call.leg)]
    assert (leg.state, leg.arrived_ms, leg.lost_ms) == (LegState.ENDED, 900, 40)
    told(book, call.begins()[1:])
    assert next(iter(book)).legs[str(call.leg)].state is LegState.WAITING
