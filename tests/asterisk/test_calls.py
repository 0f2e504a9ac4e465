"""Calls on a real Asterisk through the real daemon: what has to happen, and what may never happen."""

import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.wire.g711 import pcm_to_ulaw
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, wait_for
from tests.asterisk.sip import sip_call
from tests.scale import scaled


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    folder = tmp_path_factory.mktemp("emulator")
    with EmulatorProcess(folder, "--recognition-ms", "100", "--connect-delay-ms", "50") as running:
        yield running


@pytest.fixture
def bridge(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> Iterator[BridgeProcess]:
    with BridgeProcess(pbx, emulator, tmp_path) as running:
        yield running


def prompts(pbx: Asterisk) -> None:
    """Every sentence of the code book as a prompt `s<index>`."""
    for index, sentence in enumerate(SENTENCES):
        pbx.prompt(f"s{index}", say(sentence))


def length_s(index: int) -> float:
    return spoken_ms(SENTENCES[index]) / 1000


def dialogue(first: int, second: int, turns: int = 1, pause_s: float = 0.8) -> tuple[Script, Script]:
    """Caller says `first` and on, callee `second` and on, in turn; the caller hangs up 1 s after the last."""
    caller: list[tuple[float, str]] = []
    callee: list[tuple[float, str]] = []
    caller_waits, callee_waits = pause_s, pause_s
    for turn in range(turns):
        one, two = first + turn, second + turn
        caller.append((caller_waits, f"s{one}"))
        callee_waits += length_s(one) + pause_s
        callee.append((callee_waits, f"s{two}"))
        caller_waits = length_s(two) + 2 * pause_s
        callee_waits = pause_s
    return [*caller, (caller_waits, HANGUP)], callee


def sentences(first: int, turns: int) -> list[str]:
    return list(SENTENCES[first : first + turns])


def test_both_parties_are_heard_word_for_word_in_order(
    pbx: Asterisk, bridge: BridgeProcess, emulator: EmulatorProcess
) -> None:
    prompts(pbx)
    before = emulator.stats()
    call = pbx.two_party_call(*dialogue(0, 6, turns=3))
    ended = bridge.wait_for_end(call.id, 40)
    assert bridge.finals(call.id, "caller") == sentences(0, 3)
    assert bridge.finals(call.id, "callee") == sentences(6, 3)
    assert ended["verdict"] == "complete"
    assert ended["ledger"]["lost_ms"] == 0
    assert emulator.stats()["sockets_opened"] - before["sockets_opened"] == 2
    wait_for(lambda: emulator.stats()["sockets_open"] == 0, 5, bridge.printed)
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
    assert bridge.printed().count('"token issued"') == 1
    assert_turns(bridge, call, turns=3)


@pytest.mark.parametrize(("mode", "codec"), [("immediate", "ulaw"), ("vad", "alaw"), ("hybrid", "slin")])
def test_every_mode_and_codec_hears_every_word(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, mode: str, codec: str
) -> None:
    prompts(pbx)
    changes: dict[str, Any] = {"gate": {"mode": mode}, "media": {"codec": codec}}
    with BridgeProcess(pbx, emulator, tmp_path, **changes) as bridge:
        call = pbx.two_party_call(*dialogue(10, 16, turns=2))
        ended = bridge.wait_for_end(call.id, 40)
        assert bridge.finals(call.id, "caller") == sentences(10, 2)
        assert bridge.finals(call.id, "callee") == sentences(16, 2)
        assert ended["verdict"] == "complete"
        ledger = ended["ledger"]
        assert ledger["arrived_ms"] == ledger["sent_first_ms"] + ledger["withheld_ms"]
        # Only `immediate` keeps RTZR's clock going through the holes of a tap whose party is silent.
        assert (ledger["filled_ms"] > 5000) == (mode == "immediate")
        assert_turns(bridge, call, turns=2)


def assert_turns(bridge: BridgeProcess, call: Call, turns: int) -> None:
    """The finals of a dialogue alternate in call time, and each is as long as its sentence sounds."""
    finals = sorted(
        (event["data"] for event in bridge.events("transcript.final", call.id)), key=lambda d: d["start_ms"]
    )
    assert [final["party"]["role"] for final in finals] == ["caller", "callee"] * turns
    for final in finals:
        assert abs(final["end_ms"] - final["start_ms"] - spoken_ms(final["text"])) < 100
    for earlier, later in pairwise(finals):
        assert 200 < later["start_ms"] - earlier["end_ms"] < 2000


def test_a_final_comes_while_a_tap_is_silent(pbx: Asterisk, bridge: BridgeProcess) -> None:
    """ChanSpy sends nothing at all while its party is silent: the clock has to end the utterance."""
    prompts(pbx)
    call = pbx.two_party_call([(0.8, "s0"), (4, "s1"), (1, HANGUP)], [])
    bridge.wait(lambda: len(bridge.finals(call.id, "caller")) == 1)
    assert not bridge.events("call.ended", call.id)
    bridge.wait_for_end(call.id)
    first, second = (event["data"] for event in bridge.events("transcript.final", call.id))
    assert [first["text"], second["text"]] == sentences(0, 2)
    assert first["latency_ms"] < 1000
    assert 3900 < second["start_ms"] - first["end_ms"] < 4500


def test_twenty_calls_at_once_do_not_leak_into_each_other(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    said: dict[str, tuple[str, str]] = {}
    for number in range(20):
        one, two = number % 24, (number + 7) % 24
        call = pbx.two_party_call(*dialogue(one, two), ring_s=3.0)  # forty taps at once
        said[call.id] = SENTENCES[one], SENTENCES[two]
    for call_id, (caller, callee) in said.items():
        ended = bridge.wait_for_end(call_id, 40)
        assert bridge.finals(call_id, "caller") == [caller]
        assert bridge.finals(call_id, "callee") == [callee]
        assert ended["verdict"] == "complete"
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def legs(pbx: Asterisk) -> list[str]:
    """The live channels that are not the bridge's."""
    return [channel["name"] for channel in pbx.channels() if not channel["name"].startswith("UnicastRTP/")]


def taps(pbx: Asterisk) -> list[str]:
    return [channel["id"] for channel in pbx.channels() if channel["name"].startswith("UnicastRTP/")]


def test_a_killed_bridge_leaves_the_call_alone_and_finds_it_again(
    pbx: Asterisk, bridge: BridgeProcess
) -> None:
    prompts(pbx)
    call = pbx.two_party_call([(0.8, "s0"), (6, "s1"), (1, HANGUP)], [(5.5, "s2")])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 1))
    bridge.kill()
    assert len(legs(pbx)) == 4
    old = taps(pbx)
    assert len(old) == 2
    bridge.start()
    bridge.wait(lambda: len(taps(pbx)) == 2 and not set(old) & set(taps(pbx)))
    bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 2))
    assert "joined late" in bridge.wait_for_end(call.id)["reasons"]
    assert bridge.finals(call.id, "callee") == sentences(2, 1)
    ids = [event["id"] for event in bridge.events()]
    assert len(ids) == len(set(ids)), "a receiver drops repeats by id"


def test_after_a_kill_the_pbx_cleans_up_by_itself(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    call = pbx.two_party_call([(0.8, "s0"), (1.5, HANGUP)], [])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 1))
    bridge.kill()
    assert len(legs(pbx)) == 4
    wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))


@pytest.mark.parametrize("state", ["frozen", "dead"])
def test_callees_ring_within_a_second_whatever_the_bridge_does(
    pbx: Asterisk, bridge: BridgeProcess, state: str
) -> None:
    prompts(pbx)
    if state == "frozen":
        bridge.signal(signal.SIGSTOP)
    else:
        bridge.kill()
    for _ in range(3):
        started = time.monotonic()
        call = pbx.two_party_call([(0.2, HANGUP)], [], ring_s=0.3)
        wait_for(
            lambda number=call.number: any(  # type: ignore[misc]
                f"Local/{number}@phones" in channel["name"] and channel["state"] == "Ringing"
                for channel in pbx.channels()
            ),
            1,
            lambda: pbx.cli("core show channels"),
        )
        assert time.monotonic() - started < 1
    wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))


def test_a_bridge_that_was_frozen_in_a_call_catches_up(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    call = pbx.two_party_call([(0.5, "s0"), (1.2, "s1"), (0.8, "s2"), (3, HANGUP)], [])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 1))
    frozen = time.monotonic()
    bridge.signal(signal.SIGSTOP)
    wait_for(lambda: time.monotonic() - frozen > 3, 4, str)
    bridge.signal(signal.SIGCONT)
    assert bridge.wait_for_end(call.id)["verdict"] == "complete"
    assert bridge.finals(call.id, "caller") == sentences(0, 3)
    finals = [event["data"] for event in bridge.events("transcript.final", call.id)]
    for final in finals:
        assert abs(final["end_ms"] - final["start_ms"] - spoken_ms(final["text"])) < 100
        assert final["latency_ms"] > 0
    for (earlier, later), pause_ms in zip(pairwise(finals), (1200, 800), strict=True):
        assert abs(later["start_ms"] - earlier["end_ms"] - pause_ms) < 200


def test_the_last_word_arrives_though_it_is_cut_by_the_hang_up(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    pbx.prompt("cut", say(SENTENCES[4])[: -60 * 16])
    calls = [pbx.two_party_call([(0.8, "cut"), (0, HANGUP)], []) for _ in range(scaled(50))]
    for call in calls:
        assert bridge.wait_for_end(call.id)["verdict"] == "complete"
        assert bridge.finals(call.id, "caller") == [SENTENCES[4]]


def test_a_restarted_asterisk_is_followed_again(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    cut_off = pbx.two_party_call([(0.5, "s0"), (60, HANGUP)], [])
    bridge.wait(lambda: bridge.finals(cut_off.id, "caller") == sentences(0, 1))
    connected = bridge.printed().count('"ari connected"')
    pbx.restart()
    bridge.wait(lambda: bridge.printed().count('"ari connected"') > connected, 20)
    bridge.wait_for_end(cut_off.id)
    call = pbx.two_party_call(*dialogue(3, 9))
    bridge.wait_for_end(call.id)
    assert bridge.finals(call.id, "caller") == sentences(3, 1)
    assert bridge.finals(call.id, "callee") == sentences(9, 1)


def test_the_cdr_holds_the_calls_rows_and_none_of_ours(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    before = len(pbx.cdr_rows())
    call = pbx.two_party_call(*dialogue(0, 1))
    bridge.wait_for_end(call.id)
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
    wait_for(lambda: len(pbx.cdr_rows()) > before, 5, lambda: "no call record was written")
    rows = pbx.cdr_rows()[before:]
    assert [row["dst"] for row in rows] == [call.number]
    assert not [row for row in rows if "UnicastRTP" in row["channel"] + row["dstchannel"]]


def test_sigterm_lets_the_call_finish(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    call = pbx.two_party_call(*dialogue(0, 1))
    bridge.wait(lambda: len(taps(pbx)) == 2)
    assert bridge.terminate(20) == 0
    assert bridge.finals(call.id, "caller") == sentences(0, 1)
    assert bridge.finals(call.id, "callee") == sentences(1, 1)
    assert not taps(pbx)


def test_sigterm_ends_a_long_call_with_all_that_was_said(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    prompts(pbx)
    with BridgeProcess(pbx, emulator, tmp_path, drain_s=1) as bridge:
        call = pbx.two_party_call([(0.5, "s0"), (4, "s1"), (60, HANGUP)], [])
        bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 1))
        assert bridge.terminate(10) == 0
        assert bridge.events("call.ended", call.id)
        # ChanSpy lets go of a channel with the channel's next frame, so there has to be one.
        wait_for(lambda: not taps(pbx), 5, lambda: pbx.cli("core show channels"))
        assert len(legs(pbx)) == 4


def test_a_tap_that_ends_alone_is_put_back(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    call = pbx.two_party_call([(3, "s0"), (1, HANGUP)], [])
    bridge.wait(lambda: len(taps(pbx)) == 2)
    old = taps(pbx)
    for tap in old:
        pbx.hangup(tap)
    bridge.wait(lambda: len(taps(pbx)) == 2 and not set(old) & set(taps(pbx)))
    bridge.wait_for_end(call.id)
    assert bridge.finals(call.id, "caller") == sentences(0, 1)


def sockets_opened(emulator: EmulatorProcess, since: dict[str, float]) -> float:
    return emulator.stats()["sockets_opened"] - since["sockets_opened"]


def test_an_unanswered_call_opens_no_socket(
    pbx: Asterisk, bridge: BridgeProcess, emulator: EmulatorProcess
) -> None:
    before = emulator.stats()
    call = pbx.two_party_call([], [], ring_s=30)
    bridge.wait(lambda: len(taps(pbx)) == 2)
    pbx.hangup(call.phone)
    ended = bridge.wait_for_end(call.id)
    assert ended["verdict"] == "complete"
    assert ended["legs"] == 2
    assert not sockets_opened(emulator, before)
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def test_a_call_that_is_not_announced_is_left_alone(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    pbx.two_party_call([(0.5, "s0"), (0, HANGUP)], [], ring_s=0.2, context="unannounced")
    announced = pbx.two_party_call([(0.5, "s1"), (0, HANGUP)], [], ring_s=0.2)
    bridge.wait_for_end(announced.id)
    assert {event["subject"] for event in bridge.events()} == {announced.id}


@pytest.mark.parametrize(("context", "ahead"), [("from-phones", 2), ("ring-group", 1)])
def test_a_session_is_opened_at_ring_if_asked_but_not_for_a_group(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, context: str, ahead: int
) -> None:
    """With `preopen: ring` the caller's, and a lone callee's; every session is billed ten seconds."""
    before = emulator.stats()
    with BridgeProcess(pbx, emulator, tmp_path, rtzr={"preopen": "ring"}) as bridge:
        call = pbx.two_party_call([(0.2, HANGUP)], [], ring_s=2, context=context)
        bridge.wait(lambda: sockets_opened(emulator, before) == ahead)
        bridge.wait(lambda: any(channel["state"] == "Ringing" for channel in pbx.channels()))
        assert sockets_opened(emulator, before) == ahead
        ended = bridge.wait_for_end(call.id)
        assert ended["verdict"] == "complete"
        assert sockets_opened(emulator, before) == 2
        wait_for(lambda: emulator.stats()["sockets_open"] == 0, 5, bridge.printed)


def test_a_ring_group_is_heard_from_the_member_that_answers(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    call = pbx.two_party_call([(4, HANGUP)], [(0.5, "s5")], context="ring-group")
    ended = bridge.wait_for_end(call.id)
    assert ended["legs"] == 3
    assert bridge.finals(call.id, "callee") == sentences(5, 1)


def test_what_is_heard_before_the_answer_is_sent_only_if_asked(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    before = emulator.stats()
    with BridgeProcess(pbx, emulator, tmp_path, media={"early_media": True}) as bridge:
        call = pbx.two_party_call([], [], ring_s=30)
        bridge.wait(lambda: sockets_opened(emulator, before) == 2)
        pbx.hangup(call.phone)
        bridge.wait_for_end(call.id)


def test_a_second_sigterm_forces_the_end(pbx: Asterisk, bridge: BridgeProcess) -> None:
    call = pbx.two_party_call([(60, HANGUP)], [])
    bridge.wait(lambda: len(taps(pbx)) == 2)
    bridge.signal(signal.SIGTERM)
    bridge.wait(lambda: '"stopping"' in bridge.printed())
    assert bridge.terminate(5) == 1
    (ended,) = bridge.events("call.ended", call.id)
    assert ended["data"]["reasons"] == ["stopped", "stopped"]


def test_calls_that_end_at_once_have_their_end(pbx: Asterisk, bridge: BridgeProcess) -> None:
    for _ in range(scaled(100)):
        pbx.two_party_call([], [], context="hasty")
    bridge.wait(lambda: not pbx.channels())
    bridge.wait(lambda: len(bridge.events("call.ended")) == len(bridge.events("call.started")))
    assert not taps(pbx)


def test_a_channel_with_an_odd_name_disturbs_no_other(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    pbx.originate("Local/1@unannounced/n", context="caller-phone", channelId="my call, 7", formats="ulaw")
    call = pbx.two_party_call([(0.5, "s0"), (4, "s1"), (0.2, HANGUP)], [])
    bridge.wait(lambda: bridge.finals(call.id, "caller") == sentences(0, 1))
    bridge.kill()
    bridge.start()
    bridge.wait_for_end(call.id)
    assert bridge.finals(call.id, "caller") == sentences(0, 2)


def test_a_leg_that_cannot_be_tapped_makes_the_call_partial(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    prompts(pbx)
    one_port = {"first_port": 51_900, "last_port": 51_900}
    with BridgeProcess(pbx, emulator, tmp_path, media=one_port) as bridge:
        ended = bridge.wait_for_end(pbx.two_party_call(*dialogue(0, 1)).id)
        assert (ended["verdict"], ended["reasons"]) == ("partial", ["not tapped"])


def test_nothing_of_a_call_is_left_in_the_daemon(pbx: Asterisk, bridge: BridgeProcess) -> None:
    prompts(pbx)
    bridge.wait_for_end(pbx.two_party_call(*dialogue(0, 1)).id)
    bridge.wait(lambda: not taps(pbx))
    base = bridge.open_files()
    calls = [pbx.two_party_call([(0.3, "s0"), (0.2, HANGUP)], []) for _ in range(scaled(100))]
    for call in calls:
        bridge.wait_for_end(call.id)
    idle_connections_to_ari = 8
    bridge.wait(lambda: bridge.open_files() <= base + idle_connections_to_ari < base + len(calls))


def test_a_call_that_arrives_by_sip(pbx: Asterisk, bridge: BridgeProcess, tmp_path: Path) -> None:
    prompts(pbx)
    pbx.answers_at("5557788", [(3.5, "s9")], ring_s=0.5)
    quiet = b"\xff" * 8 * 500
    spoken = [pcm_to_ulaw(say(SENTENCES[index])) for index in (7, 8)]
    with sip_call(pbx, "5557788", quiet + (quiet * 8).join(spoken) + quiet, tmp_path):
        bridge.wait(lambda: bool(bridge.events("call.started")))
        call_id = bridge.events("call.started")[0]["subject"]
    ended = bridge.wait_for_end(call_id)
    assert bridge.finals(call_id, "caller") == sentences(7, 2)
    assert bridge.finals(call_id, "callee") == sentences(9, 1)
    assert ended["verdict"] == "complete"
    (caller, callee) = (event["data"]["party"] for event in bridge.events("leg.started", call_id))
    assert (caller["role"], caller["number"]) == ("caller", "0298765432")
    assert (callee["role"], callee["number"]) == ("callee", "5557788")
