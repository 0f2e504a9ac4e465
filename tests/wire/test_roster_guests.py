"""Calls that the dialplan sends to our application: heard, or given back."""

from dataclasses import replace

from bridge.types import Role
from bridge.wire import pbxevents as pbx
from bridge.wire.census import Census, Known, Mark
from bridge.wire.decisions import AnswerLeg, EndLeg, GiveBack, LookUp, Pass, StartLeg
from bridge.wire.roster import Roster
from bridge.wire.rules import CallRule, Condition
from tests.wire.channels import channel

A = channel("A")
RINGS = replace(A, state="Ring", extension="1")
NOTHING = Known(frozenset(), frozenset(), frozenset())


def roster(*rules: CallRule) -> Roster:
    return Roster("RTZR", "app.tap.", rules, app="app")


def come(one: pbx.Channel = A) -> pbx.StasisStart:
    return pbx.StasisStart(1.0, one)


def announced(one: pbx.Channel = A) -> pbx.ChannelUserevent:
    return pbx.ChannelUserevent(1.0, one, "RTZR", {"Call": f"{one.id}/{one.id}"})


def test_a_call_is_heard_though_nobody_announced_it_and_no_rule_chose_it() -> None:
    assert roster().take(come()) == [LookUp(A)]
    assert roster(CallRule("other", (Condition("caller", ("1",)),))).take(come()) == [LookUp(A)]


def test_an_announced_call_is_one_leg() -> None:
    one = roster()
    assert one.take(announced()) == [StartLeg(A, "A", Role.CALLER), AnswerLeg("A", None)]
    assert one.take(come()) == []
    assert one.guests.here == {"A"}


def test_a_chosen_one_is_looked_up_once() -> None:
    one = roster(CallRule("all"))
    assert one.take(pbx.ChannelCreated(1.0, RINGS)) == [LookUp(RINGS, "all")]
    assert one.take(come()) == []
    assert one.chosen(A, "A", "all")[0] == StartLeg(A, "A", Role.CALLER, rule="all")


def test_one_that_a_rule_forbids_is_given_back() -> None:
    decisions = roster(CallRule("none", tap=False)).take(come())
    assert isinstance(decisions[0], Pass)
    assert decisions[1:] == [GiveBack("A")]


def test_one_that_was_turned_away_before_it_came_is_given_back() -> None:
    one = roster()
    one.take(announced())
    one.guests.turn_away("A")
    assert one.take(come()) == [GiveBack("A")]


def test_one_that_goes_on_stays_a_leg_until_it_is_gone() -> None:
    one = roster()
    one.take(announced())
    one.take(come())
    assert one.take(pbx.StasisEnd(2.0, A)) == []
    assert one.guests.here == set()
    assert one.take(pbx.ChannelDestroyed(3.0, A, 16)) == [EndLeg("A", "cause 16")]


def test_our_own_channels_are_no_guests() -> None:
    one = roster()
    assert one.take(come(channel("app.tap.1"))) == []
    assert one.guests.here == set()


def test_one_that_waited_for_us_is_taken_up() -> None:
    waits = replace(A, application="Stasis", application_data="app")
    for marks in ({}, {"A": Mark("A", "A")}):
        one = roster()
        assert one.reconcile(Census((waits,), marks), NOTHING) == [LookUp(waits, late=True)]
        assert one.start(waits, "A", Role.CALLER, found=True)[0] == StartLeg(
            waits, "A", Role.CALLER, late=True
        )
        assert one.guests.here == {"A"}


def test_one_that_a_rule_chose_and_that_waited_for_us_is_known_to_have_been_joined_late() -> None:
    waits = replace(A, application="Stasis", application_data="app")
    one = roster(CallRule("all"))
    assert one.reconcile(Census((waits,)), NOTHING) == [LookUp(waits, "all", late=True)]
    assert one.chosen(waits, "A", "all")[0] == StartLeg(waits, "A", Role.CALLER, late=True, rule="all")


def test_one_of_a_call_that_is_followed_already_is_heard_too() -> None:
    one = roster(CallRule("all"))
    one.take(announced(channel("B")))
    one.take(come())
    assert one.chosen(A, "B", "all")[0] == StartLeg(A, "B", Role.CALLER, rule="all")


def test_an_audiosocket_is_a_leg_unless_a_rule_forbids_it() -> None:
    assert roster().announced(A, "A")[0] == StartLeg(A, "A", Role.CALLER)
    assert roster(CallRule("all")).announced(A, "A")[0] == StartLeg(A, "A", Role.CALLER, rule="all")
    forbidden = roster(CallRule("none", tap=False))
    assert [type(one) for one in forbidden.announced(A, "A")] == [Pass]
    assert forbidden.announced(A, "A") == [], "it is told once"
