"""Rules on a real Asterisk: calls are chosen, and left alone, without a line in the dialplan."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Script, wait_for
from tests.asterisk.test_calls import dialogue, prompts


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def ruled(pbx: Asterisk, emulator: EmulatorProcess, folder: Path, *rules: dict[str, Any]) -> BridgeProcess:
    prompts(pbx)
    return BridgeProcess(pbx, emulator, folder, rules=list(rules), asterisk={"trunk_contexts": ["outside"]})


def started_by(bridge: BridgeProcess, call: str) -> str | None:
    (event,) = bridge.events("call.started", call)
    rule: str | None = event["data"].get("rule")
    return rule


def assert_both_heard(bridge: BridgeProcess, call: str, caller: int, callee: int) -> None:
    ended = bridge.wait_for_end(call, 40)
    heard = [bridge.finals(call, role) for role in ("caller", "callee")]
    assert heard == [[SENTENCES[caller]], [SENTENCES[callee]]], bridge.told()
    assert (ended["verdict"], ended["legs"]) == ("complete", 2), bridge.told()


def test_a_rule_chooses_a_call_that_nobody_announced_and_no_other(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    chosen = {"name": "외부 전화", "match": {"context": "unann*"}}
    with ruled(pbx, emulator, tmp_path, chosen) as bridge:
        other = pbx.two_party_call([(0.5, HANGUP)], [], context="outside")
        call = pbx.two_party_call(*dialogue(0, 6), context="unannounced")
        announced = pbx.two_party_call(*dialogue(1, 7))
        assert_both_heard(bridge, call.id, 0, 6)
        assert_both_heard(bridge, announced.id, 1, 7)
        assert (started_by(bridge, call.id), started_by(bridge, announced.id)) == ("외부 전화", None)
        assert bridge.events(call=other.id) == []
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def test_every_call_once_though_its_local_channels_call_too(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with ruled(pbx, emulator, tmp_path, {"name": "all"}) as bridge:
        call = pbx.two_party_call(*dialogue(2, 8), context="unannounced")
        assert_both_heard(bridge, call.id, 2, 8)
        assert {event["subject"] for event in bridge.events()} == {call.id}


def test_a_rule_that_forbids_holds_for_announced_calls_too(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    never = {"name": "never", "match": {"caller": "_0199."}, "tap": False}
    with ruled(pbx, emulator, tmp_path, never) as bridge:
        silent = pbx.two_party_call(*dialogue(0, 6), caller_number="019912345")
        call = pbx.two_party_call(*dialogue(3, 9), caller_number="0212345678")
        assert_both_heard(bridge, call.id, 3, 9)
        assert bridge.events(call=silent.id) == []
        assert '"call passed"' in bridge.printed() or '"rule": "never"' in bridge.printed()


def test_a_bridge_that_comes_later_does_not_hear_who_is_forbidden(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """The dialplan has announced the call, and its mark is on the channels."""
    never = {"name": "never", "match": {"caller": "_0199."}, "tap": False}
    silent = pbx.two_party_call([(0, "s0"), (30, HANGUP)], [], caller_number="019912345", ring_s=0.1)
    wait_for(lambda: len(pbx.channels()) >= 4, 10, lambda: pbx.cli("core show channels"))
    with ruled(pbx, emulator, tmp_path, never) as bridge:
        call = pbx.two_party_call(*dialogue(3, 9), caller_number="0212345678")
        assert_both_heard(bridge, call.id, 3, 9)
        assert bridge.events(call=silent.id) == []
    pbx.hangup_all()


def test_a_rules_settings_hold_for_its_calls(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """`vad` sends speech only; the other call is heard whole."""
    saving = {
        "name": "line",
        "match": {"did": "_X."},
        "gate": {"mode": "vad"},
        "rtzr": {"keywords": ["환불"]},
    }
    with ruled(pbx, emulator, tmp_path, saving, {"name": "rest", "gate": {"mode": "immediate"}}) as bridge:
        incoming = pbx.two_party_call(*dialogue(0, 6), context="outside")
        internal = pbx.two_party_call(*dialogue(1, 7), context="unannounced")
        ledgers = [bridge.wait_for_end(call.id, 40)["ledger"] for call in (incoming, internal)]
        assert_both_heard(bridge, incoming.id, 0, 6)
        assert_both_heard(bridge, internal.id, 1, 7)
        assert [started_by(bridge, call.id) for call in (incoming, internal)] == ["line", "rest"]
        # The taps are silent with their parties: only `immediate` makes up for it.
        assert ledgers[0]["filled_ms"] == 0
        assert ledgers[1]["filled_ms"] > 1000


def test_a_chosen_call_is_taken_up_again_by_a_bridge_that_was_killed(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with ruled(pbx, emulator, tmp_path, {"name": "mine", "match": {"context": "unannounced"}}) as bridge:
        caller, callee = dialogue(0, 6, turns=3)
        call = pbx.two_party_call(caller, callee, context="unannounced")
        bridge.wait(lambda: bool(bridge.finals(call.id, "callee")), 30)
        bridge.signal(signal.SIGKILL)
        bridge.kill()
        bridge.start()
        ended = bridge.wait_for_end(call.id, 60)
        assert bridge.finals(call.id, "caller")[-1] == SENTENCES[2]
        assert bridge.finals(call.id, "callee")[-1] == SENTENCES[8]
        assert "joined late" in ended["reasons"]
        rules = [event["data"].get("rule") for event in bridge.events("call.started", call.id)]
        assert rules == ["mine", "mine"]


def test_a_queues_call_is_chosen_when_its_member_rings(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    sales = {"name": "sales", "match": {"queue": "sales"}}
    with ruled(pbx, emulator, tmp_path, sales) as bridge:
        # The queue answers at once, so the caller's script begins before the member's phone rings.
        caller: Script = [(3.0, "s0"), (8.0, HANGUP)]
        call = pbx.two_party_call(caller, [(4.5, "s6")], context="to-queue")
        assert_both_heard(bridge, call.id, 0, 6)
        assert started_by(bridge, call.id) == "sales"


def test_a_variable_that_is_set_later_chooses(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    tenant = {"name": "acme", "match": {"variables": {"TENANT": "ac*"}}}
    with ruled(pbx, emulator, tmp_path, tenant) as bridge:
        call = pbx.two_party_call(*dialogue(4, 10), context="tenant")
        assert_both_heard(bridge, call.id, 4, 10)
        assert started_by(bridge, call.id) == "acme"


def test_a_rules_calls_go_to_its_sinks_alone(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    rules = [
        {"name": "file", "match": {"context": "outside"}, "sinks": ["jsonl"]},
        {"name": "screen", "match": {"context": "unannounced"}, "sinks": ["console"]},
    ]
    prompts(pbx)
    sinks = {"console": {"enabled": True}}
    with BridgeProcess(pbx, emulator, tmp_path, rules=rules, sinks=sinks) as bridge:
        screen = pbx.two_party_call(*dialogue(1, 7), context="unannounced")
        bridge.wait(lambda: SENTENCES[7] in bridge.printed(), 40)
        file = pbx.two_party_call(*dialogue(0, 6), context="outside")
        assert_both_heard(bridge, file.id, 0, 6)
        bridge.wait(lambda: f'"{screen.id}"' in bridge.printed(), 20)
        assert bridge.events(call=screen.id) == []
        assert SENTENCES[1] in bridge.printed()
        assert SENTENCES[0] not in bridge.printed()
