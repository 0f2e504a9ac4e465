"""A reload of the real daemon beside an emulated FreeSWITCH, alone and with workers.

New calls, live calls, bad files, signals and the command.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.site import SwitchThread

ROOT = Path(__file__).parents[2]
_RELOADED = '"configuration reloaded"'
_NOT = '"configuration not reloaded; nothing has changed"'


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator")) as running:
        yield running


class Site(FreeSwitchBridge):
    """The daemon, and its YAML to be written again."""

    def change(self, **changes: Any) -> None:
        settings = json.loads(self._config.read_text())
        new = self._config.with_suffix(".new")
        new.write_text(json.dumps(settings | changes))
        new.replace(self._config)

    def write(self, text: str) -> None:
        self._config.write_text(text)

    def yaml(self) -> str:
        return self._config.read_text()

    def vanish(self) -> None:
        self._config.unlink()

    def hang_up(self, answer: str) -> dict[str, Any]:
        """SIGHUP; the line of the log that answers it."""
        before = self.printed().count(answer)
        self.signal(signal.SIGHUP)
        self.wait(lambda: self.printed().count(answer) > before)
        found: dict[str, Any] = json.loads([x for x in self.printed().splitlines() if answer in x][-1])
        return found

    def reload(self, *options: str) -> subprocess.CompletedProcess[str]:
        socket = json.loads(self.yaml())["admin"]["socket"] if "{" in self.yaml() else ""
        command = [sys.executable, "-m", "bridge", "reload", "--socket", socket, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def rules_of(self) -> list[str]:
        return [event["data"].get("rule", "") for event in self.events("call.started")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2])
def test_new_calls_have_the_new_rules_and_live_ones_keep_theirs(
    emulator: EmulatorProcess, tmp_path: Path, workers: int
) -> None:
    with SwitchThread() as switch, Site(switch.port, emulator, tmp_path, workers=workers) as bridge:
        live = switch.call()
        bridge.wait(lambda: len(bridge.events("leg.started")) == 2)
        bridge.change(rules=[{"name": "other", "priority": 3, "gate": {"mode": "vad"}, "sinks": ["jsonl"]}])
        line = bridge.hang_up(_RELOADED)
        assert {"rules", "rules.other.priority", "rules.other.gate.mode"} <= set(line["changed"])
        other = switch.call("1002", "2000")
        bridge.wait(lambda: bridge.rules_of() == ["all", "other"])
        bridge.wait(lambda: len(bridge.events("leg.started")) == 4)
        bridge.change(rules=[{"name": "none", "sinks": []}])
        bridge.hang_up(_RELOADED)
        silent = switch.call("1003", "2000")
        switch.say((live.caller, 1), (other.caller, 2))
        for call in (live, other, silent):
            switch.do(call.hang_up())
        for call, sentence in ((live, 1), (other, 2)):
            bridge.wait_for_end(call.uuid)
            finals = bridge.events("transcript.final", call.uuid)
            assert [event["data"]["text"] for event in finals] == [SENTENCES[sentence]]
            ended = bridge.events("call.ended", call.uuid)[0]["data"]
            assert (ended["ledger"]["withheld_ms"] > 500) == (call is other), "the gate of its beginning"
        assert bridge.terminate() == 0
        assert bridge.rules_of() == ["all", "other"], "the third one's events go nowhere"


@pytest.mark.timeout(60)
def test_every_bad_file_changes_nothing_and_says_why(emulator: EmulatorProcess, tmp_path: Path) -> None:
    with SwitchThread() as switch, Site(switch.port, emulator, tmp_path) as bridge:
        good = bridge.yaml()
        for text, why in (
            ('{"gate": {"mode": "loud"}}', "gate.mode"),
            (good[: len(good) // 2], "bridge.yaml"),
            ("", "says nothing"),
        ):
            bridge.write(text)
            assert why in " ".join(bridge.hang_up(_NOT)["faults"])
        bridge.vanish()
        assert "cannot be read (No such file or directory)" in bridge.hang_up(_NOT)["faults"][0]
        bridge.write(good)
        assert bridge.hang_up(_RELOADED)["changed"] == []
        bridge.change(workers=3, drain_s=1)
        bridge.hang_up('"some keys need a restart')
        switch.call()
        bridge.wait(lambda: bridge.rules_of() == ["all"])


@pytest.mark.timeout(60)
def test_the_command_shows_what_would_be_and_then_does_it(emulator: EmulatorProcess, tmp_path: Path) -> None:
    admin = {"socket": str(tmp_path / "admin.sock")}
    with SwitchThread() as switch, Site(switch.port, emulator, tmp_path, admin=admin) as bridge:
        bridge.change(quota={"max_sessions": 9}, workers=2)
        bridge.wait(lambda: "is starting" not in bridge.reload("--check").stderr)
        shown = bridge.reload("--check", "--diff")
        assert "quota.max_sessions: 0 -> 9 (at once)" in shown.stdout
        assert "workers: 1 -> 2 (needs a restart)" in shown.stdout
        assert "would change (at once): quota.max_sessions" in shown.stdout
        assert _RELOADED not in bridge.printed()
        done = bridge.reload("--json")
        assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)
        assert "needs a restart, left as it is: workers" in bridge.reload().stdout
        good = bridge.yaml()
        bridge.write(good.replace('"max_sessions": 9', '"max_sessions": "nine"'))
        bad = bridge.reload()
        assert bad.returncode == 2
        assert "quota.max_sessions: must be a whole number" in bad.stderr
        assert "nothing has changed" in bad.stderr
        bridge.write(good)
        switch.call()
        bridge.wait(lambda: bridge.rules_of() == ["all"])
        bridge.signal(signal.SIGTERM)
        bridge.wait(lambda: '"stopping"' in bridge.printed())
        assert "the daemon is stopping" in bridge.reload().stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("listens", [True, False])
def test_systemctl_reload_fails_where_the_file_has_a_fault(
    emulator: EmulatorProcess, tmp_path: Path, listens: bool
) -> None:
    """The unit's own ExecReload=, in the environment that systemd gives it; only SIGHUP has no answer."""
    unit = (ROOT / "config" / "systemd" / "rtzr-bridge.service").read_text()
    (line,) = re.findall(r"^ExecReload=sh -c '(.*)'$", unit, re.MULTILINE)
    command = tmp_path / "bin" / "rtzr-bridge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bridge "$@"\n')
    command.chmod(0o755)
    admin = {"socket": str(tmp_path / "admin.sock")} if listens else {}
    with SwitchThread() as switch, Site(switch.port, emulator, tmp_path, admin=admin) as bridge:
        bridge.hang_up(_RELOADED)
        environ = {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "RUNTIME_DIRECTORY": str(tmp_path),
            "MAINPID": str(bridge.pid),
        }

        def reload(answer: str) -> int:
            before = bridge.printed().count(answer)
            code = subprocess.run(["sh", "-c", line], env=environ, check=False, timeout=30).returncode
            bridge.wait(lambda: bridge.printed().count(answer) > before)
            return code

        assert reload(_RELOADED) == 0
        bridge.write('{"gate": {"mode": "loud"}}')
        assert reload(_NOT) == (2 if listens else 0)
