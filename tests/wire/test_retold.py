"""bridge/wire/retold.py: a log's calls meet the rules as the daemon's do."""

import json
from collections.abc import Sequence
from pathlib import Path

from bridge.wire import pbxevents as pbx
from bridge.wire.eventlog import Row, Told, read
from bridge.wire.retold import Retold, recorded, retold
from bridge.wire.rules import CallRule, Condition, Direction

CAPTURES = Path(__file__).parents[1] / "captures" / "asterisk"


def rule(name: str, tap: bool = True, **conditions: str) -> CallRule:
    return CallRule(name, tuple(Condition(key, (value,)) for key, value in conditions.items()), tap)


def channel(id_: str, name: str = "", state: str = "Ring", context: str = "from-trunk") -> pbx.Channel:
    return pbx.Channel(id_, name or f"PJSIP/{id_}", state, "010", "", 100.0, "", "", context, "1588")


def told(*events: pbx.PbxEvent) -> list[Told]:
    return [Told(event) for event in events]


def judged(events: Sequence[Told], *rules: CallRule) -> list[Retold]:
    return retold(events, rules, ("from-trunk*",), "RTZR", "rtzr-bridge.calls.tap.")


def test_the_recorded_call_is_announced_and_all_rules_have_their_say() -> None:
    for name in ("events.json", "ami.txt"):
        log = read((CAPTURES / name).read_bytes().decode().splitlines(keepends=True))
        (call,) = judged(log.told, rule("other", context="other"))
        assert (call.tapped, call.announced, call.rule) == (True, True, "")
        (asked,) = call.asked
        assert (asked.facts.context, asked.facts.caller) == ("from-phones", "0212345678")
        assert [(line.rule, line.hit) for line in asked.lines] == [("other", False)]
        (call,) = judged(log.told, rule("no", context="other"), rule("phones", context="from-phones"))
        assert (call.tapped, call.announced, call.rule) == (True, False, "phones")


def test_facts_become_known_one_by_one() -> None:
    caller, peer = channel("1.1", context="from-phones"), channel("1.2", state="Down")
    events = told(
        pbx.ChannelCreated(100.0, caller),
        pbx.ChannelVarset(101.0, caller, "TENANT", "acme"),
        pbx.Dial(102.5, caller, peer, ""),
        pbx.ChannelStateChange(103.0, channel("1.1", state="Up")),
    )
    (call,) = judged(events, rule("out", True, **{"direction": "out", "variables.TENANT": "acme"}))
    assert (call.call, call.tapped, call.rule, call.after_s) == ("1.1", True, "out", 2.5)
    (asked,) = call.asked
    assert (asked.facts.direction, asked.facts.variables) == (Direction.OUT, {"TENANT": "acme"})
    (call,) = judged(events, rule("in", direction="in"))
    assert (call.tapped, call.asked[-1].lines[0].why) == (None, "direction is out, and should be in")


def test_a_call_that_is_forbidden_is_so_even_if_it_is_announced() -> None:
    caller = channel("1.1")
    announced = pbx.ChannelUserevent(101.0, caller, "RTZR", {"Call": "1.1/1.1"})
    for events in (told(pbx.ChannelCreated(100.0, caller), announced), told(announced)):
        (call,) = judged(events, rule("never", tap=False, did="1588"))
        assert (call.tapped, call.rule, call.announced) == (False, "never", False)
    unmarked = pbx.ChannelUserevent(101.0, caller, "RTZR", {})
    (call,) = judged(told(unmarked))
    assert (call.tapped, call.announced, call.asked) == (True, True, [])


def test_local_channels_are_of_the_call_that_makes_them() -> None:
    caller = channel("1.1", context="ivr")
    first, second = (channel(f"1.{n}", f"Local/7@x-1;{n - 1}", context="agents") for n in (2, 3))
    events = told(
        pbx.ChannelCreated(100.0, caller),
        pbx.ChannelCreated(101.0, pbx.Channel("1.2", "Local/7@x-1;1", "Down", "", "", 101.0, "", "")),
        pbx.ChannelCreated(101.0, second),
        pbx.Dial(101.0, caller, first, ""),
        pbx.Dial(101.0, second, channel("1.4", state="Down"), ""),
    )
    (call,) = judged(events, rule("agents", context="agents"))
    assert {one.channel for one in call.asked} == {"1.1", "1.3"}
    assert (call.call, call.tapped, call.rule) == ("1.1", True, "agents")
    (call,) = judged(events, rule("ivr", context="ivr"))
    assert [one.channel for one in call.asked] == ["1.1"]


def test_our_own_channels_and_those_who_are_called_are_no_calls() -> None:
    own, callee = channel("rtzr-bridge.calls.tap.1"), channel("1.2", state="Ringing")
    assert judged(told(pbx.ChannelCreated(1.0, own), pbx.ChannelCreated(1.0, callee)), rule("all")) == []


def test_a_cdr_is_judged_by_what_it_keeps() -> None:
    row = Row("1.1", "then", "from-trunk", "1588", "010", "PJSIP/t-1", "sales")
    (call,) = recorded([row], [rule("q", queue="sales", did="1588")], ("from-trunk",))
    assert (call.tapped, call.rule, call.began) == (True, "q", "then")
    (call,) = recorded([row], [rule("never", tap=False)], ())
    assert (call.tapped, call.rule, call.asked[0].facts.direction) == (False, "never", None)
    (call,) = recorded([row], [rule("out", direction="out")], ())
    assert (call.tapped, call.rule) == (None, "")


def test_json_lines_of_the_bridges_own_kind_are_enough() -> None:
    events = json.loads((CAPTURES / "events.json").read_text())
    log = read([json.dumps(event) for event in events if event["type"] != "ChannelUserevent"])
    (call,) = judged(log.told, rule("all"))
    assert (call.tapped, call.rule, call.began) == (True, "all", log.told[0].event.at)
