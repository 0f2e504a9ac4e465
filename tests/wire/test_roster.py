"""Which channels are legs: the recorded call of a real Asterisk, any order of events, and reconciling."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Role
from bridge.wire import ari, pbxevents
from bridge.wire.census import Census, Known, Mark
from bridge.wire.decisions import (
    AnswerLeg,
    Decision,
    EndLeg,
    EndTap,
    LookUp,
    Merge,
    RemoveBridge,
    RemoveStray,
    StartLeg,
)
from bridge.wire.roster import Roster

CAPTURE = Path(__file__).parents[1] / "captures" / "asterisk" / "events.json"
RECORDED = [
    event
    for raw in json.loads(CAPTURE.read_text())
    if (event := ari.parse(json.dumps(raw))) is not None and not isinstance(event, ari.ApplicationReplaced)
]
ANNOUNCED = next(event for event in RECORDED if isinstance(event, pbxevents.ChannelUserevent))
ANSWERED = next(
    event
    for event in RECORDED
    if isinstance(event, pbxevents.Dial) and event.caller is not None and event.status == "ANSWER"
)
CALL, CALLER = ANNOUNCED.fields["Call"].split("/")
CALLEE = next(
    e.peer.id for e in RECORDED if isinstance(e, pbxevents.Dial) and e.caller and e.caller.id == CALLER
)
TAP = f"tap-{CALLER}"
NOTHING = Known(frozenset(), frozenset(), frozenset())


def roster() -> Roster:
    return Roster("RTZR", "tap-")


def taken(roster: Roster, events: list[pbxevents.PbxEvent]) -> list[Decision]:
    return [decision for event in events for decision in roster.take(event)]


def compared(
    one: Roster,
    channels: Iterable[pbxevents.Channel],
    marks: Mapping[str, Mark],
    known: Known,
    taps: frozenset[str] = frozenset(),
    families: Mapping[str, str] | None = None,
) -> list[Decision]:
    """What is decided on all that the PBX has."""
    return one.reconcile(Census(tuple(channels), marks, families or {}), known, taps)


def channel(name: str, state: str = "Up") -> pbxevents.Channel:
    return pbxevents.Channel(name, f"PJSIP/{name}", state, "", "", 1000.0, "", "")


def legs_of(roster: Roster) -> frozenset[str]:
    return roster.known(()).legs


def told(decision: Decision) -> tuple[str, str]:
    name = type(decision).__name__
    match decision:
        case EndTap(place) | RemoveBridge(place) | Merge(place):
            return name, place
    return name, decision.channel if isinstance(decision.channel, str) else decision.channel.id


# The recorded call.


def test_recorded_call_has_two_legs_answered_and_ended() -> None:
    decisions = taken(roster(), RECORDED)
    assert [told(decision) for decision in decisions] == [
        ("StartLeg", CALLER),
        ("StartLeg", CALLEE),
        ("AnswerLeg", CALLEE),
        ("AnswerLeg", CALLER),
        ("EndLeg", CALLER),
        ("EndLeg", CALLEE),
        ("EndTap", TAP),
    ]
    starts = [decision for decision in decisions if isinstance(decision, StartLeg)]
    assert [(start.call, start.role) for start in starts] == [(CALL, Role.CALLER), (CALL, Role.CALLEE)]
    assert {d.cause for d in decisions if isinstance(d, EndLeg)} == {"cause 16"}


def test_recorded_call_is_as_old_as_its_first_channel() -> None:
    one = roster()
    start = next(d for d in taken(one, RECORDED[:20]) if isinstance(d, StartLeg))
    first = RECORDED[0]
    assert isinstance(first, pbxevents.ChannelCreated)
    assert one.created_s(CALL, start.channel) == first.channel.created
    assert one.created_s("never seen", start.channel) == start.channel.created


def test_nothing_is_left_of_the_recorded_call() -> None:
    one = roster()
    taken(one, RECORDED)
    assert legs_of(one) == frozenset()
    assert one._seen.created == {}


def test_every_event_twice_changes_nothing() -> None:
    doubled = [event for event in RECORDED for _ in range(2)]
    seen = [told(decision) for decision in taken(roster(), doubled)]
    once = [told(decision) for decision in taken(roster(), RECORDED)]
    # An answer may be told twice, and so may the end of a tap: who hears it has done with it.
    assert [d for i, d in enumerate(seen) if d not in seen[:i]] == once
    assert sum(name in ("StartLeg", "EndLeg") for name, _ in seen) == 4


def test_a_call_that_nobody_announced_is_left_alone() -> None:
    quiet = [event for event in RECORDED if event is not ANNOUNCED]
    assert [told(decision) for decision in taken(roster(), quiet)] == [("EndTap", TAP)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Call": ""},
        {"Call": "/"},
        {"Call": f"{CALL}/"},
        {"Call": f"/{CALLER}"},
        {"Call": CALL},
        {"Call": "x/other"},
    ],
)
def test_an_announcement_without_its_own_mark_has_to_be_looked_up(fields: dict[str, str]) -> None:
    (decision,) = roster().take(replace(ANNOUNCED, fields=fields))
    assert isinstance(decision, LookUp)
    assert decision.channel.id == CALLER


def test_announcements_of_others_and_without_a_channel_are_not_ours() -> None:
    assert roster().take(replace(ANNOUNCED, name="Agent")) == []
    assert roster().take(replace(ANNOUNCED, channel=None)) == []


def test_a_dial_that_first_shows_when_it_is_answered_still_makes_a_leg() -> None:
    start, answer = taken(roster(), [ANNOUNCED, ANSWERED])[1:]
    assert isinstance(start, StartLeg)
    assert answer == AnswerLeg(start.channel.id, None)


@pytest.mark.parametrize("status", ["BUSY", "NOANSWER", "CANCEL", "CHANUNAVAIL", "CONGESTION"])
def test_a_dial_that_is_over_makes_no_leg(status: str) -> None:
    """The channel is gone or about to go: a leg on it would never be ended."""
    assert len(taken(roster(), [ANNOUNCED, replace(ANSWERED, status=status)])) == 1


# Any order of events, as a hostile or broken PBX might send them (reliability K11).

CHANNELS = st.sampled_from(["a", "b", "c", "tap-1", "tap-a"]).flatmap(
    lambda name: st.sampled_from(["Down", "Ring", "Up"]).map(lambda state: channel(name, state))
)
MARKS = st.sampled_from(["a/a", "b/b", "a/c", "", "x", "tap-1/tap-1"])
EVENTS = st.one_of(
    st.builds(pbxevents.ChannelCreated, st.just(1.0), CHANNELS),
    st.builds(pbxevents.ChannelStateChange, st.just(1.0), CHANNELS),
    st.builds(pbxevents.ChannelHangupRequest, st.just(1.0), CHANNELS, st.just(16)),
    st.builds(pbxevents.ChannelDestroyed, st.just(1.0), CHANNELS, st.just(16)),
    st.builds(
        pbxevents.ChannelUserevent,
        st.just(1.0),
        st.none() | CHANNELS,
        st.sampled_from(["RTZR", "other"]),
        MARKS.map(lambda mark: {"Call": mark}),
    ),
    st.builds(
        pbxevents.Dial,
        st.just(1.0),
        st.none() | CHANNELS,
        CHANNELS,
        st.sampled_from(["", "RINGING", "ANSWER", "BUSY", "CANCEL"]),
    ),
    st.builds(pbxevents.ChannelEnteredBridge, st.just(1.0), CHANNELS, st.just("bridge")),
    st.lists(CHANNELS, max_size=4, unique_by=lambda found: found.id),
)
"""A list is what a reconnect finds."""


def marks_of(found: list[pbxevents.Channel]) -> dict[str, Mark]:
    return {one.id: Mark("a", "a") for one in found}


@given(st.lists(EVENTS, max_size=40))
def test_in_any_order_a_channel_has_one_leg_at_most_and_a_leg_one_end(
    events: list[pbxevents.PbxEvent | list[pbxevents.Channel]],
) -> None:
    one, legs = roster(), set[str]()
    for event in events:
        if isinstance(event, list):
            known = one.known({"tap-1"})
            decisions = compared(one, event, marks_of(event), known)
        else:
            decisions = one.take(event)
        for decision in decisions:
            match decision:
                case StartLeg(channel=started):
                    assert started.id not in legs
                    assert not started.id.startswith("tap-")
                    legs.add(started.id)
                case EndLeg(channel=ended):
                    legs.remove(ended)
                case AnswerLeg(channel=answered):
                    assert answered in legs
                case EndTap(tap=tap) | RemoveStray(channel=tap):
                    assert tap.startswith("tap-")
        assert legs_of(one) == legs
    for left in sorted(legs):
        assert told(one.take(pbxevents.ChannelDestroyed(2.0, channel(left), 16))[0]) == ("EndLeg", left)
    assert legs_of(one) == frozenset()


# Reconciling.


def test_a_call_that_was_up_before_us_is_adopted_with_its_roles() -> None:
    found = [channel("caller"), channel("callee", "Ringing"), channel("other")]
    marks = {name: Mark("caller", "caller") for name in ("caller", "callee")}
    decisions = compared(roster(), found, marks, NOTHING)
    assert [(told(d), d.role, d.call) for d in decisions if isinstance(d, StartLeg)] == [
        (("StartLeg", "caller"), Role.CALLER, "caller"),
        (("StartLeg", "callee"), Role.CALLEE, "caller"),
    ]
    assert decisions[1:2] == [AnswerLeg("caller", None)]
    assert [d.late for d in decisions if isinstance(d, StartLeg)] == [True, False]
    assert len(decisions) == 3


def test_the_recorded_channels_are_adopted_without_the_far_half_of_a_local_channel() -> None:
    """The mark is inherited by both halves of a dialed Local channel; only the near one is a party."""
    found, _ = ari.channels((CAPTURE.parent / "channels.json").read_bytes())
    ids = {one.name.rpartition("/")[2]: one.id for one in found}
    tapped = next(one for one in found if one.application == "ChanSpy")
    caller = tapped.id.removeprefix("tap-")
    near = next(one.id for one in found if one.application == "AppDial")
    marks = {one.id: Mark("call", caller) for one in found if one.application != "AppDial2"}
    decisions = compared(roster(), found, marks, NOTHING)
    assert {told(decision) for decision in decisions if not isinstance(decision, AnswerLeg)} == {
        ("StartLeg", caller),
        ("StartLeg", near),
        ("RemoveStray", tapped.id),
    }
    assert len(ids) == 5


def test_a_caller_that_is_itself_a_far_half_is_adopted() -> None:
    far = replace(channel("1.1"), name="Local/100@from-phones-00000000;2")
    start, _ = compared(roster(), [far], {"1.1": Mark("1.0", "1.1")}, NOTHING)
    assert isinstance(start, StartLeg)
    assert start.role is Role.CALLER


def test_a_leg_whose_channel_is_gone_is_ended_and_its_tap_with_it() -> None:
    one = roster()
    one.start(channel("a"), "call", Role.CALLER)
    known = one.known({"tap-a"})
    assert [told(d) for d in compared(one, [], {}, known)] == [("EndLeg", "a"), ("EndTap", "tap-a")]
    assert compared(one, [], {}, known) == [EndTap("tap-a")], "a leg ends once"


def test_what_began_while_the_pbx_was_asked_is_not_gone() -> None:
    one = roster()
    known = one.known(())
    one.start(channel("new"), "call", Role.CALLER)
    assert compared(one, [], {}, known) == []
    assert legs_of(one) == {"new"}


def test_strays_of_ours_are_removed_and_taps_in_use_are_not() -> None:
    found = [channel("tap-mine"), channel("tap-stray"), channel("other")]
    decisions = compared(roster(), found, {}, roster().known({"tap-mine"}))
    assert decisions == [RemoveStray("tap-stray")]


def test_an_answer_that_was_missed_is_made_up_for() -> None:
    one = roster()
    one.start(channel("a", "Ring"), "call", Role.CALLER)
    known = one.known(())
    assert compared(one, [channel("a", "Ring")], {}, known) == []
    assert compared(one, [channel("a", "Up")], {}, known) == [AnswerLeg("a", None)]


def test_the_age_of_a_call_survives_a_reconnect_and_a_gone_channel_is_forgotten() -> None:
    one = roster()
    first, second = replace(channel("a"), created=10.0), replace(channel("b"), created=20.0)
    gone, new = replace(channel("gone"), created=11.0), replace(channel("new"), created=30.0)
    one.take(pbxevents.ChannelCreated(10.0, first))
    one.take(pbxevents.ChannelCreated(11.0, gone))
    known = one.known(())
    one.take(pbxevents.ChannelCreated(30.0, new))
    compared(one, [first, second], {}, known)
    assert [one.created_s(name, replace(second, created=99.0)) for name in ("a", "b", "gone", "new")] == [
        10.0,
        20.0,
        99.0,
        30.0,
    ]


@given(st.text(max_size=20))
def test_a_mark_is_read_or_none(text: str) -> None:
    mark = Mark.read(text)
    assert mark is None or f"{mark.call}/{mark.announcer}" == text
    assert Mark.read(None) is None


def test_a_tap_that_began_while_the_pbx_was_asked_is_no_stray() -> None:
    found = [channel("tap-new"), channel("tap-old")]
    decisions = compared(roster(), found, {}, NOTHING, frozenset({"tap-new"}))
    assert decisions == [RemoveStray("tap-old")]


def test_a_leg_that_has_ended_is_forgotten_before_the_pbx_says_so() -> None:
    one = roster()
    one.start(channel("a", "Ring"), "call", Role.CALLER)
    one.forget("a")
    assert not legs_of(one)
    assert [told(d) for d in one.start(channel("a", "Ring"), "call", Role.CALLER)] == [("StartLeg", "a")]


def test_no_leg_is_started_on_a_channel_that_is_gone_by_now() -> None:
    """The PBX was asked for the channel's linkedid, or for all channels, and meanwhile it was destroyed."""
    one = roster()
    one.take(pbxevents.ChannelCreated(1.0, channel("a", "Ring")))
    known = one.known(())
    one.take(pbxevents.ChannelDestroyed(2.0, channel("a"), 16))
    assert one.start(channel("a"), "call", Role.CALLER) == []
    assert compared(one, [channel("a")], {"a": Mark("call", "a")}, known) == []
    assert not legs_of(one)


def test_an_answer_that_came_before_the_leg_is_not_forgotten() -> None:
    one = roster()
    one.take(pbxevents.ChannelStateChange(1.0, channel("a", "Up")))
    assert one.start(channel("a", "Ring"), "call", Role.CALLER)[1:] == [AnswerLeg("a", None)]


def test_a_missed_answer_is_taken_for_the_earliest_that_it_can_have_been() -> None:
    """Or what was said while the connection was down would be taken for early media."""
    one = roster()
    one.start(channel("a", "Ring"), "call", Role.CALLER)
    one.take(pbxevents.ChannelStateChange(7.0, channel("a", "Ring")))
    one.lost()
    one.take(pbxevents.ChannelCreated(12.0, channel("b")))
    assert compared(one, [channel("a", "Up")], {}, one.known(())) == [AnswerLeg("a", 7.0)]
