"""bridge/wire/ami.py on messages of a real Asterisk 22 (captures/asterisk/ami.txt), whole and broken."""

from collections.abc import Mapping
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from panoramisk.message import Message

from bridge.types import Codec
from bridge.wire import ami
from bridge.wire.ami import AmiError, Reader
from bridge.wire.pbxevents import (
    ChannelCreated,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelHold,
    ChannelStateChange,
    ChannelUnhold,
    ChannelUserevent,
    ChannelVarset,
    Dial,
    PbxError,
    PbxEvent,
)
from tests.orders import order

CAPTURE = Path(__file__).parents[1] / "captures" / "asterisk" / "ami.txt"
RECORDED: list[Mapping[str, Any]] = [
    message
    for part in CAPTURE.read_bytes().decode().split("\r\n\r\n")
    if (message := Message.from_line(part.strip())) is not None
]


def reply(action: str) -> Mapping[str, Any]:
    return next(one for one in RECORDED if one.get("actionid") == action)


def events(reader: Reader) -> list[PbxEvent]:
    read = (reader.event(message, 1000.0 + at) for at, message in enumerate(RECORDED))
    return [event for event in read if event is not None]


def test_a_call_is_read_from_its_first_channel_to_its_last() -> None:
    seen = events(Reader())
    created = [event.channel for event in seen if isinstance(event, ChannelCreated)]
    destroyed = [event.channel.id for event in seen if isinstance(event, ChannelDestroyed)]
    assert sorted(one.id for one in created) == sorted(destroyed)
    phone, caller = created[0], created[1]
    assert (phone.state, caller.state, caller.calls) == ("Down", "Ring", True)
    assert (phone.number, phone.caller_name, phone.context) == ("", "", "from-phones")
    announced = next(event for event in seen if isinstance(event, ChannelUserevent))
    assert announced.channel is not None
    assert announced.channel.id == caller.id
    assert announced.fields == {"Call": f"{phone.id}/{caller.id}"}
    assert (announced.name, announced.channel.number) == ("RTZR", "0212345678")
    dials = [event for event in seen if isinstance(event, Dial) and event.caller is not None]
    assert [event.status for event in dials] == ["", "RINGING", "ANSWER"]
    assert {event.peer.id for event in dials} == {created[2].id}
    assert any(isinstance(event, ChannelStateChange) and event.channel.up for event in seen)
    assert sum(isinstance(event, ChannelEnteredBridge) for event in seen) == 2
    variable = next(event for event in seen if isinstance(event, ChannelVarset))
    assert variable.variable == "CALLER_SCRIPT"


def test_a_channel_is_as_old_as_its_first_message() -> None:
    seen = events(Reader())
    first = next(event for event in seen if isinstance(event, ChannelCreated))
    last = next(
        event
        for event in seen
        if isinstance(event, ChannelDestroyed) and event.channel.id == first.channel.id
    )
    assert last.channel.created == first.at < last.at


def test_channels_that_are_listed_have_an_application_and_an_age() -> None:
    found = Reader().channels([one for one in RECORDED if one.get("actionid") == "csc"], 5000.0)
    assert len(found) == 5
    assert {one.application for one in found} >= {"Dial", "AppDial", "ChanSpy"}
    old = {"Event": "CoreShowChannel", "Channel": "PJSIP/a-1", "Uniqueid": "1.1", "Duration": "01:02:03"}
    (channel,) = Reader().channels([old], 5000.0)
    assert channel.created == 5000.0 - 3723


def test_a_caller_who_waits_in_a_queue_is_there_until_it_is_gone() -> None:
    reader, head = Reader(), {"Channel": "PJSIP/a-1", "Uniqueid": "1.1", "Cause": "16"}
    assert reader.event({"Event": "QueueCallerJoin", "Queue": "sales", **head}, 1.0) is None
    event = reader.event({"Event": "Newstate", **head}, 2.0)
    assert isinstance(event, ChannelStateChange)
    assert (event.channel.application, event.channel.application_data) == ("Queue", "sales")
    gone = reader.event({"Event": "Hangup", **head}, 3.0)
    assert isinstance(gone, ChannelDestroyed)
    assert gone.cause == 16
    again = reader.event({"Event": "Newstate", **head}, 4.0)
    assert isinstance(again, ChannelStateChange)
    assert again.channel.application == ""


def test_quotes_in_a_name_are_read_back() -> None:
    message = {"Event": "Newchannel", "Channel": "x", "Uniqueid": "1", "CallerIDName": '홍 \\"길동\\" \\\\'}
    event = Reader().event(message, 0.0)
    assert isinstance(event, ChannelCreated)
    assert event.channel.caller_name == '홍 "길동" \\'


def test_replies() -> None:
    assert ami.refusal(reply("gv1")) is None
    assert ami.refusal(reply("gv3")) == "No such channel"
    assert ami.refusal(reply("cmd")) == "Permission denied"
    assert ami.rights(reply("lc")) == ([], [])
    assert ami.rights({"Response": "Success", "Command": "", "ModuleLoad": ""}) == (
        ["call", "originate", "reporting"],
        ["command", "system"],
    )
    pbx = ami.info(reply("cs"), reply("cst"))
    assert pbx.version.startswith("22.10.1")
    assert pbx.started > 1_700_000_000
    with pytest.raises(AmiError):
        ami.info({}, {})


def test_a_secret_never_goes_over_the_line() -> None:
    action = ami.login("user", "the secret", "12345", "call")
    assert "the secret" not in str(action)
    assert action["Key"] == md5(b"12345the secret").hexdigest()


def test_a_tap_needs_no_dialplan() -> None:
    action = ami.originate_tap(order("rtzr.tap.1", "1.5", 40_000, codec=Codec.ALAW))
    assert action["Channel"] == "UnicastRTP/127.0.0.1:40000/c(alaw)"
    assert (action["Application"], action["Data"], action["Variable"]) == (
        "ChanSpy",
        "1.5,qouES",
        "CDR_PROP(disable)=1",
    )


@given(st.text(max_size=40), st.sampled_from("\r\n\0"), st.text(max_size=40))
def test_a_field_can_be_no_more_than_one(before: str, sign: str, after: str) -> None:
    with pytest.raises(AmiError):
        ami.written(Action="Getvar", Channel=before + sign + after)
    with pytest.raises(PbxError):
        ami.originate_tap(order("tap", before + sign + after))


HEADERS = [
    "Channel",
    "Uniqueid",
    "DestUniqueid",
    "DestChannel",
    "Cause",
    "Duration",
    "BridgeUniqueid",
    "Queue",
]


@given(
    st.sampled_from([*ami._DIALS, *ami._SET, *ami._HAPPENED, "CoreShowChannel", "Nonsense", ""]),
    st.dictionaries(
        st.sampled_from(HEADERS), st.text(max_size=20) | st.lists(st.text(max_size=5), min_size=1)
    ),
)
def test_any_message_is_an_event_or_none_or_an_error(kind: str, headers: dict[str, Any]) -> None:
    reader, message = Reader(), {"Event": kind, **headers}
    with suppress(AmiError):
        event = reader.event(message, 0.0)
        assert event is None or event.at == 0.0
        assert len(reader.channels([message], 0.0)) == (kind == "CoreShowChannel")


def test_what_is_asked_of_no_channel() -> None:
    wanted = {"Action": "Getvar", "Variable": "AST_CONFIG(rtp.conf,general,rtpstart)"}
    assert ami.setting("rtp.conf", "rtpstart") == wanted


def test_who_holds_the_other_party_is_told() -> None:
    recorded = (CAPTURE.parent / "people" / "hold.ami.txt").read_bytes().decode()
    messages = [Message.from_line(part.strip()) for part in recorded.split("\r\n\r\n")]
    reader = Reader()
    read = [reader.event(message, 1000.0) for message in messages if message is not None]
    held = [one for one in read if isinstance(one, ChannelHold | ChannelUnhold)]
    assert [type(one) for one in held] == [ChannelHold, ChannelUnhold]
    assert held[0].channel.id == held[1].channel.id


def test_a_key_is_told_where_it_came_from_its_telephone() -> None:
    key = {"Event": "DTMFEnd", "Uniqueid": "1", "Channel": "PJSIP/1", "Digit": "7", "Direction": "Received"}
    pressed = Reader().event(key, 5.0)
    assert isinstance(pressed, ChannelDtmfReceived)
    assert (pressed.channel.id, pressed.digit) == ("1", "7")
    assert Reader().event(key | {"Direction": "Sent"}, 5.0) is None
