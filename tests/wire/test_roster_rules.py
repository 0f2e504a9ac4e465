"""bridge/wire/roster.py with rules: who is asked, when, and that a choice is made once."""

from dataclasses import replace

from bridge.types import Role
from bridge.wire import pbxevents
from bridge.wire.census import Known
from bridge.wire.decisions import AnswerLeg, Decision, LookUp, Pass, StartLeg
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


def test_a_local_channel_on_the_way_to_a_callee_is_no_second_call() -> None:
    one, a = roster(rule("all")), channel("a")
    half = channel("l2", kind="Local/7001@phones;")
    one.take(created(a))
    one.chosen(a, "a", "all")
    assert one.take(created(half)) == [LookUp(half, "all")]
    assert one.chosen(half, "a", "all") == []


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
    half = channel("h", context="phones", kind="Local/")
    assert one.take(created(a)) == [LookUp(a, "all")]
    assert one.take(dials(a, b)) == []
    assert one.take(created(half)) == [LookUp(half, "all")]
    return one, a, half


def test_answers_that_come_in_another_order_make_the_same_call() -> None:
    """Half of a Local channel that was asked for later must not be taken for the caller of its call."""
    one, a, half = out_of_turn()
    assert one.chosen(half, "a", "all") == [], "it is not known yet who calls"
    decisions = one.chosen(a, "a", "all")
    assert starts(decisions) == [("a", "a", Role.CALLER, "all"), ("b", "a", Role.CALLEE, "")]
    assert not one._pending


def test_an_answer_that_never_comes_holds_up_nobody_for_ever() -> None:
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    assert starts(one.chosen(a, None, "all")) == [("h", "x", Role.CALLER, "all")]
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    gone = one.take(pbxevents.ChannelDestroyed(1002.0, a, 16))
    assert starts(gone) == [("h", "x", Role.CALLER, "all")]
    one, a, half = out_of_turn()
    assert one.chosen(half, "x", "all") == []
    missed = compared(one, [half], {}, Known(frozenset({"a"}), frozenset(), frozenset()))
    assert starts(missed) == [("h", "x", Role.CALLER, "all")]
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
