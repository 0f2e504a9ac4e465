"""Every kind of tap over every transport on a real Asterisk: every word, and nothing is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, free_tcp_port, wait_for
from tests.asterisk.test_calls import dialogue, prompts

TAPS = ("chanspy", "snoop", "external")
TRANSPORTS = ("rtp", "websocket", "websocket_client", "audiosocket")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def tapped(
    pbx: Asterisk, emulator: EmulatorProcess, folder: Path, tap: str, transport: str, **changes: Any
) -> BridgeProcess:
    """The daemon with this kind of tap."""
    prompts(pbx)
    ports = {"audiosocket_port": free_tcp_port(), "websocket_port": pbx.places.media_port}
    asterisk = {"tap": tap, "transport": transport, **changes.pop("asterisk", {})}
    media = {**ports, **changes.pop("media", {})}
    return BridgeProcess(pbx, emulator, folder, asterisk=asterisk, media=media, **changes)


def assert_heard(bridge: BridgeProcess, call: Call, caller: int, callee: int) -> dict[str, Any]:
    ended = bridge.wait_for_end(call.id, 40)
    heard = [bridge.finals(call.id, role) for role in ("caller", "callee")]
    assert heard == [[SENTENCES[caller]], [SENTENCES[callee]]], bridge.told()
    assert (ended["verdict"], ended["legs"], ended["ledger"]["lost_ms"]) == ("complete", 2, 0), bridge.told()
    return ended


def bridges_of_ours(pbx: Asterisk) -> list[str]:
    return [one["id"] for one in pbx.ari("GET", "bridges") if one["id"].startswith("rtzr-bridge.")]


def assert_nothing_left(pbx: Asterisk, rows_before: int) -> None:
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
    wait_for(lambda: not bridges_of_ours(pbx), 5, lambda: pbx.cli("bridge show all"))
    ours = ("UnicastRTP/", "WebSocket/", "AudioSocket/", "Snoop/")
    rows = [row["channel"] + " " + row["dstchannel"] for row in pbx.cdr_rows()[rows_before:]]
    assert not [row for row in rows if any(one in row for one in ours)], rows


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("tap", TAPS)
def test_both_parties_are_heard_word_for_word_by_every_tap_over_every_transport(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, tap: str, transport: str
) -> None:
    rows = len(pbx.cdr_rows())
    with tapped(pbx, emulator, tmp_path, tap, transport) as bridge:
        one = pbx.two_party_call(*dialogue(0, 6))
        other = pbx.two_party_call(*dialogue(1, 7))
        assert_heard(bridge, one, 0, 6)
        assert_heard(bridge, other, 1, 7)
        assert_nothing_left(pbx, rows)
        assert bridge.printed().count('"level": "error"') == 0, bridge.told()
        assert f'"transport": "{transport}"' in bridge.printed()


@pytest.mark.parametrize("transport", ["websocket", "websocket_client", "audiosocket"])
def test_over_ami_every_transport_does_without_a_dialplan(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, transport: str
) -> None:
    """Over WebSocket Asterisk's HTTP server has the audio, but ARI is not asked."""
    rows, asked = len(pbx.cdr_rows()), len(pbx.log())
    rule = {"name": "all", "match": {"context": "unannounced"}}
    over_ami = {"via": "ami", "tap_context": "no-such-context"}
    with tapped(pbx, emulator, tmp_path, "chanspy", transport, asterisk=over_ami, rules=[rule]) as bridge:
        call = pbx.two_party_call(*dialogue(5, 11), context="unannounced")
        assert_heard(bridge, call, 5, 11)
        assert_nothing_left(pbx, rows)
        assert "rtzr-tap" not in pbx.log()[asked:]


@pytest.mark.parametrize("tap", ["snoop", "external"])
@pytest.mark.parametrize("transport", ["rtp", "audiosocket"])
def test_a_wideband_call_is_heard_in_wideband(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, tap: str, transport: str
) -> None:
    with tapped(pbx, emulator, tmp_path, tap, transport) as bridge:
        wide = pbx.two_party_call(*dialogue(2, 8), codec="slin16")
        narrow = pbx.two_party_call(*dialogue(3, 9))
        assert_heard(bridge, wide, 2, 8)
        assert_heard(bridge, narrow, 3, 9)
        codecs = {
            event["subject"]: event["data"]["codec"]
            for event in bridge.events("leg.started")
            if event["data"]["party"]["role"] == "caller"
        }
        expected = "slin" if transport == "audiosocket" else "ulaw"
        assert codecs == {wide.id: "slin16", narrow.id: expected}


def test_a_bridge_that_is_killed_leaves_external_media_to_the_next_one(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Nothing in Asterisk ends it by itself; a call that is still up is taken up again."""
    rows = len(pbx.cdr_rows())
    with tapped(pbx, emulator, tmp_path, "external", "rtp") as bridge:
        brief = pbx.two_party_call([(1.0, "s0"), (1.0, HANGUP)], [])
        longer = pbx.two_party_call([(1.0, "s1"), (6.0, "s2"), (1.0, HANGUP)], [])
        bridge.wait(lambda: bridge.finals(longer.id, "caller") == [SENTENCES[1]], 20)
        bridge.wait(lambda: bridge.finals(brief.id, "caller") == [SENTENCES[0]], 20)
        bridge.kill()
        wait_for(
            lambda: brief.caller not in {one["id"] for one in pbx.channels()},
            10,
            lambda: pbx.cli("core show channels"),
        )
        bridge.start()
        bridge.wait_for_end(longer.id, 40)
        assert bridge.finals(longer.id, "caller") == [SENTENCES[1], SENTENCES[2]], bridge.told()
        assert '"stray bridge removed"' in bridge.printed()
        assert_nothing_left(pbx, rows)


def test_the_safest_transport_is_chosen_and_told(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with tapped(pbx, emulator, tmp_path, "chanspy", "auto") as bridge:
        (told,) = [line for line in bridge.printed().splitlines() if '"transport chosen"' in line]
        assert '"transport": "rtp"' in told
        assert "can neither stall nor end a call" in told
        call = pbx.two_party_call(*dialogue(4, 10))
        assert_heard(bridge, call, 4, 10)
