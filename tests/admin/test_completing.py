"""bridge/admin/completing.py and config/completion: what a shell offers at Tab, with a daemon and without."""

import asyncio
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from bridge import cli
from bridge.admin import completing
from bridge.admin.unix import unix_listener
from bridge.serving import Serving, guarded

LONGEST_S = 20
ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "config/completion"


def call(id_: str, state: str = "live", *, paused: bool = False) -> dict[str, Any]:
    verdict = "" if state == "live" else "partial"
    legs = [{"role": "caller", "number": "***5678"}]
    return {"id": id_, "state": state, "paused": paused, "verdict": verdict, "rule": "sales", "legs": legs}


CALLS = [call("1795.7", "ended"), call("1795.10"), call("1795.20", paused=True), call("evil\x1b[2J")]
ENDPOINTS = [{"name": "webhook:crm", "waiting": 3}, {"name": "redis", "waiting": 0}]


@asynccontextmanager
async def daemon(path: Path, *, answers: bool = True) -> AsyncIterator[None]:
    """What a daemon answers that has these."""

    async def told(request: Request) -> Response:
        if not answers:
            await asyncio.sleep(1)
        return JSONResponse({"calls": CALLS, "deliveries": ENDPOINTS, "degraded": "", "outbox": True})

    routes = [Route("/calls", told), Route("/deliveries", told)]
    with unix_listener(path) as listener:
        async with Serving(guarded(Starlette(routes=routes)), listener):
            yield


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is offered, and not how soon, is the test's: the machine may be busy."""
    monkeypatch.setattr(completing, "LONGEST_S", float(LONGEST_S))


def offered(line: str) -> list[str]:
    """By the protocol that all our scripts speak: what goes on with a line, each with what it is."""
    environ = {
        "_RTZR_BRIDGE_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"rtzr-bridge {line}",
    }
    done = CliRunner().invoke(cli.app, [], prog_name="rtzr-bridge", env=environ)
    assert done.stderr == ""
    return done.stdout.strip().splitlines()


def test_commands_options_and_choices() -> None:
    assert offered("wh") == ["why\tTell what happened in a call."]
    assert [one.partition("\t")[0] for one in offered("why --s")] == ["--socket"]
    assert offered("deliveries r") == ["retry"]
    assert "events" in offered("schema ")


def test_help_is_as_tidy_as_before() -> None:
    assert "completion" not in CliRunner().invoke(cli.app, ["--help"]).stdout


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("why {}", ["1795.10", "1795.20", "1795.7"]),
        ("tail {}", ["1795.10", "1795.20"]),
        ("pause {}", ["1795.10"]),
        ("resume {}", ["1795.20"]),
        ("why {} 1795.2", ["1795.20"]),
        ("deliveries {} retry ", ["webhook:crm", "redis"]),
        ("deliveries {} drop webhook:", ["webhook:crm"]),
    ],
)
async def test_what_the_daemon_knows(tmp_path: Path, patience: None, line: str, wanted: list[str]) -> None:
    path = tmp_path / "admin.sock"
    async with daemon(path):
        whole = line.format(f"--socket {path}")
        found = await asyncio.to_thread(offered, whole if whole[-1] != "k" else f"{whole} ")
    assert [one.partition("\t")[0] for one in found] == wanted


async def test_a_call_is_told_of_without_its_number(tmp_path: Path, patience: None) -> None:
    path = tmp_path / "admin.sock"
    async with daemon(path):
        assert await asyncio.to_thread(offered, f"pause --socket {path} ") == [
            "1795.10\tlive, rule sales, caller ***5678"
        ]


@pytest.mark.parametrize(
    "line", ["why --socket /nowhere ", "why -c /nowhere ", "explain -c /nowhere --rule "]
)
def test_where_there_is_nothing_nothing_is_said(line: str) -> None:
    assert offered(line) == []


async def test_a_daemon_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with daemon(path, answers=False):
        began_s = time.monotonic()
        assert await asyncio.to_thread(offered, f"why --socket {path} ") == []
        assert time.monotonic() - began_s < completing.LONGEST_S + 0.4


def test_the_rules_of_the_yaml(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("rules: [{name: sales line}, {name: 영업}, {name: support}]\n")
    assert offered(f"explain -c {file} --rule ") == ["sales line", "영업", "support"]
    assert offered(f"explain -c {file} --rule 영") == ["영업"]


class Typing:
    """An interactive shell at a terminal, into which keys go."""

    def __init__(self, command: list[str], folder: Path) -> None:
        program = folder / "rtzr-bridge"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "sys.argv[0] = 'rtzr-bridge'\nfrom bridge.cli import main\nmain()\n"
        )
        program.chmod(0o755)
        self._ours, theirs = pty.openpty()
        environ = {
            "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "PS1": "> ",
            "LANG": "C.UTF-8",
        }  # fmt: skip
        self._shell = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def keys(self, text: str, until: str) -> str:
        """What is on the terminal once `until` is there. A Tab at the end is pressed again, as people do when
        a busy machine offered nothing in time."""
        os.write(self._ours, text.encode())
        self.seen = ""
        ends_s = time.monotonic() + LONGEST_S
        while until not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], 2)
            assert time.monotonic() < ends_s, f"no {until!r} came: {self.seen!r}"
            if ready:
                self.seen += os.read(self._ours, 4096).decode(errors="replace")
            elif text.endswith("\t"):
                os.write(self._ours, b"\t")
        return self.seen

    def __enter__(self) -> "Typing":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._ours)


def bash(folder: Path) -> Typing:
    typing = Typing(["bash", "--norc", "--noprofile", "-i"], folder)
    typing.keys(f". {SCRIPTS / 'rtzr-bridge.bash'}; echo rea''dy\n", "ready")
    return typing


async def test_a_real_bash_completes_commands_and_names_with_colons(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    def types() -> None:
        with bash(tmp_path) as typing:
            typing.keys("rtzr-bridge wh\t", "why ")
            typing.keys(f"--socket {path} 1795.1\t", "1795.10 ")
            typing.keys("\x15rtzr-bridge deliveries \t\t", "retry")
            typing.keys(f"--socket {path} retry web\t", "webhook:crm ")
            typing.keys(f"\x15rtzr-bridge deliveries --socket {path} drop webhook:c\t", "webhook:crm ")

    async with daemon(path):
        await asyncio.to_thread(types)


def test_a_real_bash_completes_rules_with_spaces_and_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("rules: [{name: sales line}]\n")
    (tmp_path / "recording.wav").touch()
    with bash(tmp_path) as typing:
        typing.keys("rtzr-bridge explain -c b.yaml --rule sa\t", "sales\\ line ")
        typing.keys("\x15rtzr-bridge transcribe reco\t", "recording.wav ")


def test_in_a_real_bash_a_name_is_a_word_and_no_command(tmp_path: Path) -> None:
    """Ids of calls may be another telephone's Call-ID."""
    (tmp_path / "b.yaml").write_text("rules: [{name: pay `id` $(id);id, priority: 1}, {name: 영업}]\n")
    with bash(tmp_path) as typing:
        typing.keys("rtzr-bridge explain -c b.yaml --rule pa\t", "pay\\ \\`id\\`\\ \\$\\(id\\)\\;id ")
        typing.keys("\x15rtzr-bridge explain -c b.yaml --rule 영\t", "영업 ")


def zsh_completes(folder: Path, path: Path) -> None:
    with Typing(["zsh", "-f", "-i"], folder) as typing:
        typing.keys(f"fpath=({SCRIPTS} $fpath); autoload -Uz compinit; compinit -u; echo rea''dy\n", "ready")
        typing.keys("rtzr-bridge wh\t", "why ")
        typing.keys(f"\x15rtzr-bridge deliveries --socket {path} retry web\t", "webhook:crm ")


def fish_completes(folder: Path, path: Path) -> None:
    with Typing(["true"], folder):
        line = f"rtzr-bridge deliveries --socket {path} drop web"
        text = f"source {SCRIPTS / 'rtzr-bridge.fish'}; complete -C '{line}'"
        environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
        done = subprocess.run(["fish", "-c", text], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "webhook:crm\t3 waiting\n"


async def test_other_shells_complete_too_where_they_are_installed(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with daemon(path):
        for shell, completes in {"zsh": zsh_completes, "fish": fish_completes}.items():
            if shutil.which(shell) is not None:
                await asyncio.to_thread(completes, tmp_path, path)
