"""Calls on a real Asterisk while RTZR is away or full, or the bridge is killed: what was said still comes."""

import signal
from pathlib import Path

from bridge.emulator.codebook import SENTENCES, say
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for


def prompts(pbx: Asterisk) -> None:
    for index in range(6):
        pbx.prompt(f"s{index}", say(SENTENCES[index]))


def test_rtzr_killed_in_mid_sentence_and_back_later_costs_no_word(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    with EmulatorProcess(tmp_path) as rtzr, BridgeProcess(pbx, rtzr, tmp_path) as bridge:
        call = pbx.two_party_call(
            [(0.8, "s0"), (0.5, "s1"), (6.0, "s2"), (2.0, HANGUP)], [(1.0, "s3"), (4.0, "s4")]
        )
        bridge.wait(lambda: bool(bridge.events("transcript.partial", call.id)), 15)
        rtzr.kill()
        wait_for(lambda: '"no session"' in bridge.printed(), 15, bridge.printed)
        rtzr.__enter__()
        ended = bridge.wait_for_end(call.id, 40)
        said = " ".join(bridge.finals(call.id, "caller")), " ".join(bridge.finals(call.id, "callee"))
        assert said == (" ".join(SENTENCES[:3]), " ".join(SENTENCES[3:5]))
        assert (ended["verdict"], ended["ledger"]["lost_ms"]) == ("complete", 0)
        assert ended["ledger"]["reconnects"] >= 2
        assert ended["cost"]["won"] > 0


def test_with_one_channel_both_parties_share_a_stream_that_says_so(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    quota = {"max_sessions": 1, "on_full": "mix_legs"}
    with (
        EmulatorProcess(tmp_path, "--max-streams", "1") as rtzr,
        BridgeProcess(pbx, rtzr, tmp_path, quota=quota) as bridge,
    ):
        call = pbx.two_party_call([(0.8, "s0"), (4.0, HANGUP)], [(3.0, "s3")])
        ended = bridge.wait_for_end(call.id, 30)
        finals = bridge.events("transcript.final", call.id)
        told = [(final["data"]["start_ms"], final["data"]["text"]) for final in finals]
        assert [text for _, text in told] == [SENTENCES[0], SENTENCES[3]], (told, ended["ledger"])
        assert all(final["data"]["mixed"] for final in finals)
        assert ended["ledger"]["sessions"] == 1
        assert (ended["ledger"]["lost_ms"], ended["ledger"]["mixed_ms"] > 500) == (0, True)


def test_killed_while_rtzr_is_away_the_next_bridge_delivers_what_was_said(
    pbx: Asterisk, tmp_path: Path
) -> None:
    prompts(pbx)
    spool = {"folder": str(tmp_path / "spool")}
    with (
        EmulatorProcess(tmp_path, "--knob", "spent=true") as rtzr,
        BridgeProcess(pbx, rtzr, tmp_path, spool=spool) as bridge,
    ):
        call = pbx.two_party_call([(0.8, "s0"), (5.0, HANGUP)], [(2.5, "s3")])
        wait_for(lambda: not pbx.channels(), 30, lambda: pbx.cli("core show channels"))
        bridge.signal(signal.SIGKILL)
        bridge.kill()
        rtzr.kill()
        with (
            EmulatorProcess(tmp_path) as mended,
            BridgeProcess(pbx, mended, tmp_path, spool=spool) as next_one,
        ):
            next_one.wait(
                lambda: (
                    next_one.finals(call.id, "caller") == [SENTENCES[0]]
                    and next_one.finals(call.id, "callee") == [SENTENCES[3]]
                ),
                40,
            )
            assert all(final["data"]["late"] for final in next_one.events("transcript.final", call.id))
            wait_for(lambda: not list((tmp_path / "spool").rglob("*.wav")), 10, next_one.printed)
