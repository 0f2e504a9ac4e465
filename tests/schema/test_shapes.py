"""bridge/schema/shapes.py: every event that is made is told, to the last key, and little else passes."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge import events
from bridge.emulator.codebook import SENTENCES
from bridge.events import LegEvents
from bridge.schema import shapes
from bridge.spool.catchup import late_event
from bridge.types import Codec, Event, Gap, GapReason, LegId, Party, Role, Transcript, Word
from bridge.wire.cost import Cost
from bridge.wire.filestt import Utterance
from bridge.wire.ledger import Ledger
from bridge.wire.spoolfile import Job, LegHead
from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.site import SwitchThread
from tests.schema.closed import faults, references, resolved

DOCUMENT = shapes.events()
NAMES = {kind: name for name, kind in shapes.TYPES.items()}
LEG = LegId("1795366370.0", "1795366370.2")


def ledger() -> Ledger:
    found = Ledger(arrived=1000.4, sent=20, billed_s=10)
    for reason in GapReason:
        found.lose(10, reason)
    return found


def of_calls() -> dict[str, list[Event]]:
    """Of each function of bridge.events what it makes."""
    return {
        "call_started": [events.call_started("c", 20.4), events.call_started("c", 0, "sales")],
        "call_refused": [events.call_refused("c", 1, "rtp ports")],
        "call_merged": [events.call_merged("later", "older", 1234.4)],
        "call_paused": [events.call_paused("c", 1234.4, "consent")],
        "call_resumed": [events.call_resumed("c", 1234.4, "keys")],
        "call_ended": [
            events.call_ended("c", 5000, ledger(), 2, ["drain"], Cost(10, 2.777, 1.5, 0.4)),
            events.call_ended("c", 5000, Ledger(), 0, [], Cost()),
        ],
    }


def of_legs() -> dict[str, list[Event]]:
    """Of each method of LegEvents what it makes."""
    leg = LegEvents(LEG, Party(Role.CALLEE, "1588", "상담원", "PJSIP/1588-01"))
    words = (Word("예약", 1200, 1400, 0.9), Word("확인", 1460, 1660, 0.8))
    final = Transcript(LEG, "예약 확인", 1200, 1660, True, words)
    partial = Transcript(LEG, "예약", 1200, 1400, False)
    return {
        "started": [leg.started(codec) for codec in Codec],
        "transcript": [
            leg.transcript(one, 250, mixed=mixed) for one in (final, partial) for mixed in (False, True)
        ],
        "gap": [leg.gap(Gap(LEG, 100, 2000, 1900, reason), spooled=True) for reason in GapReason],
        "ended": [leg.ended("cause 16", Ledger()), leg.ended("lost", ledger(), ["drain"], "A0002")],
    }


def makers(of: object) -> set[str]:
    """Public functions that make an event."""
    found = inspect.getmembers(of, inspect.isfunction)
    return {name for name, one in found if one.__annotations__.get("return") in (Event, "Event")} - {"_make"}


def test_the_makers_are_all_tried() -> None:
    assert makers(events) == of_calls().keys()
    assert makers(LegEvents) == of_legs().keys()


MADE = [one for some in [*of_calls().values(), *of_legs().values()] for one in some]


def test_every_type_is_told_and_no_other() -> None:
    assert {event.type for event in MADE} == NAMES.keys()
    assert len(NAMES) == len(shapes.TYPES)


@pytest.mark.parametrize("event", MADE, ids=lambda event: event.type)
def test_every_event_is_told_to_the_last_key(event: Event) -> None:
    sent = json.loads(json.dumps(event.as_json()))
    assert faults(DOCUMENT, NAMES[event.type], sent) == []
    assert list(Draft202012Validator(DOCUMENT).iter_errors(sent)) == []


def test_a_late_final_is_told_too() -> None:
    job = Job(LegHead(leg=LEG, party=Party(Role.CALLER), codec=Codec.ULAW, began=1_795_366_370.0), 1000, 3000)
    event = late_event(job, 0, Utterance("늦은 말", 0, 900), 1_795_366_999.0)
    assert faults(DOCUMENT, "TranscriptFinal", event.as_json()) == []


def optional(name: str) -> set[str]:
    data = DOCUMENT["$defs"][name]["properties"]["data"]
    return set(data["properties"]) - set(data["required"])


def test_what_may_be_absent_is_absent_somewhere_and_there_elsewhere() -> None:
    for name, kind in shapes.TYPES.items():
        given = [set(event.data) for event in MADE if event.type == kind]
        always = set.intersection(*given)
        assert optional(name) - {"late"} == set.union(*given) - always, kind


def spoilt(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event with something missing, or of another kind."""
    for key in event:
        yield {name: value for name, value in event.items() if name != key}
        yield {**event, key: [None]}
    for key in event["data"]:
        yield {**event, "data": {**event["data"], key: {"x": None}}}
    yield {**event, "type": "rtzr.other"}


@pytest.mark.parametrize("event", MADE, ids=lambda event: event.type)
def test_what_is_spoilt_is_no_event(event: Event) -> None:
    checker = Draft202012Validator(DOCUMENT)
    # An object that has only optional keys takes any other.
    passed = [one for one in spoilt(event.as_json()) if checker.is_valid(one)]
    assert passed == []


def test_a_receiver_may_see_more_than_is_told() -> None:
    event = events.call_started("c", 1).as_json()
    grown = {**event, "traceparent": "00-1", "data": {**event["data"], "new": 1}}
    assert Draft202012Validator(DOCUMENT).is_valid(grown)
    assert len(faults(DOCUMENT, "CallStarted", grown)) == 2  # but here it would have been found


def test_the_document_is_a_schema_and_every_reference_leads_somewhere() -> None:
    Draft202012Validator.check_schema(DOCUMENT)
    for reference in references(DOCUMENT):
        assert resolved(DOCUMENT, reference)
    assert {f"#/$defs/{name}" for name in DOCUMENT["$defs"]} == references(DOCUMENT)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events that a daemon wrote of a real call: two people say a sentence each."""
    folder = tmp_path_factory.mktemp("recorded")
    with (
        EmulatorProcess(folder, "--recognition-ms", "100") as emulator,
        SwitchThread() as pbx,
        FreeSwitchBridge(pbx.port, emulator, folder) as bridge,
    ):
        call = pbx.call()
        pbx.say((call.caller, 0), (call.callee, 1))
        pbx.do(call.hang_up())
        bridge.wait_for_end(call.uuid)
        return bridge.events()


def test_events_of_a_real_run_are_told_to_the_last_key(recorded: list[dict[str, Any]]) -> None:
    seen = {event["type"] for event in recorded}
    seldom = {
        f"rtzr.{name}" for name in ("call.refused", "call.merged", "call.paused", "call.resumed", "gap")
    }
    assert seen >= NAMES.keys() - seldom
    assert {event["data"].get("text") for event in recorded} >= set(SENTENCES[:2])
    assert {event["id"]: faults(DOCUMENT, NAMES[event["type"]], event) for event in recorded} == {
        event["id"]: [] for event in recorded
    }
