"""bridge/calls/pauses.py in its switchboard, without a PBX: which calls are paused, what the PBX is told."""

import time
from typing import Any

import structlog

from bridge.wire import pbxevents as wire
from bridge.wire.pbxevents import Connected, PbxInfo
from bridge.wire.rules import CallRule
from bridge.wire.wishes import VARIABLE, By, WishWays
from tests.calls.test_switchboard import channel, running, turns, until

WAYS = WishWays("RTZRPause", "RTZRResume", variable=True)
CONNECTED = Connected(PbxInfo("22", "", 0.0))


def told(one: Any) -> list[tuple[str, str, str]]:
    short = [(event.type.rpartition(".")[2], event.subject, event.data.get("by", "")) for event in one.told]
    return [line for line in short if line[0] in ("paused", "resumed")]


async def set_(one: Any, name: str, value: str) -> None:
    one.pbx.says.put_nowait(wire.ChannelVarset(time.time(), channel(name), VARIABLE, value))
    await turns()


async def test_a_paused_call_is_paused_for_all_and_the_pbx_knows() -> None:
    async with running() as one:
        await one.announce("a")
        await one.dial("a", "b")
        assert not one.board.pause("unknown", True)
        assert one.board.pause("a", True)
        assert one.board.pause("a", True)
        await one.dial("a", "c")
        await one.announce("other")
        assert one.desks.paused == [("a", True)]
        assert [one.desks.begun[name].new.paused for name in "abc"] == [False, False, True]
        assert not one.desks.begun["other"].new.paused
        assert one.pbx.set == {(name, VARIABLE): "1" for name in "abc"}
        assert one.board.pause("a", False)
        await turns()
        assert one.pbx.set == {(name, VARIABLE): "0" for name in "abc"}
        assert told(one) == [("paused", "a", "command"), ("resumed", "a", "command")]


async def test_a_leg_whose_process_is_lost_in_a_pause_begins_paused() -> None:
    async with running() as one:
        await one.announce("a")
        one.board.pause("a", True)
        await one.lose("a")
        assert one.desks.begun["a"].new.paused


async def test_consent_is_asked_for_unless_it_was_given_before() -> None:
    rules = (CallRule("sales"),)
    async with running(rules=rules, consent=frozenset({"sales"}), wishes=WAYS) as one:
        await one.announce("a")
        assert one.desks.begun["a"].new.paused
        await set_(one, "b", "0")
        await one.announce("b")
        assert not one.desks.begun["b"].new.paused
        await set_(one, "a", "0")
        assert one.desks.paused == [("a", False)]
        assert told(one) == [("paused", "a", "consent"), ("resumed", "a", "variable")]


async def test_an_empty_variable_is_no_consent_and_ends_what_was_given() -> None:
    rules = (CallRule("sales"),)
    async with running(rules=rules, consent=frozenset({"sales"}), wishes=WAYS) as one:
        await set_(one, "a", "")  # Set(RTZR_PAUSE=${NEVER_SET})
        await one.announce("a")
        assert one.desks.begun["a"].new.paused
        await set_(one, "a", "")
        assert one.desks.paused == []
        await set_(one, "a", "0")
        await set_(one, "a", "")
        assert one.desks.paused == [("a", False), ("a", True)]
    async with running(wishes=WAYS) as one:
        await one.announce("a")
        one.board.pause("a", True)
        await set_(one, "a", "")
        assert one.desks.paused == [("a", True), ("a", False)]


async def test_who_paused_a_call_is_told_and_logged() -> None:
    async with running(wishes=WAYS) as one:
        await one.announce("a")
        with structlog.testing.capture_logs() as logs:
            one.board.pause("a", True, By.PAGE, "kim")
            one.board.pause("a", True, By.PAGE, "lee")
            await set_(one, "a", "0")
        told_ = [event.data for event in one.told if event.type.endswith(("paused", "resumed"))]
        assert [(data["by"], data["who"]) for data in told_] == [("page", "kim"), ("variable", "channel a")]
        lines = [(line["event"], line["by"], line["who"]) for line in logs if "by" in line]
        assert lines == [("call paused", "page", "kim"), ("call resumed", "variable", "channel a")]
        assert {line["log_level"] for line in logs if "by" in line} == {"info"}


async def test_a_wish_before_the_call_is_ours_holds_and_one_who_joins_paused_pauses_all() -> None:
    async with running(wishes=WAYS) as one:
        await set_(one, "a", "1")
        await one.announce("a")
        assert one.desks.begun["a"].new.paused
        await one.announce("b")
        await set_(one, "c", "1")
        await one.dial("b", "c")
        assert one.desks.paused == [("b", True)]
        one.board.pause("b", False)
        await set_(one, "d", "0")
        one.board.pause("b", True)
        await one.dial("b", "d")
        assert one.desks.begun["d"].new.paused  # an old word does not resume what is paused now


async def test_what_the_pbx_says_at_a_connect_holds_unless_it_could_not_be_told() -> None:
    async with running() as one:
        one.pbx.live = (channel("a"), channel("b"))
        one.pbx.set["a", VARIABLE] = "1"
        one.pbx.says.put_nowait(CONNECTED)
        await until(lambda: len(one.desks.begun) == 2)
        assert {name: desk.new.paused for name, desk in one.desks.begun.items()} == {"a": True, "b": False}
        await until(lambda: len(one.pbx.attached) == 2)
        one.pbx.live += tuple(map(channel, one.pbx.attached))
        one.pbx.set["b", VARIABLE] = "1"  # while we were away
        one.pbx.says.put_nowait(CONNECTED)
        await until(lambda: ("b", True) in one.desks.paused)
        one.board.pause("b", False)
        await turns()
        one.pbx.answers = False
        one.board.pause("b", True)
        await turns()
        assert one.pbx.set["b", VARIABLE] == "0"
        one.pbx.answers = True
        one.pbx.says.put_nowait(CONNECTED)
        await until(lambda: one.pbx.set["b", VARIABLE] == "1")
        assert told(one)[-1] == ("paused", "b", "command")


async def test_what_is_ordered_while_the_pbx_is_asked_is_newer_than_its_answer() -> None:
    async with running() as one:
        await one.announce("a")
        one.board.pause("a", True)
        asked = one.board.pauses.asked()
        one.board.pause("a", False)
        one.board.pause("a", True)
        one.board.pauses.found({"a": "0"}, {"a"}, asked)
        assert told(one)[-1][0] == "paused"
        await turns()
