"""bridge/wire/roster.py with rules: who is asked, when, and that a choice is made once."""

from dataclasses import replace

import pytest

from bridge.types import Role
from bridge.wire import pbxevents
from bridge.wire.census import Census, Known, Mark
from bridge.wire.decisions import AnswerLeg, Decision, EndLeg, LookUp, Merge, Pass, StartLeg
from bridge.wire.roster import Roster
from bridge.wire.rules import CallRule, Choice, Condition
from tests.wire.test_roster import compared

NOTHING = Known(frozenset(), frozenset(), frozenset())


def roster(*rules: CallRule) -> Roster:
    return Roster("RTZR", "tap-", rules, ("from-trunk*",))


def rule(name: str, *, tap: bool = True, **tests: str) -> CallRule:
    made = tuple(Condition(key.replace("__", "."), (pattern,)) for key, pattern in tests.items())
    return CallRule(name, made, tap)


def channel(
    name: str,
    state: str = "Ring",
    context: str = "from-trunk",
    extension: str = "100",
    runs: str = "Dial",
    data: str = "",
    kind: str = "PJSIP/",
) -> pbxevents.Channel:
    return pbxevents.Channel(name, f"{kind}{name}", state, "0101", "", 1000.0, runs, data, context, extension)


def created(one: pbxevents.Channel) -> pbxevents.ChannelCreated:
    return pbxevents.ChannelCreated(1000.0, one)


def dials(caller: pbxevents.Channel, peer: pbxevents.Channel) -> pbxevents.Dial:
    return pbxevents.Dial(1001.0, caller, peer, "")


def starts(decisions: list[Decision]) -> list[tuple[str, str, Role, str]]:
    return [(d.channel.id, d.call, d.role, d.rule) for d in decisions if isinstance(d, StartLeg)]


def test_without_rules_nobody_is_asked() -> None:
    assert roster().take(created(channel("a"))) == []


def test_a_call_that_comes_in_is_chosen_at_once_and_whom_it_dials_follows() -> None:
    one, a, b = roster(rule("line", did="100")), channel("a"), channel("b", "Down", "phones")
    assert one.take(created(a)) == [LookUp(a, "line")]
    assert one.take(created(b)) == []
    assert one.take(dials(a, b)) == [], "its linkedid is still being asked for"
    decisions = one.chosen(a, "a", "line")
    assert starts(decisions) == [("a", "a", Role.CALLER, "line"), ("b", "a", Role.CALLEE, "")]
    assert starts(one.take(dials(a, channel("c", "Down")))) == [("c", "a", Role.CALLEE, "")]


def test_direction_is_known_when_somebody_is_dialled() -> None:
    rules = (rule("out", direction="out"), rule("inside", direction="internal"))
    for peer, chosen in (("from-trunk-kt", "out"), ("phones", "inside")):
        one, a = roster(*rules), channel("a", context="from-internal")
        assert one.take(created(a)) == []
        assert one.take(dials(a, channel("b", "Down", peer))) == [LookUp(a, chosen)]


def test_a_queue_is_known_when_it_rings_a_member_and_where_the_call_came_in_stays() -> None:
    one = roster(rule("sales", queue="sales", context="from-trunk"))
    assert one.take(created(channel("a"))) == []
    waiting = channel("a", "Up", "ivr", "s", "Queue", "sales,t,,,30")
    assert one.take(dials(waiting, channel("b", "Down", "phones"))) == [LookUp(waiting, "sales")]


def test_a_variable_that_is_set_is_one_more_fact() -> None:
    one, a = roster(rule("acme", variables__TENANT="acme")), channel("a")
    one.take(created(a))
    assert one.take(pbxevents.ChannelVarset(1000.0, a, "OTHER", "acme")) == []
    assert one.take(pbxevents.ChannelVarset(1000.0, None, "TENANT", "acme")) == []
    assert one.take(pbxevents.ChannelVarset(1000.0, a, "TENANT", "acme")) == [LookUp(a, "acme")]
    assert one.take(pbxevents.ChannelVarset(1000.0, a, "TENANT", "acme")) == [], "the choice stands"


def test_who_is_chosen_in_the_middle_of_a_conversation_is_heard_with_the_other_one() -> None:
    one, a, b = roster(rule("acme", variables__TENANT="acme")), channel("a"), channel("b", "Down", "phones")
    one.take(created(a))
    for each in (a, b):
        one.take(pbxevents.ChannelEnteredBridge(1001.0, each, "bridge"))
    assert one.take(pbxevents.ChannelVarset(1002.0, a, "TENANT", "acme")) == [LookUp(a, "acme")]
    assert starts(one.chosen(a, "a", "acme")) == [
        ("a", "a", Role.CALLER, "acme"),
        ("b", "a", Role.CALLEE, ""),
    ]


def test_a_variable_for_all_who_are_dialled_is_meant_by_its_bare_name() -> None:
    """`Set(__TENANT=acme)` sets TENANT, and the PBX tells of `__TENANT`."""
    for told in ("_TENANT", "__TENANT"):
        one, a = roster(rule("acme", variables__TENANT="acme")), channel("a")
        one.take(created(a))
        assert one.take(pbxevents.ChannelVarset(1000.0, a, told, "acme")) == [LookUp(a, "acme")]


def test_a_call_that_is_not_to_be_heard_is_passed_once_and_also_if_announced() -> None:
    one, a = roster(rule("never", tap=False)), channel("a")
    assert one.take(created(a)) == [Pass("a", Choice("never", tap=False, reason="its tap is false"))]
    assert one.take(dials(a, channel("b", "Down"))) == []
    assert one.take(pbxevents.ChannelUserevent(1002.0, a, "RTZR", {"Call": "a/a"})) == []


def test_a_number_that_comes_later_is_known_then() -> None:
    one, a = roster(rule("mine", caller="0101")), channel("a")
    assert one.take(created(replace(a, number=""))) == []
    assert one.take(dials(a, channel("b", "Down"))) == [LookUp(a, "mine")]


def test_an_announced_call_has_the_rule_that_it_meets_or_none() -> None:
    for name, chosen in (("100", "line"), ("200", "")):
        one, a = roster(rule("line", extension="100")), channel("a", extension=name)
        assert starts(one.take(pbxevents.ChannelUserevent(1002.0, a, "RTZR", {"Call": "a/a"}))) == [
            ("a", "a", Role.CALLER, chosen)
        ]


def test_who_was_dialled_makes_no_call_of_its_own() -> None:
    one, a = roster(rule("all", direction="in")), channel("a", context="phones")
    agent = channel("b", "Down", "from-trunk")
    one.take(created(a))
    one.take(dials(a, agent))
    up = channel("b", "Up", "from-trunk")
    assert one.take(dials(up, channel("c", "Down"))) == []


def halves(number: str, state: str = "Ring", context: str = "from-trunk") -> list[pbxevents.Channel]:
    """Of Local/7-<number>."""
    made = channel("", state, context)
    return [replace(made, id=f"l{number}{half}", name=f"Local/7-{number};{half}") for half in (1, 2)]


def test_a_local_channel_on_the_way_to_a_callee_is_no_second_call() -> None:
    one, a, b = roster(rule("all")), channel("a"), channel("b", "Down", "phones")
    (near, far), (next_near, next_far) = halves("1"), halves("2")
    one.take(created(a))
    one.chosen(a, "a", "all")
    for event in (created(far), dials(a, near), created(next_far), dials(far, next_near)):
        assert one.take(event) == []
    assert starts(one.take(dials(next_far, b))) == [("b", "a", Role.CALLEE, "")]


def test_what_is_forbidden_stays_so_behind_local_channels() -> None:
    """Also if the rule below would choose the context in which a Local channel goes on."""
    never = rule("never", did="100", tap=False)
    one, a, b = roster(never, rule("agents", context="agents")), channel("a"), channel("b", "Down", "phones")
    near, far = halves("1", context="agents")
    assert [type(d) for d in one.take(created(a))] == [Pass]
    for event in (created(far), dials(a, near), dials(far, b), pbxevents.ChannelStateChange(1.0, far)):
        assert one.take(event) == []
    assert one.announced(far, "a") == []


def test_a_rule_on_where_a_local_channel_goes_on_chooses_its_caller() -> None:
    one, a, b = roster(rule("agents", context="agents")), channel("a"), channel("b", "Down", "phones")
    near, far = halves("1", context="agents")
    for event in (created(a), created(far), dials(a, near)):
        assert one.take(event) == []
    assert one.take(dials(far, b)) == [LookUp(a, "agents")]
    decisions = one.chosen(a, "a", "agents")
    assert starts(decisions) == [("a", "a", Role.CALLER, "agents"), ("b", "a", Role.CALLEE, "")]


@pytest.mark.parametrize("announced", [True, False])
def test_a_click_to_call_is_two_people_and_no_half_of_what_brings_them_together(announced: bool) -> None:
    one = roster() if announced else roster(rule("all"))
    near, far = halves("1")
    agent, customer = channel("agent", "Up"), channel("customer", "Up")
    begun = one.announced(far, "l11") if announced else one.take(dials(far, agent))
    begun += [] if announced else one.chosen(far, "l11", "all")
    begun += one.take(dials(far, agent))
    begun += one.announced(near, "l11") if announced else []
    begun += one.take(dials(near, customer))
    assert [(d.channel.id, d.call) for d in begun if isinstance(d, StartLeg)] == [
        ("l12", "l11"), ("agent", "l11"), ("customer", "l11"),
    ]  # fmt: skip
    assert [d for d in begun if isinstance(d, EndLeg)] == [EndLeg("l12", "led on")]
    assert one.known(()).legs == {"agent", "customer"}


def test_what_was_known_of_a_channel_goes_with_it() -> None:
    one = roster(rule("sales", queue="sales"))
    for number in range(10):
        a, b = channel(f"a{number}"), channel(f"b{number}", "Down")
        for event in (created(a), created(b), dials(a, b)):
            one.take(event)
        for gone in (a, b):
            one.take(pbxevents.ChannelDestroyed(1005.0, gone, 16))
    kept = one.selection._facts, one.selection._decided, one._seen.called, one._pending, one._seen._names
    assert not any(kept)


def test_calls_that_were_up_before_us_are_chosen_by_what_they_do_now() -> None:
    one, a = roster(rule("line", did="100")), channel("a", "Up")
    b = channel("b", "Up", "phones", runs="AppDial")
    other = channel("x", "Up", "elsewhere")
    decisions = compared(one, [b, a, other], {}, NOTHING, frozenset(), {"b": "a", "a": "a", "x": "x"})
    assert starts(decisions) == [("a", "a", Role.CALLER, "line"), ("b", "a", Role.CALLEE, "")]
    assert all(d.late for d in decisions if isinstance(d, StartLeg))
    assert sum(isinstance(d, AnswerLeg) for d in decisions) == 2


def test_of_local_channels_only_those_that_dial_or_were_dialled_are_parties() -> None:
    kind = "Local/1@phones;"
    caller = channel("c2", "Up", runs="Dial", kind=kind)
    phone = channel("c1", "Up", runs="Playback", kind=kind)
    callee = channel("d1", "Up", runs="AppDial", kind=kind)
    beyond = channel("d2", "Up", runs="Wait", kind=kind)
    here = [beyond, callee, phone, caller]
    decisions = compared(roster(rule("all")), here, {}, NOTHING, frozenset(), {one.id: "c1" for one in here})
    assert starts(decisions) == [("c2", "c1", Role.CALLER, "all"), ("d1", "c1", Role.CALLEE, "")]


def out_of_turn() -> tuple[Roster, pbxevents.Channel, pbxevents.Channel]:
    """A caller `a` that a rule has chosen, and half a Local channel on the way to `b`, chosen too."""
    one, a, b = roster(rule("all")), channel("a"), channel("b", "Down", "phones")
    half = replace(channel("h", context="phones"), name="Local/h;2")  # made by a transfer: nobody dialled it
    assert one.take(created(a)) == [LookUp(a, "all")]
    assert one.take(dials(a, b)) == []
    assert one.take(dials(half, channel("c", "Down", "phones"))) == [LookUp(half, "all")]
    return one, a, half


def test_answers_that_come_in_another_order_make_the_same_call() -> None:
    """Half of a Local channel that was asked for later must not be taken for the caller of its call."""
    one, a, half = out_of_turn()
    assert one.chosen(half, "a", "all") == [], "it is not known yet who calls"
    decisions = one.chosen(a, "a", "all")
    assert starts(decisions) == [
        ("a", "a", Role.CALLER, "all"),
        ("b", "a", Role.CALLEE, ""),
        ("c", "a", Role.CALLEE, ""),
    ]
    assert not one._pending


def test_an_answer_that_never_comes_holds_up_nobody_for_ever() -> None:
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    assert starts(one.chosen(a, None, "all")) == [
        ("h", "x", Role.CALLER, "all"),
        ("c", "x", Role.CALLEE, ""),
    ]
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    gone = one.take(pbxevents.ChannelDestroyed(1002.0, a, 16))
    assert starts(gone) == [
        ("h", "x", Role.CALLER, "all"),
        ("c", "x", Role.CALLEE, ""),
    ]
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    missed = compared(one, [half], {}, Known(frozenset({"a"}), frozenset(), frozenset()))
    assert starts(missed) == [
        ("h", "x", Role.CALLER, "all"),
        ("c", "x", Role.CALLEE, ""),
    ]
    assert not one._pending


def test_a_telephone_does_not_wait_for_the_answer_about_another() -> None:
    one, *_ = out_of_turn()
    other = channel("o")
    assert one.take(created(other)) == [LookUp(other, "all")]
    assert starts(one.chosen(other, "o", "all")) == [("o", "o", Role.CALLER, "all")]


def test_the_telephones_side_of_a_local_channel_is_not_a_callee() -> None:
    """A click-to-call that was found while it began: its first half is on its way to what it will run."""
    caller = channel("a2", "Up", kind="Local/7@from-trunk-1;2/")
    near = replace(caller, id="a1", name="Local/7@from-trunk-1;1", application="AppDial2")
    far = replace(caller, name="Local/7@from-trunk-1;2")
    decisions = compared(roster(rule("all")), [near, far], {}, NOTHING, frozenset(), {"a1": "a1", "a2": "a1"})
    assert starts(decisions) == [("a2", "a1", Role.CALLER, "all")]


def test_who_is_forbidden_is_so_after_a_restart_in_whatever_order_channels_are_listed() -> None:
    """A parked call that somebody forbidden has fetched: their linkedids are one."""
    never = rule("never", channel="PJSIP/f", tap=False)
    parkee, forbidden = channel("a", "Up", runs="Park"), channel("f", "Up", runs="ParkedCall")
    bridge = pbxevents.Bridge("b", frozenset({"a", "f"}))
    for order in ((parkee, forbidden), (forbidden, parkee)):
        census = Census(order, families={"a": "a", "f": "a"}, bridges=(bridge,))
        decisions = roster(never, rule("all")).reconcile(census, NOTHING)
        assert starts(decisions) == [("a", "a", Role.CALLER, "all")]


def test_nor_does_a_restart_let_a_local_channel_speak_for_who_is_forbidden() -> None:
    never = rule("never", channel="PJSIP/f", tap=False)
    near, far = halves("1", "Up")
    callee = channel("b", "Up", "phones", runs="AppDial")
    here = [far, replace(near, application="AppDial"), callee, channel("f", "Up")]
    families = {one.id: "f" for one in here}
    assert starts(compared(roster(never, rule("all")), here, {}, NOTHING, frozenset(), families)) == []


def test_nothing_is_known_of_local_channels_of_a_pbx_that_was_restarted() -> None:
    """It counts them from the first again."""
    one, a = roster(rule("all")), channel("a")
    near, far = halves("0")
    one.take(created(a))
    one.chosen(a, "a", "all")
    for event in (created(near), created(far), dials(a, near), dials(far, channel("b"))):
        one.take(event)
    compared(one, [], {}, one.known(()))
    assert not any((one._locals._diallers, one._locals._calls, one._locals._leading))


def test_the_older_of_two_calls_is_so_though_who_began_it_has_left() -> None:
    one = roster(rule("all"))
    old, callee, young = (
        replace(channel(name), created=at) for name, at in (("o", 1.0), ("c", 2.0), ("y", 9.0))
    )
    for caller in (old, young):
        one.take(created(caller))
        one.chosen(caller, caller.id, "all")
    one.take(dials(old, callee))
    one.take(pbxevents.ChannelDestroyed(10.0, old, 16))
    met = [one.take(pbxevents.ChannelEnteredBridge(11.0, each, "b")) for each in (young, callee)]
    assert met == [[], [Merge("y", "o")]]


def test_a_half_ends_with_the_other_one_though_the_pbx_forgets_it() -> None:
    """Asterisk can leave the near half up for ever when both sides hang up at once (seen under load)."""
    one, a = roster(rule("all")), channel("a")
    near, far = halves("1")
    one.take(created(a))
    one.chosen(a, "a", "all")
    for event in (created(near), created(far), dials(a, near)):
        one.take(event)
    assert starts(one.take(replace(dials(a, near), status="RINGING"))) == [("l11", "a", Role.CALLEE, "")]
    assert one.take(pbxevents.ChannelDestroyed(9.0, far, 16)) == [EndLeg("l11", "cause 16")]
    assert one.take(pbxevents.ChannelDestroyed(9.5, near, 16)) == []


def test_a_restart_does_not_hear_an_announced_call_that_a_rule_forbids() -> None:
    """The dialplan's line is on its channels all the same."""
    never = rule("never", channel="PJSIP/f", tap=False)
    forbidden, callee = channel("f", "Up"), channel("b", "Up", "phones", runs="AppDial")
    marks = {name: Mark("f", "f") for name in ("f", "b")}
    for order in ([forbidden, callee], [callee, forbidden]):
        assert compared(roster(never, rule("all")), order, marks, NOTHING) == []


def test_an_announced_call_has_its_rule_after_a_restart_too() -> None:
    caller, callee = channel("a", "Up"), channel("b", "Up", "phones", runs="AppDial")
    marks = {name: Mark("a", "a") for name in ("a", "b")}
    for order in ([caller, callee], [callee, caller]):
        decisions = compared(roster(rule("line", did="100")), order, marks, NOTHING)
        assert {rule for *_, rule in starts(decisions)} == {"line"}
        assert len(starts(decisions)) == 2
