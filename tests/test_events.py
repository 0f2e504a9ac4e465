"""The events' shapes: what every sink and receiver may rely on."""

import json
from datetime import datetime

from bridge import events
from bridge.events import LegEvents
from bridge.types import Codec, Event, Gap, GapReason, LegId, Party, Role, Transcript, Word
from bridge.wire.cost import Cost
from bridge.wire.ledger import Ledger

LEG = LegId("1795366370.0", "1795366370.2")
PARTY = Party(Role.CALLEE, "1588", "상담원", "PJSIP/1588-01")


def transcript(*, final: bool) -> Transcript:
    words = (Word("예약", 1200, 1400, 0.9), Word("확인", 1460, 1660, 0.8)) if final else ()
    return Transcript(LEG, "예약 확인", 1200, 1660, final, words)


def all_of(leg: LegEvents) -> list[Event]:
    return [
        leg.started(Codec.ULAW),
        leg.transcript(transcript(final=False), 120),
        leg.transcript(transcript(final=True), 250),
        leg.gap(Gap(LEG, 100, 2000, 1900, GapReason.REFUSED)),
        leg.ended("cause 16", Ledger(arrived=10, sent=10)),
    ]


def test_every_event_is_a_cloudevent_of_its_call() -> None:
    made = [
        *all_of(LegEvents(LEG, PARTY)),
        events.call_started(LEG.call, 20.4),
        events.call_ended(LEG.call, 5000, Ledger(), 2, [], Cost()),
    ]
    for event in made:
        envelope = json.loads(json.dumps(event.as_json(), ensure_ascii=False))
        assert envelope["specversion"] == "1.0"
        assert envelope["type"] == event.type
        assert envelope["type"].startswith("rtzr.")
        assert envelope["subject"] == LEG.call
        assert envelope["datacontenttype"] == "application/json"
        assert datetime.fromisoformat(envelope["time"]).tzinfo is not None
    assert len({event.id for event in made}) == len(made)


def test_types_in_the_order_of_a_leg() -> None:
    assert [event.type for event in all_of(LegEvents(LEG, PARTY))] == [
        "rtzr.leg.started",
        "rtzr.transcript.partial",
        "rtzr.transcript.final",
        "rtzr.gap",
        "rtzr.leg.ended",
    ]


def test_an_id_is_the_leg_a_tag_and_a_number_that_grows() -> None:
    ids = [event.id for event in all_of(LegEvents(LEG, PARTY))]
    life = ids[0].removeprefix(f"{LEG}/").partition("/")[0]
    assert len(life) == 8
    assert ids == [f"{LEG}/{life}/{number}" for number in range(1, 6)]


def test_a_bridge_that_comes_back_in_mid_call_repeats_no_id_whatever_the_clock_says() -> None:
    """The PBX's clock can have been set back: then the call is younger than it was."""

    def life() -> set[str]:
        of_call = (
            events.call_started("c", 20),
            events.call_refused("c", 20, "cpu"),
            events.call_merged("c", "d", 20),
            events.call_ended("c", 20, Ledger(), 2, [], Cost()),
        )
        return {event.id for event in (*all_of(LegEvents(LEG, PARTY)), *of_call)}

    before, after = life(), life()
    assert len(before) == len(after) == 9
    assert not before & after


def test_every_event_of_a_leg_says_who_it_is_about() -> None:
    for event in all_of(LegEvents(LEG, PARTY)):
        assert event.data["leg"] == str(LEG)
        assert event.data["channel"] == LEG.channel
        who = {"role": "callee", "number": "1588", "name": "상담원", "channel": "PJSIP/1588-01"}
        assert event.data["party"] == who


def test_who_it_is_can_be_known_later() -> None:
    leg = LegEvents(LEG, Party(Role.CALLEE))
    before = leg.started(Codec.ULAW)
    leg.know(PARTY)
    assert before.data["party"]["number"] == ""
    assert leg.started(Codec.ULAW).data["party"]["number"] == "1588"


def test_two_calls_that_meet_keep_their_ids() -> None:
    event = events.call_merged("later", "older", 1234.4)
    assert (event.type, event.subject) == ("rtzr.call.merged", "later")
    assert event.data == {"at_ms": 1234, "into": "older"}


def test_only_a_final_has_words() -> None:
    partial, final = all_of(LegEvents(LEG, PARTY))[1:3]
    assert "words" not in partial.data
    assert final.data["text"] == "예약 확인"
    assert final.data["words"][1] == {"text": "확인", "start_ms": 1460, "end_ms": 1660, "confidence": 0.8}
    assert (final.data["start_ms"], final.data["end_ms"], final.data["latency_ms"]) == (1200, 1660, 250)


def test_the_end_of_a_call_has_the_verdict_and_the_numbers() -> None:
    ledger = Ledger(arrived=20, sent=10)
    ledger.lose(10, GapReason.DRAIN)
    whole = events.call_ended("c", 9, Ledger(), 2, [], Cost())
    part = events.call_ended("c", 9, ledger, 2, ["drain"], Cost())
    assert (whole.data["verdict"], part.data["verdict"]) == ("complete", "partial")
    assert part.data["reasons"] == ["drain"]
    assert part.data["ledger"]["lost"] == {"drain": 10}


def test_no_text_number_or_name_in_a_repr() -> None:
    said = repr(all_of(LegEvents(LEG, PARTY)))
    assert "예약" not in said
    assert "1588" not in said
    assert "상담원" not in said
