"""Who spoke, whatever is done with the call: every sentence once, under its speaker's number.

The scenes are played side by side, each with numbers of its own, under one daemon for each way to the PBX.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import ANNOUNCED, MUSIC, Asterisk, wait_for
from tests.asterisk.scenes import SCENES, Stage
from tests.asterisk.telephones import Telephones

APART_S = 0.3
RULE = {"name": "company", "match": {"context": ["company", "from-trunk"]}}


@dataclass(frozen=True, slots=True)
class Played:
    """All scenes under one daemon, when they are over."""

    bridge: BridgeProcess
    stages: dict[str, Stage]
    failed: dict[str, Exception]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of the daemon's events of one type, each with its call."""
        return [{"call": event["subject"], **event["data"]} for event in self.bridge.events(kind)]

    def heard(self, numbers: set[str]) -> dict[str, list[str]]:
        """What was heard of these persons, in order."""
        heard: dict[str, list[str]] = {}
        for final in self.of("transcript.final"):
            if (number := final["party"]["number"]) in numbers:
                heard.setdefault(number, []).append(final["text"])
        return heard

    def verdicts(self, numbers: set[str]) -> set[tuple[str, ...]]:
        """Of the calls in which these persons were."""
        calls = {leg["call"] for leg in self.of("leg.started") if leg["party"]["number"] in numbers}
        ended = [call for call in self.of("call.ended") if call["call"] in calls]
        assert {call["call"] for call in ended} == calls, self.bridge.told()
        return {(call["verdict"], *call["reasons"]) for call in ended}


@pytest.fixture(scope="module")
def telephones(shared_pbx: Asterisk) -> Iterator[Telephones]:
    with Telephones(shared_pbx) as phones:
        yield phones


@pytest.fixture(scope="module", params=["ari", "ami"])
def played(
    request: pytest.FixtureRequest, telephones: Telephones, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    folder, pbx = tmp_path_factory.mktemp(request.param), telephones.pbx
    asterisk = {"via": request.param, "trunk_contexts": ["from-trunk"]}
    with (
        EmulatorProcess(folder, "--recognition-ms", "100") as emulator,
        BridgeProcess(pbx, emulator, folder, rules=[RULE], asterisk=asterisk) as bridge,
    ):
        result = play(telephones, bridge)
        if result.failed:
            telephones.hangup_all()
        wait_for(lambda: not pbx.channels(), 10, bridge.told)
        bridge.wait(lambda: len(bridge.events("leg.started")) == len(bridge.events("leg.ended")))
        bridge.wait(lambda: len(bridge.events("call.started")) == len(bridge.events("call.ended")))
        yield result


def play(phones: Telephones, bridge: BridgeProcess) -> Played:
    """Every scene, side by side. They begin one after the other: all at once would test the machine."""
    result = Played(bridge, {scene: Stage(phones) for scene in SCENES}, {})

    def one(scene: str) -> None:
        time.sleep(APART_S * list(SCENES).index(scene))
        try:
            SCENES[scene](result.stages[scene])
        except Exception as error:  # it is raised in the test of this scene
            result.failed[scene] = error

    with ThreadPoolExecutor(len(SCENES)) as threads:
        list(threads.map(one, SCENES))
    return result


@pytest.mark.parametrize("scene", SCENES)
def test_every_sentence_is_heard_once_under_its_speakers_number(played: Played, scene: str) -> None:
    if scene in played.failed:
        raise played.failed[scene]
    said = played.stages[scene].said
    assert played.heard(set(said)) == {
        number: [SENTENCES[index] for index in sentences] for number, sentences in said.items()
    }
    assert played.verdicts(set(said)) == {("complete",)}


def test_nothing_is_heard_that_nobody_said(played: Played) -> None:
    """No music, no announcement, and no voice under a number that did not speak."""
    finals = played.of("transcript.final")
    assert not [final for final in finals if MUSIC in final["text"] or ANNOUNCED[:2] in final["text"]]
    speakers = {number for stage in played.stages.values() for number in stage.said}
    assert {final["party"]["number"] for final in finals} <= speakers
