"""Calls on a real Asterisk, heard by two worker processes: shared out, and a dead one costs only its own."""

import os
import signal
import time
from pathlib import Path

import pytest

from bridge.emulator.codebook import SENTENCES, say
from bridge.wire.rendezvous import choose
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, wait_for
from tests.asterisk.test_taps import assert_heard, tapped

PLACES = ["worker 0", "worker 1"]


def prompts(pbx: Asterisk) -> None:
    for index in range(4):
        pbx.prompt(f"s{index}", say(SENTENCES[index]))


def workers(bridge: BridgeProcess) -> dict[str, int]:
    """The process id of each worker, by the name that calls are shared out by."""
    found = {}
    for child in bridge.children():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        found[command[-2].decode().replace("=", " ")] = child
    return found


def test_two_workers_share_the_calls_and_hear_every_word(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    with EmulatorProcess(tmp_path) as rtzr, BridgeProcess(pbx, rtzr, tmp_path, workers=2) as bridge:
        assert sorted(workers(bridge)) == PLACES
        calls: list[Call] = []
        while len(calls) < 8 or len({choose(call.id, PLACES) for call in calls}) < 2:
            calls.append(pbx.two_party_call([(0.8, "s0"), (3.0, HANGUP)], [(2.5, "s1")]))
        for call in calls:
            ended = bridge.wait_for_end(call.id, 40)
            assert (ended["verdict"], ended["ledger"]["lost_ms"]) == ("complete", 0), bridge.told()
            assert bridge.finals(call.id, "caller") == [SENTENCES[0]]
            assert bridge.finals(call.id, "callee") == [SENTENCES[1]]
        assert rtzr.stats()["tokens_issued"] == 1
        wait_for(lambda: rtzr.stats()["sockets_open"] == 0, 10, bridge.printed)
        processes = list(workers(bridge).values())
        assert bridge.terminate() == 0
        assert not [one for one in processes if Path(f"/proc/{one}").exists()]


@pytest.mark.parametrize("transport", ["websocket", "audiosocket"])
def test_two_workers_hear_over_every_transport_that_they_can_share(
    pbx: Asterisk, tmp_path: Path, transport: str
) -> None:
    """Over AudioSocket, each listens on a port of its own."""
    with (
        EmulatorProcess(tmp_path) as rtzr,
        tapped(pbx, rtzr, tmp_path, "chanspy", transport, workers=2) as bridge,
    ):
        calls: list[Call] = []
        while len(calls) < 4 or len({choose(call.id, PLACES) for call in calls}) < 2:
            calls.append(pbx.two_party_call([(0.8, "s0"), (2.5, HANGUP)], [(1.0, "s1")]))
        for call in calls:
            assert_heard(bridge, call, 0, 1)
        assert '"level": "error"' not in bridge.printed()


def test_a_dead_worker_is_put_back_and_its_calls_are_tapped_again(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    with EmulatorProcess(tmp_path) as rtzr, BridgeProcess(pbx, rtzr, tmp_path, workers=2) as bridge:
        calls = [
            pbx.two_party_call([(0.8, "s0"), (6.0, "s1"), (1.5, HANGUP)], [(4.0, "s2")]) for _ in range(6)
        ]
        bridge.wait(lambda: all(bridge.finals(call.id, "caller") == [SENTENCES[0]] for call in calls), 20)
        victim = choose(calls[0].id, PLACES)
        hit = [call for call in calls if choose(call.id, PLACES) == victim]
        spared = [call for call in calls if call not in hit]
        os.kill(workers(bridge)[victim], signal.SIGKILL)
        killed_s = time.monotonic()
        bridge.wait(lambda: all(len(bridge.events("leg.started", call.id)) == 4 for call in hit), 10)
        assert time.monotonic() - killed_s < 3
        for call in calls:
            ended = bridge.wait_for_end(call.id, 40)
            assert bridge.finals(call.id, "caller") == [SENTENCES[0], SENTENCES[1]]
            if call in hit:
                assert ended["reasons"] == ["worker lost"] * len(ended["reasons"]) != []
            else:
                assert (ended["verdict"], ended["ledger"]["lost_ms"]) == ("complete", 0), bridge.told()
        assert [len(bridge.events("leg.started", call.id)) for call in spared] == [2] * len(spared)
        ids = [event["id"] for event in bridge.events()]
        assert len(ids) == len(set(ids)), "a receiver drops repeats by id"
        assert [len(bridge.events("call.ended", call.id)) for call in calls] == [1] * len(calls)
        wait_for(lambda: rtzr.stats()["sockets_open"] == 0, 10, bridge.printed)
        wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))


def test_workers_end_with_a_daemon_that_is_killed(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    with EmulatorProcess(tmp_path) as rtzr, BridgeProcess(pbx, rtzr, tmp_path, workers=2) as bridge:
        call = pbx.two_party_call([(0.8, "s0"), (4.0, HANGUP)], [(2.5, "s1")])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        processes = list(workers(bridge).values())
        bridge.kill()
        wait_for(lambda: not any(Path(f"/proc/{one}").exists() for one in processes), 5, bridge.printed)
        wait_for(lambda: rtzr.stats()["sockets_open"] == 0, 10, bridge.printed)
