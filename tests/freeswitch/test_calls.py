"""The daemon beside an emulated FreeSWITCH: people, lines that are cut, restarts.

What FreeSWITCH does in each case is its recordings' or its source's; what the emulation of it is, is in
`bridge.emulator.freeswitch`.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from bridge.emulator.freeswitch.knobs import Module, SwitchKnobs
from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.scenes import SCENES, Spoken
from tests.freeswitch.site import SwitchThread
from tests.scale import scaled


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def said(bridge: FreeSwitchBridge, call: str) -> list[tuple[str, str]]:
    """Who said what, by number, in the order of speaking."""
    finals = [event["data"] for event in bridge.events("transcript.final", call)]
    finals.sort(key=lambda final: int(final["start_ms"]))
    return [(final["party"]["number"], final["text"]) for final in finals]


def assert_whole(bridge: FreeSwitchBridge, call: str, *spoken: Spoken) -> None:
    """Every sentence under its speaker's number, and nothing missing."""
    ended = bridge.wait_for_end(call)
    assert said(bridge, call) == [(number, SENTENCES[sentence]) for number, sentence in spoken], bridge.told()
    assert set(ended["reasons"]) <= {"tapped late"}, (call, bridge.told())  # as on a busy machine it may be


# People: every scene at once, beside one daemon for each kind of stream.

KINDS = [
    (Module.AUDIO_STREAM, {"stream": "mono"}),
    (Module.AUDIO_STREAM_OLD, {"stream": "stereo", "rate": 16000}),
    (Module.AUDIO_FORK, {"stream": "mono", "rate": 24000}),
    (Module.AUDIO_FORK, {"stream": "stereo"}),
]
RULES = [
    {"name": "never", "match": {"extension": "2999"}, "tap": False},
    {"name": "acme", "match": {"variables": {"tenant": "acme"}}},
    {"name": "all", "match": {"context": "default"}},
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("module", "settings"), KINDS, ids=lambda given: str(given))
def test_everybody_is_heard_under_his_number_whatever_happens_to_the_call(
    emulator: EmulatorProcess, tmp_path: Path, module: Module, settings: dict[str, Any]
) -> None:
    with (
        SwitchThread(SwitchKnobs(module=module)) as pbx,
        FreeSwitchBridge(pbx.port, emulator, tmp_path, rules=RULES, freeswitch=settings) as bridge,
    ):
        outcomes = pbx.do(_played(pbx))
        bridge.wait(lambda: len(bridge.events("call.ended")) == len(bridge.events("call.started")))
        for outcome in outcomes:
            for call, spoken in outcome.calls.items():
                if spoken is None:
                    assert not bridge.events(call=call)
                else:
                    unheard = outcome.unheard_in_stereo if settings["stream"] == "stereo" else []
                    assert_whole(bridge, call, *(one for one in spoken if one not in unheard))
            merged = [
                event["data"]["into"] for call in outcome.calls for event in bridge.events("merged", call)
            ]
            assert merged == outcome.merged
            for call, rule in outcome.rules.items():
                assert bridge.events("call.started", call)[0]["data"]["rule"] == rule
        kept = [command for command in pbx.switch.commands if " stop" in command]
        assert kept == []  # streams went on, or ended with their channels


async def _played(pbx: SwitchThread) -> list[Any]:
    return await asyncio.gather(*(scene(pbx) for scene in SCENES))


# Other configurations.


@pytest.fixture
def pbx() -> Iterator[SwitchThread]:
    with SwitchThread() as running:
        yield running


def test_an_announced_call_is_heard_without_a_rule_and_from_its_answer_on(
    pbx: SwitchThread, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    async def announced() -> Any:
        call = pbx.switch.call("1001", "2000")
        await call.ring(announce=True)
        await call.answer()
        return call

    with FreeSwitchBridge(pbx.port, emulator, tmp_path, rules=[]) as bridge:
        other, call = pbx.call("1002", "2000"), pbx.do(announced())
        pbx.say((call.caller, 0), (call.callee, 1))
        pbx.do(call.hang_up())
        pbx.do(other.hang_up())
        assert_whole(bridge, call.uuid, ("1001", 0), ("2000", 1))
        assert not bridge.events(call=other.uuid)


def test_calls_are_shared_among_workers_and_text_goes_back(
    pbx: SwitchThread, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    told = {"pbx": {"variable": "rtzr_last"}}
    with FreeSwitchBridge(pbx.port, emulator, tmp_path, workers=2, sinks=told) as bridge:
        calls = [pbx.call(f"100{number}", f"200{number}") for number in range(4)]
        pbx.say_at_once(*((call.caller, number) for number, call in enumerate(calls)))
        for number, call in enumerate(calls):
            spoken = SENTENCES[number]
            bridge.wait(lambda call=call, spoken=spoken: call.caller.variables.get("rtzr_last") == spoken)  # type: ignore[misc]
            pbx.do(call.hang_up())
        for number, call in enumerate(calls):
            assert_whole(bridge, call.uuid, (f"100{number}", number))
        places = {
            (command.split()[1], command.split("/")[2])
            for command in pbx.switch.commands
            if " start " in command
        }
        for call in calls:  # both of its legs are at one worker, which a call's id decides
            assert (
                len({where for channel, where in places if channel in (call.caller.uuid, call.callee.uuid)})
                == 1
            )


def test_text_goes_back_as_an_event(pbx: SwitchThread, emulator: EmulatorProcess, tmp_path: Path) -> None:
    with FreeSwitchBridge(pbx.port, emulator, tmp_path, sinks={"pbx": {"user_event": "rtzr.said"}}) as bridge:
        call = pbx.call()
        pbx.say((call.caller, 0))
        bridge.wait(lambda: bool(pbx.switch.received))
        (event,) = pbx.switch.received
        assert event["Event-Subclass"] == "rtzr.said"
        assert (event["Channel-ID"], event["Role"], event["Text"]) == (call.uuid, "caller", SENTENCES[0])
        pbx.do(call.hang_up())


# What breaks.


@pytest.mark.parametrize("module", [Module.AUDIO_STREAM, Module.AUDIO_FORK])
def test_a_stream_that_is_lost_comes_again_and_the_call_says_so(
    emulator: EmulatorProcess, tmp_path: Path, module: Module
) -> None:
    with (
        SwitchThread(SwitchKnobs(module=module)) as pbx,
        FreeSwitchBridge(pbx.port, emulator, tmp_path) as bridge,
    ):
        call = pbx.call()
        pbx.say((call.caller, 0))
        pbx.do(pbx.drop())
        bridge.wait(lambda: sum(" start " in command for command in pbx.switch.commands) == 4)
        bridge.wait(lambda: pbx.streamed(call.caller) and pbx.streamed(call.callee))
        pbx.say((call.caller, 1), (call.callee, 2))
        pbx.do(call.hang_up())
        ended = bridge.wait_for_end(call.uuid)
        assert [text for _, text in said(bridge, call.uuid)] == list(SENTENCES[:3])
        assert ended["verdict"] == "partial"
        assert "tap interrupted" in ended["reasons"]


@pytest.mark.timeout(600)
def test_a_line_that_is_cut_again_and_again_leaves_nothing_open(
    pbx: SwitchThread, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """The event socket's: streams go on meanwhile. What comes and goes while it is away is not seen."""
    dice = random.Random(6)
    with FreeSwitchBridge(pbx.port, emulator, tmp_path) as bridge:
        for number in range(scaled(100, 8)):
            call = pbx.call(f"1{number:03}", "2000")
            pbx.say((call.caller, number % 8))
            steps = [pbx.cut, call.hang_up]
            dice.shuffle(steps)
            for step in steps:
                pbx.do(step())
                time.sleep(dice.uniform(0, 0.2))  # another moment of the call each time
        last = pbx.call("1999", "2000")
        bridge.wait(lambda: bool(bridge.events("leg.started", last.uuid)))
        pbx.do(last.hang_up())
        bridge.wait(lambda: len(bridge.events("call.ended")) == len(bridge.events("call.started")), 15)
        started, ended = bridge.events("leg.started"), bridge.events("leg.ended")
        assert len(started) == len(ended) >= 4
        for event in bridge.events("transcript.final"):
            party = event["data"]["party"]["number"]
            spoken = SENTENCES[int(party[1:]) % 8]
            heard = event["data"]["text"].rpartition("] ")[2]  # of half a word, no more than that it was one
            assert spoken.endswith(heard)  # who was found in the middle of it is heard from there
        bridge.wait(lambda: not emulator.stats()["sockets_open"])


def test_a_freeswitch_that_dies_takes_its_calls_along(
    pbx: SwitchThread, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    async def dies() -> None:
        await pbx.switch.deafen()
        pbx.switch.drop_streams()
        pbx.switch.channels.clear()

    with FreeSwitchBridge(pbx.port, emulator, tmp_path) as bridge:
        call = pbx.call()
        pbx.say((call.caller, 0))
        pbx.do(dies())
        pbx.do(pbx.switch.listen())
        ended = bridge.wait_for_end(call.uuid)
        assert said(bridge, call.uuid) == [("1001", SENTENCES[0])]
        assert ended["verdict"] == "partial"
        again = pbx.call("1002", "2000")
        pbx.say((again.caller, 1))
        pbx.do(again.hang_up())
        assert_whole(bridge, again.uuid, ("1002", 1))


@pytest.mark.parametrize("module", [Module.AUDIO_STREAM, Module.AUDIO_STREAM_OLD, Module.AUDIO_FORK])
def test_a_daemon_that_is_killed_finds_its_calls_again(
    emulator: EmulatorProcess, tmp_path: Path, module: Module
) -> None:
    with (
        SwitchThread(SwitchKnobs(module=module)) as pbx,
        FreeSwitchBridge(pbx.port, emulator, tmp_path) as bridge,
    ):
        call = pbx.call()
        pbx.say((call.caller, 0))
        bridge.wait(lambda: bridge.finals(call.uuid, "caller") == [SENTENCES[0]])
        bridge.kill()
        bridge.start()
        bridge.wait(lambda: len(bridge.events("leg.started", call.uuid)) == 4)
        bridge.wait(lambda: pbx.streamed(call.caller) and pbx.streamed(call.callee))
        pbx.say((call.caller, 1), (call.callee, 2))
        pbx.do(call.hang_up())
        ended = bridge.wait_for_end(call.uuid)
        assert [text for _, text in said(bridge, call.uuid)] == list(SENTENCES[:3]), bridge.told()
        assert "joined late" in ended["reasons"]
