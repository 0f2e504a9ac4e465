"""Calls that the dialplan sends to the bridge to stay, on a real Asterisk: heard to their end, and given back
whenever they are not."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, wait_for
from tests.asterisk.test_taps import TAPS, assert_nothing_left, tapped

ALL = {"name": "all"}
NEVER = {"name": "never", "match": {"caller": "_0199."}, "tap": False}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


@pytest.fixture
def bridge(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> Iterator[BridgeProcess]:
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp") as running:
        yield running


def stays(pbx: Asterisk, script: Script, context: str = "stay", **options: Any) -> Call:
    return pbx.two_party_call(script, [], context=context, **options)


def went_on(pbx: Asterisk, call: Call, status: str) -> None:
    """The next priority is reached with this STASISSTATUS."""
    wait_for(
        lambda: pbx.variable(call.caller, "WENT_ON") == f"{status}.",
        10,
        lambda: f"{pbx.cli('core show channels')}\n{pbx.variable(call.caller, 'WENT_ON')}",
    )


def waits(pbx: Asterisk, call: Call) -> None:
    """The call is with the bridge."""
    wait_for(
        lambda: pbx.ari("GET", f"channels/{call.caller}")["dialplan"]["app_name"] == "Stasis",
        10,
        lambda: pbx.cli("core show channels"),
    )


def assert_said(bridge: BridgeProcess, call: Call, *sentences: int) -> dict[str, Any]:
    ended = bridge.wait_for_end(call.id, 40)
    heard = [bridge.finals(call.id, role) for role in ("caller", "callee")]
    assert heard == [[SENTENCES[one] for one in sentences], []], bridge.told()
    assert (ended["legs"], ended["ledger"]["lost_ms"]) == (1, 0), bridge.told()
    return ended


@pytest.mark.parametrize("rules", [[], [ALL]], ids=["no rules", "rules"])
@pytest.mark.parametrize("tap", TAPS)
def test_a_call_that_stays_is_heard_word_for_word(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, tap: str, rules: list[dict[str, Any]]
) -> None:
    rows = len(pbx.cdr_rows())
    with tapped(pbx, emulator, tmp_path, tap, "rtp", rules=rules) as bridge:
        script: Script = [(1.0, "s0"), (0.8, "s1"), (0.5, HANGUP)]
        calls = [stays(pbx, script, context) for context in ("stay", "stay-announced")]
        for call in calls:
            assert assert_said(bridge, call, 0, 1)["verdict"] == "complete"
            started = [event["data"].get("rule") for event in bridge.events("call.started", call.id)]
            assert started == (["all"] if rules else [None])
        assert_nothing_left(pbx, rows)
        assert '"level": "error"' not in bridge.printed()
        assert '"tap ended alone"' not in bridge.printed()
        wait_for(lambda: len(pbx.cdr_rows()) == rows + 2, 5, lambda: str(pbx.cdr_rows()[rows:]))
        told = [(row["dst"], row["dstchannel"], row["disposition"]) for row in pbx.cdr_rows()[rows:]]
        assert sorted(told) == sorted((call.number, "", "ANSWERED") for call in calls)
        assert {row["lastapp"] for row in pbx.cdr_rows()[rows:]} == {"Stasis"}


@pytest.mark.parametrize("by", ["cli", "continue"])
def test_a_call_that_is_moved_away_is_heard_until_it_ends(
    pbx: Asterisk, bridge: BridgeProcess, by: str
) -> None:
    call = stays(pbx, [(1.0, "s0"), (2.5, "s1"), (0.5, HANGUP)])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
    if by == "cli":
        name = pbx.ari("GET", f"channels/{call.caller}")["name"]
        pbx.cli(f"channel redirect {name} gone-on,{call.number},1")
    else:
        pbx.ari(
            "POST", f"channels/{call.caller}/continue", context="gone-on", extension=call.number, priority="1"
        )
    wait_for(lambda: bool(pbx.variable(call.caller, "WENT_ON")), 5, lambda: pbx.cli("core show channels"))
    assert assert_said(bridge, call, 0, 1)["verdict"] == "complete"
    assert len(bridge.events("leg.started", call.id)) == 1


def test_it_goes_on_when_the_bridge_stops(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp", drain_s=3) as bridge:
        call = stays(pbx, [(1.0, "s0")])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        bridge.signal(signal.SIGTERM)
        bridge.wait(lambda: '"stopping"' in bridge.printed(), 5)
        for context in ("stay", "stay-announced"):
            went_on(pbx, stays(pbx, [], context), "SUCCESS")
        assert bridge.ended() == 0
        went_on(pbx, call, "SUCCESS")
        assert [event["data"]["cause"] for event in bridge.events("leg.ended", call.id)] == ["bridge stopped"]


def test_it_goes_on_even_when_the_bridge_is_forced_to_stop(pbx: Asterisk, bridge: BridgeProcess) -> None:
    call = stays(pbx, [(1.0, "s0")])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
    bridge.signal(signal.SIGTERM)
    bridge.wait(lambda: '"stopping"' in bridge.printed(), 5)
    assert bridge.terminate() == 1
    went_on(pbx, call, "SUCCESS")


@pytest.mark.parametrize("context", ["stay", "stay-announced"])
def test_a_call_that_a_rule_forbids_goes_on_at_once(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, context: str
) -> None:
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp", rules=[NEVER]) as bridge:
        call = stays(pbx, [(1.0, "s0")], context, caller_number="019912345")
        went_on(pbx, call, "SUCCESS")
        assert bridge.events(call=call.id) == []
        assert '"call given back to its dialplan"' in bridge.printed()


@pytest.mark.parametrize("context", ["stay", "stay-announced"])
def test_a_call_without_room_goes_on_at_once(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, context: str
) -> None:
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp", overload={"max_legs": 2}) as bridge:
        first = stays(pbx, [(1.0, "s0"), (3.0, HANGUP)])
        bridge.wait(lambda: len(bridge.events("leg.started", first.id)) == 1)
        call = stays(pbx, [(1.0, "s1")], context)
        went_on(pbx, call, "SUCCESS")
        assert bridge.events("leg.started", call.id) == []
        assert_said(bridge, first, 0)


@pytest.mark.parametrize("via", ["ari", "ami", ""])
def test_it_goes_on_where_no_bridge_is(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, via: str
) -> None:
    """Over AMI none ever is there for it."""
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp", asterisk={"via": via or "ari"}) as bridge:
        if not via:
            bridge.kill()
            wait_for(lambda: "rtzr-bridge" not in pbx.cli("ari show apps"), 5, bridge.printed)
        call = stays(pbx, [(1.0, "s0"), (1.0, HANGUP)], "stay-announced")
        if via == "ari":
            waits(pbx, call)
        else:
            went_on(pbx, call, "FAILED")
        if via:
            assert_said(bridge, call, 0)
            assert bridge.terminate() == 0
            assert '"request to the pbx failed"' not in bridge.printed()


@pytest.mark.parametrize(
    ("context", "rules"),
    [("stay", []), ("stay-announced", []), ("stay", [ALL])],
    ids=["", "announced", "ruled"],
)
def test_a_call_that_waits_for_a_killed_bridge_is_taken_up_again_and_given_back_in_the_end(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, context: str, rules: list[dict[str, Any]]
) -> None:
    with tapped(pbx, emulator, tmp_path, "chanspy", "rtp", drain_s=0, rules=rules) as bridge:
        call = stays(pbx, [(1.0, "s0"), (3.0, "s1")], context)
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        bridge.kill()
        waits(pbx, call)
        bridge.start()
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0], SENTENCES[1]], 20)
        assert bridge.terminate() == 0
        (ended,) = bridge.events("call.ended", call.id)
        assert ended["data"]["reasons"] == ["joined late"]
        went_on(pbx, call, "SUCCESS")
