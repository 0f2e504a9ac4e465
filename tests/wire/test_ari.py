"""ARI's messages as a real Asterisk 22.10.1 sent them, whole, cut and spoilt; and the requests we make."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import ari, pbxevents

CAPTURES = Path(__file__).parents[1] / "captures" / "asterisk"
EVENTS: list[dict[str, Any]] = json.loads((CAPTURES / "events.json").read_text())
OURS = [event for event in EVENTS if ari.parse(json.dumps(event)) is not None]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def recorded(kind: str) -> list[Any]:
    """The recorded events of a type, parsed."""
    return [ari.parse(json.dumps(event)) for event in EVENTS if event["type"] == kind]


def test_every_recorded_event_of_ours_is_read_and_no_other() -> None:
    kinds = {event["type"] for event in EVENTS}
    assert {type(ari.parse(json.dumps(event))).__name__ for event in OURS} == {
        event["type"] for event in OURS
    }
    assert kinds - {event["type"] for event in OURS} == {
        "BridgeCreated",
        "BridgeDestroyed",
        "ChannelConnectedLine",
        "ChannelDialplan",
    }


def test_announcement_carries_the_mark() -> None:
    (event,) = recorded("ChannelUserevent")
    assert event.name == "RTZR"
    assert event.channel is not None
    assert event.fields["Call"].endswith(f"/{event.channel.id}")


def test_call_begins_rings_and_is_answered() -> None:
    dials = [event for event in recorded("Dial") if event.caller is not None]
    assert [event.status for event in dials] == ["", "RINGING", "ANSWER"]
    assert [event.peer.state for event in dials] == ["Down", "Ringing", "Up"]
    assert [event.peer.up for event in dials] == [False, False, True]
    assert {event.caller.number for event in dials} == {"0212345678"}
    assert len({event.peer.id for event in dials}) == 1
    assert 0.3 < dials[2].at - dials[0].at < 0.8, "the phone rang 0.4 s"


def test_destroyed_says_why() -> None:
    destroyed = recorded("ChannelDestroyed")
    assert len(destroyed) == 5
    assert {event.cause for event in destroyed} == {16}
    assert all(event.channel.created < event.at for event in destroyed)


def test_bridge_is_entered_and_left() -> None:
    entered, left = recorded("ChannelEnteredBridge"), recorded("ChannelLeftBridge")
    assert {(event.channel.id, event.bridge) for event in entered} == {
        (event.channel.id, event.bridge) for event in left
    }


def test_who_holds_the_other_party_is_told() -> None:
    lines = (CAPTURES / "people" / "hold.ari.jsonl").read_text().splitlines()
    read = [ari.parse(line) for line in lines if '"type":"Channel' in line and "old" in line]
    held = [one for one in read if isinstance(one, pbxevents.ChannelHold | pbxevents.ChannelUnhold)]
    assert [type(one).__name__ for one in held] == ["ChannelHold", "ChannelUnhold"]
    assert held[0].channel.id == held[1].channel.id


def test_replies_are_read() -> None:
    channels, unread = ari.channels((CAPTURES / "channels.json").read_bytes())
    assert (len(channels), unread) == (5, 0)
    (tap,) = (channel for channel in channels if channel.application == "ChanSpy")
    assert tap.id == f"tap-{tap.application_data.split(',')[0]}"
    (bridge, *_), unread = ari.bridges((CAPTURES / "bridges.json").read_bytes())
    assert bridge.id
    assert unread == 0
    assert ari.pbx((CAPTURES / "info.json").read_bytes()).version.startswith("22.")
    assert ari.one_channel(json.dumps(EVENTS[0]["channel"])).id == EVENTS[0]["channel"]["id"]
    assert ari.value('{"value":"x"}') == "x"


@pytest.mark.parametrize("event", OURS, ids=lambda event: str(event["type"]))
def test_cut_anywhere_is_refused(event: dict[str, Any]) -> None:
    text = json.dumps(event)
    for end in range(len(text)):
        with pytest.raises(ari.AriError):
            ari.parse(text[:end])


@given(st.text() | st.binary())
def test_noise_is_refused(noise: str | bytes) -> None:
    try:
        ari.parse(noise)
    except ari.AriError:
        return
    raise AssertionError("noise was taken for an event")


@given(st.sampled_from(OURS), st.data())
def test_spoilt_event_is_read_or_refused(event: dict[str, Any], data: st.DataObject) -> None:
    spoilt = json.loads(json.dumps(event))
    place = spoilt
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not (isinstance(place[key], dict) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    with suppress(ari.AriError):
        ari.parse(json.dumps(spoilt))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"type":"ChannelCreated","timestamp":"' + "9" * 5000 + '"}',
        " " * (1 << 20) + "{}",
        '{"type":' + "9" * 5000 + "}",
        '{"type":"ApplicationReplaced","timestamp":"2026-11-22T16:40:49.298"}',
    ],
    ids=["deep", "long", "huge", "digits", "no zone"],
)
def test_bounds_hold(text: str) -> None:
    with pytest.raises(ari.AriError):
        ari.parse(text)


def test_long_text_is_cut_and_costs_no_event() -> None:
    event = next(event for event in OURS if event["type"] == "ChannelStateChange")
    spoken = json.loads(json.dumps(event))
    spoken["channel"]["dialplan"]["app_data"] = "PJSIP/100&" * 1000
    read = ari.parse(json.dumps(spoken))
    assert isinstance(read, pbxevents.ChannelStateChange)
    assert read.channel.id == event["channel"]["id"]
    assert read.channel.application_data == ("PJSIP/100&" * 1000)[:4096]


@pytest.mark.parametrize("name", ["channels", "bridges"])
def test_what_cannot_be_read_of_a_list_costs_no_other(name: str) -> None:
    read = getattr(ari, name)
    listed = json.loads((CAPTURES / f"{name}.json").read_bytes())
    whole, _ = read(json.dumps(listed))
    assert read(json.dumps([{"id": 7}, *listed, None])) == (whole, 2)


def test_user_event_without_a_channel() -> None:
    event = ari.parse(
        '{"type":"ChannelUserevent","timestamp":"2026-11-22T16:40:49.298+0900","eventname":"RTZR","userevent":{"n":1}}'
    )
    assert event == pbxevents.ChannelUserevent(1795333249.298, None, "RTZR", {})


def test_time_stamps_carry_their_zone() -> None:
    assert (
        ari.seconds("2026-11-22T16:40:49.298+0000") - ari.seconds("2026-11-22T16:40:49.298+0900") == 9 * 3600
    )


def test_numbers_and_names_stay_out_of_a_repr() -> None:
    dialled = next(event for event in recorded("Dial") if event.caller is not None)
    assert dialled.caller.number
    assert dialled.caller.number not in repr(dialled)


def test_complaint_is_one_short_line() -> None:
    assert ari.complaint('{"message":"Channel not\\nfound"}') == "Channel not found"
    assert ari.complaint('{"error":"Allocation failed"}') == "Allocation failed"
    assert ari.complaint("<html>") == ""
    assert len(ari.complaint(json.dumps({"message": "x" * 5000}))) == 200
