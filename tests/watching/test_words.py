"""bridge/watching/words.py: a call's story: what happened, what was lost and why, where time went."""

from typing import Any

import pytest

from bridge.types import GapReason
from bridge.watching.book import Book
from bridge.watching.shown import call_json, timeline_json
from bridge.watching.words import call_words, clock, deliveries, head, length, losses, phrase, times
from bridge.wire.watched import NoteKind
from tests.watching.calls import Told, now_s


def shown(book: Book) -> dict[str, Any]:
    (call,) = book
    return call_json(call, now_s()) | timeline_json(call)


def bad_call() -> dict[str, Any]:
    """One that lost its session, some packets and half a second, and of which a webhook wants more."""
    book, call = Book(), Told()
    for event in call.begins():
        book.take(event)
    session = NoteKind.SESSION
    for note in (
        call.note("tap attached", at_ms=100),
        call.note("session opened", session, 300, ms=250, wait_ms=200, token_ms=20, connect_ms=30),
        call.note("session lost", session, 3000, utterances=1),
        call.note("no session", session, 3100, reason="streaming: refused", attempt=1),
        call.note("session opened", session, 4000, ms=50, wait_ms=0, token_ms=0, connect_ms=50),
        call.note("packets in all", NoteKind.PACKETS, 8900, received=100, lost=3),
        call.note("hung up", at_ms=8900, cause="cause 16", means="hung up in the normal way"),
    ):
        book.note(note)
    given = [call.says("안녕하세요"), call.loses(500), call.says("네", 6000, latency_ms=900)]
    for event in (*given, *call.ends(lost_ms=500)):
        book.take(event)
    waits = {"name": "webhook:crm", "waiting": 3, "state": "waiting", "error": "answered 503"}
    return shown(book) | {"deliveries": [waits]}


def test_the_whole_story_is_told() -> None:
    call = bad_call()
    lines = call_words(call)
    assert lines[0].startswith("call call-1, since ")
    assert lines[0].endswith("rule sales: ended after 9.0 s, partial (ring), 5.50 won")
    assert lines[1] == "  caller: ***5678 김철수 (chan-1), not heard yet, ended"
    text = "\n".join(lines)
    for one in (
        "00:00.3  session    caller    session open after 250 ms: 200 waiting for a channel, 20 for the",
        "00:03.0  session    caller    session lost; what it had not told goes out again",
        "no session: streaming: refused (try 1)",
        "00:01.0  utterance  caller    “안녕하세요” (0.5 s, final after 400 ms)",
        "0.5 s lost: RTZR was away for longer than audio is kept (media.ring_s)",
        "hung up: hung up in the normal way",
        "webhook:crm: 3 events wait, waiting (answered 503)",
    ):
        assert one in text


def test_losses_and_times_are_summed_by_leg() -> None:
    call = bad_call()
    assert losses(call) == [
        "caller: 0.5 s of 3.0 s that arrived",
        "  0.5 s: RTZR was away for longer than audio is kept (media.ring_s)",
        "  on the way from the PBX: packets lost 3",
    ]
    assert times(call) == [
        "caller: 2 sessions: 200 ms waiting for a channel, 20 ms for the token, 80 ms connecting",
        "caller: 2 finals by RTZR: half of them within 650 ms of the speech's end, all within 900 ms",
    ]


def test_a_call_in_which_nothing_was_amiss_says_so() -> None:
    book, call = Book(), Told(rule="")
    for event in call.begins():
        book.take(event)
    live = shown(book)
    assert "announced by the dialplan: live for 0.0 s" in head(live)
    assert losses(live) == ["nothing, as far as is known"]
    assert times(live) == ["no session was ever opened"]
    assert deliveries(live) == ["no endpoint gets what happens here by an outbox"]


def test_a_call_with_two_callees_names_them_by_number() -> None:
    book, one, other = Book(), Told(), Told(channel="chan-2", number="0299998888")
    for event in (*one.begins(), other.begins()[1]):
        book.take(event)
    text = "\n".join(call_words(shown(book)))
    assert "caller ***5678: ***5678" in text
    assert "caller ***8888" in text


@pytest.mark.parametrize("reason", list(GapReason))
def test_every_reason_of_a_gap_is_told_in_words(reason: GapReason) -> None:
    data = {"ms": 1200, "reason": reason.value, "spooled": True}
    told = phrase({"kind": "gap", "what": "audio lost", "data": data})
    assert told.startswith("1.2 s lost: ")
    assert told.endswith("; it is on the disk, and may follow")


@pytest.mark.parametrize(
    ("ms", "words"), [(0, "0.0 s"), (3210, "3.2 s"), (83_250, "1 min 23 s"), (3_720_000, "1 h 2 min")]
)
def test_lengths_are_told_in_their_biggest_units(ms: int, words: str) -> None:
    assert length(ms) == words


def test_call_time_is_told_in_tenths() -> None:
    assert (clock(83_250), clock(-5)) == ("01:23.2", "00:00.0")
