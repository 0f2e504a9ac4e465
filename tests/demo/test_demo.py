"""bridge/demo/demo.py: it passes when all is well, and nothing that is not well is hidden."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from bridge.demo import demo
from bridge.demo.demo import DemoError, Summary
from bridge.demo.script import SCRIPT, Final, Line, Utterance, utterance_of
from bridge.emulator.codebook import SENTENCES
from bridge.net.rtp import PortsExhausted
from bridge.types import Role
from bridge.wire.ledger import Ledger


def utterance(text: str, said: str = "예약 확인") -> Utterance:
    return Utterance("caller", text, said, 400)


def summary(**changes: object) -> Summary:
    usual: dict[str, object] = {
        "utterances": [utterance("예약 확인")],
        "tokens_issued": 1,
        "sockets_opened": 2,
        "sockets_open_at_end": 0,
        "ledger": Ledger().as_json(),
        "accounted": True,
        "reasons": [],
    }
    return Summary(**{**usual, **changes})  # type: ignore[arg-type]


def test_it_passes_when_all_is_well() -> None:
    assert summary().passed
    assert summary().faults() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"utterances": [utterance("예약")]}, "1 sentences did not come back"),
        ({"utterances": [utterance("")]}, "1 sentences did not come back"),
        ({"sockets_open_at_end": 1}, "1 sockets"),
        ({"accounted": False}, "not all accounted for"),
        ({"ledger": {**Ledger().as_json(), "lost_ms": 20}}, "20 ms of audio were lost"),
        ({"reasons": ["drain"]}, "not complete: drain"),
    ],
)
def test_whatever_is_not_well_fails_it_with_a_line(changes: dict[str, object], words: str) -> None:
    found = summary(**changes)
    assert not found.passed
    assert [words in fault for fault in found.faults()] == [True]


@pytest.fixture
def line() -> Line:
    """A party that spoke at 1 s and at 5 s, two seconds each time."""
    return Line(Role.CALLER, [1.0, 5.0], [3.0, 7.0])


def heard(line: Line, *finals: tuple[str, float]) -> list[Utterance]:
    line.finals = [Final(text, ended_s, ended_s + 0.4) for text, ended_s in finals]
    return [utterance_of(line, index, said) for index, said in enumerate(("가", "나"))]


def test_each_final_stands_beside_its_sentence(line: Line) -> None:
    first, second = heard(line, ("가", 3.0), ("나", 7.0))
    assert (first.exact, second.exact) == (True, True)
    assert first.end_of_speech_to_final_ms == 400


@pytest.mark.parametrize(
    ("finals", "texts"),
    [
        ([], ["", ""]),
        ([("나", 7.0)], ["", "나"]),
        ([("가", 3.0), ("가", 3.0), ("나", 7.0)], ["가 / 가", "나"]),
        ([("앞", 0.1), ("가", 3.0), ("나", 7.0)], ["앞 / 가", "나"]),
        ([("가", 3.0), ("나", 7.0), ("뒤", 60.0)], ["가", "나 / 뒤"]),
        ([("가", 3.0), ("[음성 0.1초]", 4.9), ("나", 7.0)], ["가 / [음성 0.1초]", "나"]),
    ],
)
def test_a_final_missing_or_too_many_is_seen(
    line: Line, finals: list[tuple[str, float]], texts: list[str]
) -> None:
    found = heard(line, *finals)
    assert [one.text for one in found] == texts
    assert not all(one.exact for one in found)


async def _taken(_publish: object, _pbx: object) -> Summary:
    raise OSError(98, "Address already in use")


async def _no_port(_publish: object, _pbx: object) -> Summary:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_exhausted())
    raise AssertionError


async def _exhausted() -> None:
    raise PortsExhausted("no RTP port is free")


async def _hang(_publish: object, _pbx: object) -> Summary:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (_taken, "Address already in use; it needs UDP and TCP"),
        (_no_port, "no RTP port is free"),
        (_hang, "not over"),
    ],
)
async def test_what_cannot_be_opened_is_one_line(
    monkeypatch: pytest.MonkeyPatch, play: object, words: str
) -> None:
    monkeypatch.setattr(demo, "_run", play)
    monkeypatch.setattr(demo, "_PATIENCE_S", 0.05)
    with pytest.raises(DemoError, match=words):
        await demo.run(lambda _event: None)


@pytest.mark.parametrize("pbx", ["asterisk", "freeswitch"])
def test_the_whole_of_it_prints_json_alone_and_exits_0(pbx: str) -> None:
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--json", "--pbx", pbx],
        env={**environ, "LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert done.stderr.decode() == ""
    assert done.returncode == 0
    found = json.loads(done.stdout.decode("utf-8"))
    assert (found["sentences"], found["exact"], found["tokens_issued"], found["sockets_opened"]) == (
        6,
        6,
        1,
        2,
    )
    assert (found["sockets_open_at_end"], found["lost_ms"]) == (0, 0)
    said = [(one["party"], one["text"]) for one in found["utterances"]]
    assert said == [(role.value, sentence) for role, sentence in SCRIPT]
    assert {sentence for _, sentence in said} <= set(SENTENCES)
    assert all(0 < one["end_of_speech_to_final_ms"] < 5000 for one in found["utterances"])
