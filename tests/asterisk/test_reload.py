"""A reload beside a real Asterisk: a live call keeps its rule and goes on, the next one has the new one."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asterisk.daemon import EmulatorProcess
from tests.asterisk.pbx import Asterisk
from tests.asterisk.test_calls import dialogue
from tests.asterisk.test_rules import assert_both_heard, ruled, started_by


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def test_a_live_call_keeps_its_rule_and_the_next_has_the_new_one(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    file = tmp_path / "bridge.yaml"
    with ruled(pbx, emulator, tmp_path, {"name": "before"}) as bridge:
        live = pbx.two_party_call(*dialogue(0, 6), context="unannounced")
        bridge.wait(lambda: len(bridge.events("leg.started", live.id)) == 2)
        good = json.loads(file.read_text())
        file.write_text("rules: [")
        bridge.signal(signal.SIGHUP)
        bridge.wait(lambda: "nothing has changed" in bridge.printed())
        file.write_text(json.dumps({**good, "rules": [{"name": "after", "priority": 5}]}))
        bridge.signal(signal.SIGHUP)
        bridge.wait(lambda: '"configuration reloaded"' in bridge.printed())
        assert bridge.events("call.ended") == [], "the reloads were during the call"
        later = pbx.two_party_call(*dialogue(1, 7), context="unannounced")
        assert_both_heard(bridge, live.id, 0, 6)
        assert_both_heard(bridge, later.id, 1, 7)
        assert (started_by(bridge, live.id), started_by(bridge, later.id)) == ("before", "after")
