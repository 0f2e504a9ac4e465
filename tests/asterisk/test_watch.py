"""What an administrator asks of the running daemon, about a call on a real Asterisk: `calls`, `tail`, `why`,
`status` and `drain`, as commands of their own, with one process and with workers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge import cli
from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import Asterisk, wait_for
from tests.asterisk.test_calls import dialogue, prompts
from tests.scale import some


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


class Asking:
    """Commands beside the daemon."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "bridge", *arguments, "--socket", str(self._socket)]

    def said(self, *arguments: str) -> str:
        """What it prints, as a process; AssertionError if it fails."""
        done = subprocess.run(self.line(*arguments), capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def told(self, *arguments: str) -> dict[str, Any]:
        """Its JSON, asked in this process: a call does not wait until another one has begun."""
        done = CliRunner().invoke(cli.app, [*arguments, "--json", "--socket", str(self._socket)])
        assert done.exit_code == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def _connected(self) -> bool:
        """Whether anybody has a connection to the socket; the state of one is unix(7)'s CONNECTED."""
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return any(line[-1] == str(self._socket) and line[5] == "03" for line in lines)

    @contextmanager
    def tail(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(self.line("tail"), stdout=subprocess.PIPE, text=True) as running:
            try:
                wait_for(self._connected, 20, lambda: "tail does not ask")
                yield running
            finally:
                running.kill()


def loud(told: dict[str, Any]) -> bool:
    """Whether anybody is speaking."""
    levels = [leg["level_db"] for call in told["calls"] for leg in call["legs"]]
    return any(level is not None and level > -40 for level in levels)


@pytest.mark.parametrize("workers", some(1, 2))
def test_a_call_is_watched_and_its_story_told(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, workers: int
) -> None:
    prompts(pbx)
    asking = Asking(tmp_path / "admin.sock")
    admin = {"socket": str(tmp_path / "admin.sock")}
    with (
        BridgeProcess(pbx, emulator, tmp_path, admin=admin, workers=workers) as bridge,
        asking.tail() as tail,
    ):
        call = pbx.two_party_call(*dialogue(0, 6, turns=3))
        wait_for(lambda: bool(bridge.finals(call.id, "caller")), 20, bridge.printed)
        wait_for(lambda: loud(asking.told("calls")), 10, bridge.printed)
        (live,) = asking.told("calls")["calls"]
        assert (live["id"], live["state"], live["verdict"]) == (call.id, "live", "")
        heard = {leg["role"]: leg for leg in live["legs"]}
        assert heard["caller"]["state"] == "streaming"
        assert heard["caller"]["last"] in SENTENCES[:3], "it goes on meanwhile"
        assert heard["caller"]["mode"] == "hybrid"
        assert heard["caller"]["arrived_ms"] >= heard["caller"]["sent_ms"] > 0
        now = asking.told("status")
        assert (now["calls"], now["legs"], now["sessions_open"], now["ready"]) == (1, 2, 2, True)
        assert now["pbx"]["version"].startswith("22.")
        ended = bridge.wait_for_end(call.id, 40)
        wait_for(lambda: asking.told("calls")["calls"] == [], 5, bridge.printed)
        story = asking.said("why", call.id)
        asked = asking.told("why", call.id[:-1])
        assert asking.told("drain") == {"legs": 0}
        assert bridge.ended() == 0
        assert tail.stdout is not None
        lines = tail.stdout.read().splitlines()
    assert [line.split("  ", 2)[-1].strip() for line in lines] == [
        SENTENCES[index] for index in (0, 6, 1, 7, 2, 8)
    ]
    assert asked["verdict"] == ended["verdict"] == "complete"
    for phrase in (
        "calls",
        "answered",
        "tap attached (kind chanspy",
        "session open after",
        "nothing, as far",
    ):
        assert phrase in story
    for sentence in (*SENTENCES[0:3], *SENTENCES[6:9]):
        assert f"“{sentence}”" in story


def test_the_story_of_a_call_that_lost_rtzr_says_so(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    asking = Asking(tmp_path / "admin.sock")
    admin = {"socket": str(tmp_path / "admin.sock")}

    def states() -> set[str]:
        return {leg["state"] for call in asking.told("calls")["calls"] for leg in call["legs"]}

    with (
        EmulatorProcess(tmp_path, "--recognition-ms", "100") as emulator,
        BridgeProcess(pbx, emulator, tmp_path, admin=admin, workers=1) as bridge,
    ):
        call = pbx.two_party_call(*dialogue(0, 6, turns=2))
        wait_for(lambda: bool(bridge.finals(call.id, "callee")), 20, bridge.printed)
        emulator.kill()
        wait_for(lambda: states() == {"reconnecting"}, 10, bridge.printed)
        emulator.__enter__()
        ended = bridge.wait_for_end(call.id, 40)
        story = asking.said("why", call.id[:-1])
    assert ended["verdict"] == "complete"
    assert story.count("session lost; what it had not told goes out again") == 2
    assert story.count("session open after") == 4
    assert "no session: " in story
    assert "caller: 2 sessions: " in story
    assert "nothing, as far as is known" in story
