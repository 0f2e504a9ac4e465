"""A PBX with few RTP ports: it must never be a tap that takes the last one, for then Asterisk crashes."""

from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, wait_for
from tests.asterisk.sip import sip_call
from tests.asterisk.test_calls import prompts
from tests.asterisk.test_taps import tapped
from tests.scale import scaled


def with_few_ports(
    pbx: Asterisk, rtzr: EmulatorProcess, folder: Path, tap: str, transport: str, *, given: bool = True
) -> BridgeProcess:
    rtp_range = [pbx.places.rtp_first, pbx.places.rtp_last] if given else None
    return tapped(pbx, rtzr, folder, tap, transport, asterisk={"rtp_range": rtp_range})


def wave_of(pbx: Asterisk, calls: int, silent_s: float = 1.0) -> list[Call]:
    """So many calls at once, to their end. They are silent for so long at first."""
    caller: Script = [(silent_s, "s0"), (2.0, HANGUP)]
    callee: Script = [(silent_s + 1.5, "s1")]
    made = [
        pbx.two_party_call(caller, callee, ring_s=4.0) for _ in range(calls)
    ]  # all at once: taps take time
    wait_for(lambda: not pbx.channels(), 40, lambda: pbx.cli("core show channels"))
    return made


def assert_heard(bridge: BridgeProcess, calls: list[Call]) -> None:
    for call in calls:
        assert bridge.wait_for_end(call.id)["verdict"] == "complete", bridge.told()
        assert bridge.finals(call.id, "caller") == [SENTENCES[0]], bridge.told()


def refused(bridge: BridgeProcess) -> dict[str, Any]:
    """The reasons, by call."""
    return {event["subject"]: event["data"]["reason"] for event in bridge.events("call.refused")}


@pytest.mark.parametrize("tap", ["chanspy", "external"])
def test_calls_beyond_the_ports_are_refused_and_the_pbx_lives(
    asterisk_installed: None, tmp_path: Path, tap: str
) -> None:
    """20 pairs, 4 of them spare: 8 calls of two taps, their telephones being Local channels."""
    with (
        Asterisk(rtp_ports=40) as pbx,
        EmulatorProcess(tmp_path) as rtzr,
        with_few_ports(pbx, rtzr, tmp_path, tap, "rtp") as bridge,
    ):
        for wave in range(scaled(5, 2)):
            process = pbx.pid
            calls = wave_of(pbx, 30)
            told = refused(bridge)
            assert set(told.values()) == {"rtp ports"}
            heard = [call for call in calls if call.id not in told]
            assert (len(heard), len(told)) == (8, 22 * (wave + 1))
            assert_heard(bridge, heard)
            assert pbx.pid == process
            assert pbx.ari("GET", "asterisk/ping")
        assert "Unable to allocate" not in pbx.log()


def test_over_another_transport_taps_take_no_rtp_ports_and_no_call_is_refused(
    asterisk_installed: None, tmp_path: Path
) -> None:
    with (
        Asterisk(rtp_ports=40) as pbx,
        EmulatorProcess(tmp_path) as rtzr,
        with_few_ports(pbx, rtzr, tmp_path, "chanspy", "websocket") as bridge,
    ):
        # Sixty taps at once take the machine a second or two.
        assert_heard(bridge, wave_of(pbx, 30, silent_s=3.0))
        assert refused(bridge) == {}
        assert "Unable to allocate" not in pbx.log()


def test_over_ari_the_range_is_asked_for_on_the_first_call(asterisk_installed: None, tmp_path: Path) -> None:
    """Nothing in the YAML: a burst meets it, and calls that are live at a start."""
    with Asterisk(rtp_ports=40) as pbx, EmulatorProcess(tmp_path) as rtzr:
        process = pbx.pid
        with with_few_ports(pbx, rtzr, tmp_path, "chanspy", "rtp", given=False) as bridge:
            calls = wave_of(pbx, 30)
            told = refused(bridge)
            assert "rtp ports" in told.values()  # a machine that is busy may refuse one for itself
            heard = [call for call in calls if call.id not in told]
            assert 6 <= len(heard) <= 8, told
            assert_heard(bridge, heard)
        (tmp_path / "again").mkdir()
        live = [pbx.two_party_call([(8.0, HANGUP)], []) for _ in range(20)]
        with with_few_ports(pbx, rtzr, tmp_path / "again", "chanspy", "rtp", given=False) as bridge:
            bridge.wait(lambda: len(bridge.events("call.refused")) >= 12, 10)
            assert {event["subject"] for event in bridge.events("call.refused")} <= {call.id for call in live}
            wait_for(lambda: not pbx.channels(), 20, lambda: pbx.cli("core show channels"))
        assert pbx.pid == process
        assert "Unable to allocate" not in pbx.log()


def test_over_ami_the_range_is_read_and_not_given(asterisk_installed: None, tmp_path: Path) -> None:
    """As above, with nothing in the YAML."""
    with Asterisk(rtp_ports=24) as pbx, EmulatorProcess(tmp_path) as rtzr:
        prompts(pbx)
        with BridgeProcess(pbx, rtzr, tmp_path, asterisk={"via": "ami"}, rules=[{"name": "all"}]) as bridge:
            calls = [pbx.two_party_call([(4.0, HANGUP)], []) for _ in range(8)]
            bridge.wait(lambda: len(bridge.events("call.refused")) == 4, 10)
            refused = {event["subject"] for event in bridge.events("call.refused")}
            for call in calls:
                if call.id not in refused:
                    bridge.wait_for_end(call.id)
            assert '"rtp ports of the pbx known"' in bridge.printed()
            wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))


def test_telephones_count_too(asterisk_installed: None, tmp_path: Path) -> None:
    """12 pairs, 4 of them spare: a call from a telephone takes one and its taps two."""
    with (
        Asterisk(rtp_ports=24) as pbx,
        EmulatorProcess(tmp_path) as rtzr,
        with_few_ports(pbx, rtzr, tmp_path, "chanspy", "rtp") as bridge,
    ):
        held = [pbx.two_party_call([(8.0, HANGUP)], []) for _ in range(3)]
        bridge.wait(lambda: len(bridge.events("leg.started")) == 6, 10)
        with sip_call(pbx, "5551234", b"\x2a\x55" * 4000, tmp_path):
            bridge.wait(lambda: len(bridge.events("call.refused")) == 1, 10)
        for call in held:
            bridge.wait_for_end(call.id)
        wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))
