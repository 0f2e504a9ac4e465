"""bridge/watching/words.py: a call's story: what happened, what was lost and why, where time went."""

from typing import Any

import pytest

from bridge.types import GapReason
from bridge.watching.book import MOST_LEGS, MOST_NOTES, Book
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
        "no session: streaming: refused (1 try)",
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
        "  on the way from the PBX: of 103 packets lost 3",
    ]
    assert times(call) == [
        "caller: 2 sessions: 200 ms waiting for a channel, 20 ms for the token, 80 ms connecting",
        "caller: 1.0 s without a session, while what was said waited",
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
    starts = {line.index("heard from now on") for line in text.splitlines() if "heard from now on" in line}
    assert len(starts) == 1, "phrases stand below each other"


def test_texts_by_the_disk_are_told_as_late_and_are_none_of_rtzrs_delay() -> None:
    book, call = Book(), Told()
    late = call.says("늦은 말", latency_ms=63_000)
    late.data["late"] = True
    for event in (*call.begins(), call.loses(500), *call.ends(lost_ms=500), late):
        book.take(event)
    lines = call_words(shown(book))
    assert any(
        "“늦은 말” (0.5 s, late, from the disk, 1 min 3 s after it was said)" in line for line in lines
    )
    assert losses(shown(book))[-1] == "  of it, 1 text came late, from the disk"
    assert times(shown(book)) == ["no session was ever opened"]


def test_packets_are_summed_over_the_taps_of_a_leg_and_told_while_it_lives() -> None:
    book, call = Book(), Told()
    for event in call.begins():
        book.take(event)
    for lost in (3, 4):
        book.note(call.note("packets in all", NoteKind.PACKETS, received=100, lost=lost))
    assert losses(shown(book))[-1] == "  on the way from the PBX: of 207 packets lost 7"
    book.stand([call.stands(received=50, lost=2)], now_s())
    assert losses(shown(book))[-1] == "  on the way from the PBX: of 259 packets lost 9"


def test_what_a_pause_kept_back_is_told_and_not_lost() -> None:
    book, call = Book(), Told()
    for event in call.begins():
        book.take(event)
    book.stand([call.stands(arrived_ms=9000, paused_ms=4000)], now_s())
    assert losses(shown(book)) == [
        "nothing, as far as is known",
        "caller: 4.0 s kept back by a pause: that is not lost",
    ]


def test_sums_of_a_story_whose_beginning_is_gone_say_so() -> None:
    book, call = Book(), Told()
    for event in call.begins():
        book.take(event)
    for number in range(MOST_NOTES + 50):
        book.take(call.says("네", 1000 + number))
    book.stand([call.stands(arrived_ms=90_000, lost_ms=1500)], now_s())
    story = shown(book)
    assert losses(story) == [
        "caller: 1.5 s of 1 min 30 s that arrived",
        "  1.5 s: earlier than what is kept above",
    ]
    assert times(story)[-1] == "of what is kept above; what came before is not in these sums"


@pytest.mark.parametrize("reason", list(GapReason))
def test_every_reason_of_a_gap_is_told_in_words(reason: GapReason) -> None:
    data = {"ms": 1200, "reason": reason.value, "spooled": True}
    told = phrase({"kind": "gap", "what": "audio lost", "data": data})
    assert told.startswith("1.2 s lost: ")
    assert told.endswith("; it is on the disk, and may follow")


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0, "0.0 s"), (3210, "3.2 s"), (59_990, "1 min 0 s"), (83_250, "1 min 23 s"), (3_720_000, "1 h 2 min")],
)
def test_lengths_are_told_in_their_biggest_units(ms: int, words: str) -> None:
    assert length(ms) == words


def test_call_time_is_told_in_tenths() -> None:
    assert (clock(83_250), clock(-5)) == ("01:23.2", "00:00.0")


def test_parties_that_are_not_kept_are_counted() -> None:
    book, call = Book(), Told()
    for event in call.begins():
        book.take(event)
    for number in range(MOST_LEGS + 1):
        member = Told(channel=f"member-{number}")
        for event in (member.begins()[1], member.ends()[0]):
            book.take(event)
    lines = call_words(shown(book))
    assert lines[MOST_LEGS + 1 : MOST_LEGS + 3] == ["  (not kept: 2 that ended earlier)", ""]
