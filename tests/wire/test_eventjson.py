"""bridge/wire/eventjson.py: what is written is JSON and UTF-8, and tells the same event from another one."""

import json
from dataclasses import replace

import pytest

from bridge.types import Event
from bridge.wire.eventjson import clean, encoded, fingerprint, renamed

EVENT = Event("c/1", "rtzr.transcript.final", "c", "2026-01-01T00:00:00Z", {"text": "네", "latency_ms": 9})
LATE = replace(EVENT, data={**EVENT.data, "late": True})


def strict(body: bytes) -> object:
    def no(text: str) -> None:
        raise AssertionError(text)

    return json.loads(body, parse_constant=no)


def test_it_is_json_on_one_line() -> None:
    body = encoded(replace(EVENT, data={"text": "가\n\u2028"}))
    assert strict(body) == replace(EVENT, data={"text": "가\n\u2028"}).as_json()
    assert b"\n" not in body
    assert "가".encode() in body


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_no_json(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encoded(replace(EVENT, data={"words": [{"confidence": number}]}))


def test_half_a_surrogate_pair_stays_what_it_is_in_json_and_is_written_out_in_a_key() -> None:
    assert strict(encoded(replace(EVENT, id="\udcff"))) == replace(EVENT, id="\udcff").as_json()
    assert clean("a\ud800") == "a\\ud800"


def test_only_a_late_transcript_is_the_same_at_another_time() -> None:
    def again(event: Event) -> Event:
        return replace(event, time="2026-01-01T00:09:00Z", data={**event.data, "latency_ms": 999})

    assert fingerprint(encoded(LATE)) == fingerprint(encoded(again(LATE)))
    assert fingerprint(encoded(EVENT)) != fingerprint(encoded(again(EVENT)))
    other = replace(LATE, data={**LATE.data, "text": "아니요"})
    assert fingerprint(encoded(LATE)) != fingerprint(encoded(other))
    assert len(fingerprint(encoded(LATE))) == 16


@pytest.mark.parametrize("damaged", [b'"late":true', b'{"late":true}', b'{"late":true,"data":[]}', b"\xff"])
def test_what_was_damaged_on_the_disk_has_one_too(damaged: bytes) -> None:
    assert len(fingerprint(damaged)) == 16


def test_under_another_name_it_is_the_same_event() -> None:
    assert strict(renamed(encoded(EVENT), "n")) == replace(EVENT, id="n").as_json()
