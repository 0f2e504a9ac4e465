"""Calls that the dialplan sends with AudioSocket, on a real Asterisk: one line, and its caller is heard."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES, say
from bridge.wire.g711 import pcm_to_ulaw
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, free_tcp_port, wait_for
from tests.asterisk.sip import sip_call
from tests.asterisk.test_stasis import assert_said, went_on
from tests.asterisk.test_taps import assert_nothing_left, tapped


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def visited(pbx: Asterisk, emulator: EmulatorProcess, folder: Path, **changes: Any) -> BridgeProcess:
    port = free_tcp_port()
    pbx.ari("POST", "asterisk/variable", variable="AUDIOSOCKET_AT", value=f"127.0.0.1:{port}")
    media = {"audiosocket_calls": True, "audiosocket_port": port}
    tap = changes.get("asterisk", {}).get("tap", "chanspy")
    return tapped(pbx, emulator, folder, tap, "rtp", media=media, **changes)


def visits(pbx: Asterisk, script: Script, context: str = "visit", **options: Any) -> Call:
    return pbx.two_party_call(script, [], context=context, **options)


@pytest.mark.parametrize("via", ["ari", "ami"])
def test_the_caller_is_heard_word_for_word(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, via: str
) -> None:
    rows = len(pbx.cdr_rows())
    with visited(pbx, emulator, tmp_path, asterisk={"via": via}) as bridge:
        calls = [
            visits(
                pbx, [(1.0, f"s{one}"), (0.8, f"s{one + 4}"), (0.5, HANGUP)], caller_number=f"02123400{one}"
            )
            for one in range(4)
        ]
        for number, call in enumerate(calls):
            assert assert_said(bridge, call, number, number + 4)["verdict"] == "complete"
            (started,) = bridge.events("leg.started", call.id)
            party = started["data"]["party"]
            assert (party["role"], party["number"]) == ("caller", f"02123400{number}")
        assert_nothing_left(pbx, rows)
        assert '"level": "error"' not in bridge.printed()
        told = [(row["dst"], row["dstchannel"], row["lastapp"]) for row in pbx.cdr_rows()[rows:]]
        assert sorted(told) == sorted((call.number, "", "AudioSocket") for call in calls)


def test_the_last_word_is_there_though_the_caller_hangs_up_at_its_end(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with visited(pbx, emulator, tmp_path) as bridge:
        call = visits(pbx, [(1.0, "s2"), (0.0, HANGUP)])
        assert_said(bridge, call, 2)
        (ended,) = bridge.events("leg.ended", call.id)
        assert ended["data"]["cause"] in ("cause 16", "stream ended"), "whichever is told first"


def test_the_call_goes_on_when_the_bridge_stops(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with visited(pbx, emulator, tmp_path, drain_s=0) as bridge:
        call = visits(pbx, [(1.0, "s0")])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        assert bridge.terminate() == 0
        went_on(pbx, call, "")
        assert [one["data"]["cause"] for one in bridge.events("leg.ended", call.id)] == ["bridge stopped"]
        away = visits(pbx, [])
        went_on(pbx, away, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_call_goes_on_when_the_bridge_does_not(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, number: signal.Signals
) -> None:
    with visited(pbx, emulator, tmp_path) as bridge:
        call = visits(pbx, [(1.0, "s0")])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        bridge.signal(number)
        went_on(pbx, call, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": [{"name": "never", "tap": False}]},
        {"overload": {"max_legs": 1}},  # a call has two parties, as far as anybody knows
    ],
    ids=["forbidden", "no room"],
)
def test_the_call_goes_on_at_once_when_it_is_not_to_be_heard(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with visited(pbx, emulator, tmp_path, **changes) as bridge:
        call = visits(pbx, [])
        wait_for(lambda: bool(pbx.variable(call.caller, "WENT_ON")), 3, bridge.told)
        assert bridge.events("leg.started") == []


def test_the_uuid_of_nobody_is_refused(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    """A channel of the driver is none that runs the application."""
    with visited(pbx, emulator, tmp_path) as bridge:
        at = pbx.ari("GET", "asterisk/variable", variable="AUDIOSOCKET_AT")["value"]
        key = "6b0f1a52-0000-4000-8000-00000000000f"
        pbx.originate(f"AudioSocket/{at}/{key}/c(slin)", context="gone-on", formats="slin", extension="77")
        bridge.wait(lambda: '"audiosocket of nobody"' in bridge.printed(), 5)
        wait_for(lambda: not pbx.channels(), 3, lambda: pbx.cli("core show channels"))
        assert bridge.events() == []


def test_one_uuid_for_two_calls_is_refused_and_told(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """The first call is heard alone, though it had been silent."""
    with visited(pbx, emulator, tmp_path) as bridge:
        first = visits(pbx, [(1.0, "s0"), (6.0, "s1"), (0.5, HANGUP)], "visit-alike")
        bridge.wait(lambda: bridge.finals(first.id, "caller") == [SENTENCES[0]], 20)
        second = visits(pbx, [(0.5, "s5")], "visit-alike")
        wait_for(lambda: bool(pbx.variable(second.caller, "WENT_ON")), 3, bridge.told)
        assert '"audiosocket refused"' in bridge.printed()
        assert_said(bridge, first, 0, 1)
        assert bridge.events(call=second.id) == []


def test_a_call_that_is_tapped_already_is_heard_once_and_stays(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with visited(pbx, emulator, tmp_path) as bridge:
        call = visits(pbx, [(1.5, "s3"), (6.0, "s4"), (0.5, HANGUP)], "visit-announced")
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[3]], 20)
        assert '"call is tapped already' in bridge.printed()
        assert_said(bridge, call, 3, 4)
        assert pbx.variable(call.caller, "WENT_ON") is None


def test_a_call_that_comes_again_is_heard_again(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with visited(pbx, emulator, tmp_path) as bridge:
        call = visits(pbx, [(1.0, "s0"), (4.0, "s1"), (0.5, HANGUP)])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        name = pbx.ari("GET", f"channels/{call.caller}")["name"]
        pbx.cli(f"channel redirect {name} visit,{call.number},1")
        bridge.wait(lambda: len(bridge.finals(call.id, "caller")) == 2, 20)
        assert bridge.finals(call.id, "caller") == [SENTENCES[0], SENTENCES[1]]


@pytest.mark.parametrize(("number", "tap"), [("8801", "snoop"), ("8802", "chanspy")], ids=["stays", "visits"])
def test_a_telephone_that_calls_by_sip_is_heard_alone(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, number: str, tap: str
) -> None:
    """Its audio never pauses, and is heard to the last word."""
    rows = len(pbx.cdr_rows())
    speech = bytes(2 * 8 * 800) + say(SENTENCES[2])
    with visited(pbx, emulator, tmp_path, asterisk={"tap": tap}) as bridge:
        with sip_call(pbx, number, pcm_to_ulaw(speech), tmp_path):
            bridge.wait(lambda: bool(bridge.events("call.ended")), 20)
        (started,) = bridge.events("leg.started")
        assert started["data"]["party"]["number"] == "0298765432"
        (final,) = bridge.events("transcript.final")
        assert final["data"]["text"] == SENTENCES[2]
        assert_nothing_left(pbx, rows)
        (row,) = pbx.cdr_rows()[rows:]
        assert (row["dst"], row["dstchannel"]) == (number, "")
