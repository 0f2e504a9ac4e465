"""`rtzr-bridge simulate` as a whole: every word of a recording comes back, through faults, or it says so."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bridge import cli
from tests.simulate.files import spoken, write_pcap, write_wav

QUICK = ("--emulator", "--rate", "20")


def simulated(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["simulate", *arguments])


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = simulated(*arguments, *QUICK, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, found


@pytest.fixture
def conversation(tmp_path: Path) -> str:
    return str(write_wav(tmp_path / "talk.wav", spoken(0, 1), spoken(2)))


def test_recordings_in_turn_and_all_their_words(tmp_path: Path, conversation: str) -> None:
    streams = {(10, 20): spoken(4), (20, 10): spoken(5)}
    capture = str(write_pcap(tmp_path / "talk.pcap", streams))
    code, found = told(conversation, capture, "--calls", "4")
    assert (code, found["verdict"], found["calls"], found["lost_ms"]) == (0, "complete", 4, 0), found
    assert [call["recording"] for call in found["per_call"]] == ["talk.wav", "talk.pcap#1"] * 2
    assert (found["words_missing"], found["words_doubled"], found["sessions"]) == (0, 0, 8)
    assert found["words"] == 2 * (13 + 12), found
    assert found["won"] == pytest.approx(8 * 10 / 3600 * 1000, abs=1)
    assert 0 <= found["latency_p50_ms"] <= found["latency_p99_ms"]


@pytest.mark.parametrize("fault", ["drop", "401", "429", "late"])
def test_through_a_fault_that_passes_every_word_comes(conversation: str, fault: str) -> None:
    code, found = told(conversation, "--calls", "2", "--fault", fault)
    assert (code, found["words_missing"], found["words_doubled"]) == (0, 0, 0), found
    assert found["faults"] == [fault]
    if fault in ("drop", "401"):
        assert found["sessions"] > 4, "the fault was there"
    else:
        assert found["latency_p99_ms"] > 1000, "the fault was there"


def test_an_rtzr_that_says_nothing_costs_words_and_the_exit_code(conversation: str) -> None:
    result = simulated(conversation, *QUICK, "--knob", "mute=true")
    assert result.exit_code == 1
    assert "13 missing" in result.stdout
    assert "partial" in result.stdout
    assert "nothing was billed" in result.stdout


def test_packets_that_a_recording_lacks_are_told_and_are_no_fault(tmp_path: Path) -> None:
    capture = write_pcap(tmp_path / "talk.pcap", {(10, 20): spoken(4)}, skip=range(3, 60, 9))
    code, found = told(str(capture))
    packets = found["packets"]
    assert (code, packets["lost"], packets["sent"]) == (0, 7, packets["received"]), found
    shown = simulated(str(capture), *QUICK).stdout
    assert f"{packets['sent']} packets sent, {packets['sent']} received; of the streams: lost 7" in shown
    assert "lost in the recording" in shown


def test_a_call_for_which_no_port_is_free_is_not_complete(tmp_path: Path, conversation: str) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("media: {first_port: 54210, last_port: 54213}\n")
    result = simulated(conversation, *QUICK, "--calls", "4", "--config", str(file))
    assert result.exit_code == 1, result.output
    assert "not complete: no RTP port was free" in result.stdout


def test_who_hears_and_bills_is_told_and_nothing_is_begun_unasked(
    conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTZR_CLIENT_ID", "x")
    monkeypatch.setenv("RTZR_CLIENT_SECRET", "y")
    result = simulated(conversation, "--calls", "5")
    assert result.exit_code == 2, result.output
    assert "openapi.vito.ai hears 5 calls and bills about 27.78 won, without VAT" in result.stderr
    assert "add --yes" in result.stderr


def test_arguments_that_make_no_sense_are_told(tmp_path: Path, conversation: str) -> None:
    for arguments, why in (
        ((conversation, "--fault", "drop"), "add --emulator"),
        ((str(tmp_path / "none.wav"), "--emulator"), "cannot be read"),
        ((conversation, "--emulator", "--knob", "loud=1"), "loud is no knob"),
        ((conversation, "--emulator", "--config", str(tmp_path / "none.yaml")), "cannot be read"),
    ):
        result = simulated(*arguments)
        assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
