"""What a FreeSWITCH tells, as the roster is told of it: recorded events of a real one, and made-up ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.types import Role
from bridge.wire.esl import EslEvent
from bridge.wire.freeswitch import (
    ANNOUNCED,
    CHECK,
    CONFERENCE,
    PAUSE,
    Follower,
    cause_of,
    tone_call,
)
from bridge.wire.pbxevents import (
    ChannelCreated,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelLeftBridge,
    ChannelStateChange,
    ChannelUserevent,
    ChannelVarset,
    Dial,
    PbxError,
    PbxEvent,
)

CAPTURES = Path(__file__).parent.parent / "captures" / "freeswitch"


def recorded(name: str) -> Iterator[EslEvent]:
    for line in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line).get("event")
        if event is not None:
            headers = {key: str(value) for key, value in event.items()}
            yield EslEvent(headers["Event-Name"], headers.get("Event-Subclass", ""), headers, "")


def followed(name: str, follower: Follower | None = None) -> list[PbxEvent]:
    follower = follower or Follower()
    return [each for event in recorded(name) for each in follower.take(event)]


def told(events: list[PbxEvent]) -> list[str]:
    """Each in a few words; channels by the last four of their ids."""
    words = []
    for event in events:
        match event:
            case ChannelCreated(channel=channel):
                words.append(f"{channel.id[-4:]} made {channel.state}")
            case Dial(caller=caller, peer=peer):
                words.append(f"{caller.id[-4:] if caller else 'nobody'} dials {peer.id[-4:]}")
            case ChannelStateChange(channel=channel):
                words.append(f"{channel.id[-4:]} {channel.state}")
            case ChannelEnteredBridge(channel=channel):
                words.append(f"{channel.id[-4:]} meets")
            case ChannelLeftBridge(channel=channel):
                words.append(f"{channel.id[-4:]} leaves")
            case ChannelDestroyed(channel=channel, cause=cause):
                words.append(f"{channel.id[-4:]} gone {cause}")
    return words


def test_a_call_from_ring_to_hang_up() -> None:
    assert told(followed("mas-01-mono-8k-caller-hangup")) == [
        "6c4b made Ring",
        "6d6a made Down",
        "6c4b dials 6d6a",
        "6c4b Up",
        "6d6a Up",
        "6c4b meets",
        "6d6a meets",
        "6c4b gone 16",
        "6d6a gone 16",
    ]


def test_who_is_who() -> None:
    made = [
        event.channel
        for event in followed("mas-01-mono-8k-caller-hangup")
        if isinstance(event, ChannelCreated)
    ]
    caller, callee = (made[0].party(Role.CALLER), made[1].party(Role.CALLEE))
    assert (caller.number, caller.name) == ("1001", "Alice Caller")
    assert (callee.number, callee.name) == ("2000", "")
    assert made[0].created == pytest.approx(1795344403.172469)
    assert (made[0].context, made[0].extension) == ("default", "2000")
    assert not made[0].dialled
    assert made[1].dialled


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("call-20-rejected-486", [17, 17]),
        ("call-22-caller-cancel", [16, 16]),
        ("call-28-uuid_kill", [21, 16]),
    ],
)
def test_how_calls_end(name: str, causes: list[int]) -> None:
    gone = [event for event in followed(name) if isinstance(event, ChannelDestroyed)]
    assert sorted(event.cause for event in gone) == sorted(causes)
    met = [event for event in followed(name) if isinstance(event, ChannelEnteredBridge)]
    assert bool(met) == (name == "call-28-uuid_kill")


def test_a_transferred_caller_keeps_its_channel() -> None:
    assert told(followed("call-27-blind-transfer-A"))[-5:] == [
        "fa8d meets",
        "81f2 meets",
        "81f2 gone 16",
        "fa8d leaves",
        "fa8d gone 16",
    ]


def test_in_a_click_to_call_the_first_leg_dials_the_second() -> None:
    events = followed("call-50-originate-two-legs-bridge")
    assert told(events)[:4] == ["5555 made Down", "nobody dials 5555", "aaaa made Down", "5555 dials aaaa"]


def test_whose_call_a_channel_was_made_for() -> None:
    follower = Follower()
    a, b = "ea5d23ba-c404-4a80-b572-cb8b00366c4b", "6f5a637c-c6d4-44df-95c5-3c25f1c36d6a"
    for event in recorded("mas-01-mono-8k-caller-hangup"):
        if event.name == "CHANNEL_HANGUP":
            break
        follower.take(event)
    assert (follower.call_of(a), follower.call_of(b), follower.call_of("x")) == (a, a, None)


def test_every_recorded_event_can_be_read() -> None:
    for path in CAPTURES.glob("*.jsonl"):
        if not path.name.startswith("esl-"):
            events = followed(path.stem)
            made = {event.channel.id for event in events if isinstance(event, ChannelCreated)}
            gone = [event.channel.id for event in events if isinstance(event, ChannelDestroyed)]
            assert len(gone) == len(set(gone))
            assert path.stem.startswith("fs-53") or made == set(gone), path.stem


# What no recording has.


def event(name: str, channel: str = "a", subclass: str = "", **headers: str) -> EslEvent:
    usual = {
        "Event-Name": name,
        "Unique-ID": channel,
        "Event-Date-Timestamp": "1795344403172469",
        "Caller-Channel-Created-Time": "1795344403172469",
        "Call-Direction": "inbound",
    }
    given = {key.replace("_", "-"): value for key, value in headers.items() if not key.startswith("variable")}
    variables = {key: value for key, value in headers.items() if key.startswith("variable")}
    return EslEvent(name, subclass, {**usual, **given, **variables}, "")


def test_a_conference_is_known_by_its_name_as_lists_tell_no_other() -> None:
    headers = {"Action": "add-member", "Conference_Name": "room", "Conference_Unique_ID": "c0ffee"}
    _, entered = Follower().take(event("CUSTOM", subclass=CONFERENCE, **headers))
    assert isinstance(entered, ChannelEnteredBridge)
    assert entered.bridge == "conference.room"


def test_an_announced_call_is_up_with_its_answer() -> None:
    follower = Follower()
    follower.take(event("CHANNEL_CREATE"))
    (announced,) = follower.take(event("CUSTOM", subclass=ANNOUNCED, variable_RTZR_CALL="a/a"))
    assert isinstance(announced, ChannelUserevent)
    assert announced.fields == {"Call": "a/a"}
    assert told(follower.take(event("CHANNEL_ANSWER"))) == ["a Up"]


def test_a_call_that_is_announced_after_its_answer_is_up_at_once() -> None:
    follower = Follower()
    follower.take(event("CHANNEL_CREATE"))
    follower.take(event("CHANNEL_ANSWER"))
    assert told(follower.take(event("CUSTOM", subclass=ANNOUNCED))) == ["a Up"]


def test_who_is_in_a_conference_hears_the_others() -> None:
    follower = Follower()
    follower.take(event("CHANNEL_CREATE"))
    came = follower.take(event("CUSTOM", subclass=CONFERENCE, Action="add-member", Conference_Name="room"))
    went = follower.take(event("CUSTOM", subclass=CONFERENCE, Action="del-member", Conference_Name="room"))
    assert told(came) == ["a Up", "a meets"]
    assert told(went) == ["a leaves"]
    assert isinstance(came[1], ChannelEnteredBridge)
    assert isinstance(went[0], ChannelLeftBridge)
    assert came[1].bridge == went[0].bridge


def test_wanted_variables_are_told_of_once() -> None:
    follower = Follower(frozenset({"tenant"}))
    created = follower.take(event("CHANNEL_CREATE", variable_tenant="acme", variable_other="x"))
    assert [(one.variable, one.value) for one in created if isinstance(one, ChannelVarset)] == [
        ("tenant", "acme")
    ]
    assert follower.take(event("CHANNEL_EXECUTE_COMPLETE", variable_tenant="acme")) == []


def test_where_a_dialled_channel_leads_its_profile_tells() -> None:
    follower = Follower()
    follower.take(
        event("CHANNEL_CREATE", Channel_Name="sofia/internal/1001@192.0.2.1", Caller_Context="default")
    )
    out = {"Channel_Name": "sofia/external/0212345678@kt", "Caller_Context": "default"}
    called = {"Call_Direction": "outbound", "Other_Type": "originator", "Other_Leg_Unique_ID": "a"}
    follower.take(event("CHANNEL_CREATE", "b", **out, **called))
    (dial,) = follower.take(event("CHANNEL_ORIGINATE", "b", **out, **called))
    assert isinstance(dial, Dial)
    assert dial.caller is not None
    assert (dial.caller.context, dial.peer.context) == ("default", "external")


def test_who_waits_in_a_queue_is_known_to() -> None:
    follower = Follower()
    (made,) = follower.take(event("CHANNEL_CREATE"))
    event_b = {"Bridge_A_Unique_ID": "a", "Bridge_B_Unique_ID": "b"}
    up, *_ = follower.take(event("CHANNEL_BRIDGE", variable_cc_queue="sales@default", **event_b))
    assert isinstance(made, ChannelCreated)
    assert isinstance(up, ChannelStateChange)
    assert (made.channel.application, up.channel.application_data) == ("", "sales@default")


@pytest.mark.parametrize(
    "wrong", [{"Unique_ID": ""}, {"Event_Date_Timestamp": "soon"}, {"Event_Date_Timestamp": "9" * 30}]
)
def test_what_cannot_be_read_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(PbxError):
        Follower().take(event("CHANNEL_CREATE", **wrong))


def test_unknown_causes_are_none() -> None:
    assert (cause_of("USER_BUSY"), cause_of("NEWER_THAN_US"), cause_of("")) == (17, 0, 0)


def through_loopback(follower: Follower, *, dialled: bool = True) -> list[PbxEvent]:
    """`a` dials `loopback/2000`, of which the far half dials `b`; or somebody in the PBX itself dials it.

    Source: mod_loopback.c: the far half is a channel that came in, and its variable names the near one.
    """
    near, far = {"Channel_Name": "loopback/2000-a"}, {"Channel_Name": "loopback/2000-b"}
    by_a = by("a") if dialled else {"Call_Direction": "outbound"}
    return [
        each
        for one in (
            event("CHANNEL_CREATE", "a", Channel_Name="sofia/lo/1001"),
            event("CHANNEL_CREATE", "near", **near, **by_a),
            event("CHANNEL_ORIGINATE", "near", **near, **by_a),
            event("CHANNEL_CREATE", "far", **far, variable_other_loopback_leg_uuid="near"),
            event("CHANNEL_CREATE", "b", Channel_Name="sofia/lo/2000", **by("far")),
            event("CHANNEL_ORIGINATE", "b", Channel_Name="sofia/lo/2000", **by("far")),
            *(event("CHANNEL_ANSWER", id_) for id_ in ("b", "far", "near", "a")),
            event("CHANNEL_BRIDGE", "far", Bridge_A_Unique_ID="far", Bridge_B_Unique_ID="b"),
            event("CHANNEL_BRIDGE", "a", Bridge_A_Unique_ID="a", Bridge_B_Unique_ID="near"),
        )
        for each in follower.take(one)
    ]


def by(originator: str) -> dict[str, str]:
    return {"Call_Direction": "outbound", "Other_Type": "originator", "Other_Leg_Unique_ID": originator}


def test_who_is_behind_a_loopback_is_called_by_whoever_is_before_it_and_its_halves_are_nobody() -> None:
    follower = Follower()
    assert told(through_loopback(follower)) == [
        "a made Ring", "b made Down", "a dials b", "b Up", "b meets", "a Up", "a meets",
    ]  # fmt: skip
    assert follower.call_of("b") == "a"
    for half in ("near", "far"):  # it bows out
        assert follower.take(event("CHANNEL_HANGUP", half)) == []
        assert follower.take(event("CHANNEL_DESTROY", half)) == []
    assert follower.call_of("b") == "a"


def test_who_is_bridged_with_a_loopback_that_nobody_dialled_calls_whoever_is_behind_it() -> None:
    """So mod_callcenter reaches an agent."""
    follower = Follower()
    events = told(through_loopback(follower, dialled=False))
    assert events == [
        "a made Ring",
        "b made Down",
        "nobody dials b",
        "b Up",
        "b meets",
        "a Up",
        "a dials b",
        "a meets",
    ]
    assert follower.call_of("b") == "a"


def test_who_is_called_by_a_loopback_that_nobody_dialled_does_not_call_itself() -> None:
    follower = Follower()
    follower.take(event("CHANNEL_CREATE", "near", Channel_Name="loopback/2000-a", Call_Direction="outbound"))
    follower.take(event("CHANNEL_CREATE", "x", Channel_Name="sofia/lo/1", **by("near")))
    follower.take(event("CHANNEL_BRIDGE", "near", Bridge_A_Unique_ID="near", Bridge_B_Unique_ID="x"))
    assert follower.call_of("x") == "near"


def test_what_the_dialplan_says_on_a_loopback_it_says_of_whoever_dialled_it() -> None:
    follower = Follower()
    through_loopback(follower)
    mark = {"variable_RTZR_CALL": "far/far"}
    (announced,) = follower.take(event("CUSTOM", "far", ANNOUNCED, Channel_Name="loopback/2000-b", **mark))
    assert isinstance(announced, ChannelUserevent)
    assert announced.channel is not None
    assert announced.channel.id == "a"
    room = {"Action": "add-member", "Conference_Name": "room", "Channel_Name": "loopback/2000-b"}
    assert told(follower.take(event("CUSTOM", "far", CONFERENCE, **room))) == ["a meets"]


def test_a_call_with_a_tone_is_one_that_nobody_follows() -> None:
    """A dial string is parted at commas, and mod_loopback's application has all that follows."""
    command, dialled, then = tone_call("0-1", 1004, 20)
    assert (command, then) == ("originate", "&park()")
    tone = "loopback/app=playback:tone_stream://%(20000\\,0\\,1004)"
    assert dialled == f"{{origination_uuid=0-1,{CHECK}=true}}{tone}"
    marked = {f"variable_{CHECK}": "true"}
    follower = Follower()
    for event in recorded("mas-01-mono-8k-caller-hangup"):
        assert follower.take(EslEvent(event.name, event.subclass, {**event.headers, **marked}, "")) == []
    with pytest.raises(PbxError):
        tone_call("a b", 1004, 20)


def test_what_a_channel_carries_is_no_wish_and_what_sets_it_is() -> None:
    follower = Follower(frozenset({"RTZR_PAUSE"}))
    set_ = {"Application": "set", "Application_Data": "RTZR_PAUSE=0"}
    other = {"Application": "set", "Application_Data": "a=1"}
    values = []
    for name, more in (("CHANNEL_CREATE", {}), ("CHANNEL_ANSWER", {}), ("CHANNEL_EXECUTE_COMPLETE", other),
                       ("CHANNEL_EXECUTE_COMPLETE", set_)):  # fmt: skip
        told = follower.take(event(name, variable_RTZR_PAUSE="0", **more))
        values.append([one.value for one in told if isinstance(one, ChannelVarset)])
    assert values == [["0"], [], [], ["0"]]


def test_keys_and_pauses_of_the_dialplan_are_told() -> None:
    follower = Follower()
    follower.take(event("CHANNEL_CREATE"))
    (key,) = follower.take(event("DTMF", DTMF_Digit="*"))
    assert isinstance(key, ChannelDtmfReceived)
    assert (key.digit, "'*'" in repr(key)) == ("*", False)
    (paused,) = follower.take(event("CUSTOM", subclass=PAUSE))
    assert isinstance(paused, ChannelUserevent)
    assert paused.name == PAUSE
