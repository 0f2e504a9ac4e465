"""bridge/cli.py: what the commands print and how they exit."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from bridge import cli, transcribe
from bridge.commands import run
from bridge.demo.demo import DemoError, Summary
from bridge.demo.script import Utterance
from bridge.emulator.codebook import say
from bridge.wire.ledger import Ledger

COMMAND = [sys.executable, "-m", "bridge"]


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    """A command as a process; without asyncio's debug mode, which would print that this machine is slow."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONASYNCIODEBUG"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    """A shell's background jobs, and so the tests that run in one, are born deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def undo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No secret and no configuration of this machine."""
    for name in ("RTZR_CLIENT_ID", "RTZR_CLIENT_SECRET", "ARI_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setattr("bridge.transcribe.DEFAULT_CONFIG", tmp_path / "bridge.yaml")


def call(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env=environ)


def one_word(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000) + say("안녕하세요 고객님") + bytes(12_000))
    return path


def test_help_of_every_command_says_what_it_does() -> None:
    told = call("--help").output
    for name in ("run", "demo", "emulator", "transcribe"):
        assert re.search(rf"^  {name} +\w[^…]+\.$", told, re.MULTILINE)
        assert call(name, "--help").exit_code == 0
    assert "..." not in told.partition("Commands:")[2]


def test_the_version_is_the_distributions() -> None:
    assert re.fullmatch(r"rtzr-bridge \d+\.\d+\.\d+\n", call("--version").output)


def test_run_without_a_configuration_says_what_to_do(tmp_path: Path) -> None:
    done = call("run", "--config", str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    first, *rest = done.stderr.splitlines()
    assert (
        first == f"{tmp_path / 'none.yaml'}: cannot be read (No such file or directory); give --config FILE"
    )
    assert all(line.startswith("environment: ") for line in rest)


def test_run_finds_an_events_file_that_cannot_be_before_any_call(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text("sinks: {jsonl: {path: /nowhere/at/all.jsonl}}")
    done = call(
        "run", "-c", str(path), RTZR_CLIENT_ID="a", RTZR_CLIENT_SECRET="hunter2", ARI_PASSWORD="hunter3"
    )
    assert done.exit_code == 2
    assert (
        "sinks.jsonl.path: /nowhere/at/all.jsonl cannot be written (No such file or directory); "
        in done.stderr
    )
    assert "hunter" not in done.output


SECRETS = {"RTZR_CLIENT_ID": "a", "RTZR_CLIENT_SECRET": "hunter2", "ARI_PASSWORD": "hunter3"}


def test_run_says_on_one_line_that_the_media_address_is_not_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text("log: {level: info}\nmedia:\n  bind: 192.0.2.99\n")
    done = call("run", "-c", str(path), **SECRETS)
    assert done.exit_code == 2
    assert done.stderr == (
        f"{path}:3: media.bind: 192.0.2.99 is not to be had (Cannot assign requested address); "
        "give an address of this machine\n"
    )


def test_a_log_without_a_reader_does_not_end_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    with socket.create_server(("127.0.0.1", 0)) as pbx:
        pbx.settimeout(15)
        path.write_text(f"asterisk: {{ari_url: 'http://127.0.0.1:{pbx.getsockname()[1]}/ari'}}")
        reader, writer = os.pipe()
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONASYNCIODEBUG"} | SECRETS
        with subprocess.Popen(
            [*COMMAND, "run", "-c", str(path)], env=environ, stdout=subprocess.DEVNULL, stderr=writer
        ) as running:
            os.close(writer)
            os.close(reader)
            for _ in range(4):  # each try that fails is a line of the log
                pbx.accept()[0].close()
            assert running.poll() is None
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0


def test_a_closed_standard_error_is_no_reason_not_to_start() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "--version"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout[:11]) == (0, b"rtzr-bridge")


@pytest.mark.parametrize("arguments", [["demo"], ["--version"], ["emulator", "--port", "0"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"standard output cannot be written (No space left on device)\n"


def told_summary(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    utterance = Utterance("caller", text, "예약 확인", 400)
    found = Summary([utterance], 1, 2, 0, Ledger().as_json(), accounted=True, reasons=[])

    async def run(_publish: object, _pbx: object) -> Summary:
        return found

    monkeypatch.setattr("bridge.demo.demo.run", run)


def test_demo_says_whose_text_it_is_and_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    told_summary(monkeypatch, "예약 확인")
    done = call("demo")
    assert done.exit_code == 0
    assert "emulator's" in done.stdout.splitlines()[0]
    assert re.search(r"caller +예약 확인 +yes +400 ms", done.stdout)
    assert "1 token, 2 sockets opened" in done.stdout


def test_demo_fails_and_shows_what_was_heard_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    told_summary(monkeypatch, "예약 / 확인")
    done = call("demo")
    assert done.exit_code == 1
    assert "heard: 예약 / 확인" in done.stdout
    assert "1 sentences did not come back word for word" in done.stderr
    as_json = call("demo", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["exact"] == 0


def test_a_demo_that_cannot_be_held_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_publish: object, _pbx: object) -> Summary:
        raise DemoError("cannot open what the call needs")

    monkeypatch.setattr("bridge.demo.demo.run", run)
    for arguments in (["demo"], ["demo", "--json"]):
        done = call(*arguments)
        assert done.exit_code == 1
        assert done.stderr == "demo: cannot open what the call needs\n"


def test_transcribe_needs_no_account_with_the_emulator(tmp_path: Path) -> None:
    path = str(one_word(tmp_path / "a.wav"))
    done = call("transcribe", path, "--emulator", "--fast")
    assert done.exit_code == 0
    assert "emulator's" in done.stdout.splitlines()[0]
    assert "caller  안녕하세요 고객님" in done.stdout
    as_json = call("transcribe", path, "--emulator", "--fast", "--json")
    found = json.loads(as_json.stdout)
    assert (found["verdict"], [final["text"] for final in found["finals"]]) == (
        "complete",
        ["안녕하세요 고객님"],
    )


def test_transcribe_needs_none_either_with_the_keys_of_a_yaml(tmp_path: Path) -> None:
    path, config = str(one_word(tmp_path / "a.wav")), tmp_path / "bridge.yaml"
    config.write_text("gate: {mode: vad}\n")
    done = call("transcribe", path, "--emulator", "--fast", "-c", str(config))
    assert done.exit_code == 0
    assert "caller  안녕하세요 고객님" in done.stdout


def test_transcribe_of_silence_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    done = call("transcribe", str(path), "--emulator", "--fast")
    assert done.exit_code == 0
    assert "nothing was recognised" in done.stderr


def test_transcribe_refuses_a_wrong_file_before_anything_else(tmp_path: Path) -> None:
    done = call("transcribe", str(tmp_path / "none.wav"))
    assert done.exit_code == 2
    assert (
        done.stderr
        == f"{tmp_path / 'none.wav'}: cannot be read (No such file or directory); give a WAV file\n"
    )


def test_transcribe_asks_for_the_credentials_where_there_is_no_configuration(tmp_path: Path) -> None:
    done = call("transcribe", str(one_word(tmp_path / "a.wav")))
    assert done.exit_code == 2
    assert "RTZR_CLIENT_ID: is not set" in done.stderr
    assert "--emulator" in done.stderr


def test_transcribe_fails_without_a_traceback_when_rtzr_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcribe, "_PATIENCE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / "emulated.yaml"
    base = f"127.0.0.1:{port}/v1"
    config.write_text(
        f"rtzr: {{auth_url: 'http://{base}/authenticate', stream_url: 'ws://{base}/transcribe:streaming'}}"
    )
    path = str(one_word(tmp_path / "a.wav"))
    done = call("transcribe", "-c", str(config), path, RTZR_CLIENT_ID="a", RTZR_CLIENT_SECRET="hunter2")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("transcribe: authentication: ")
    assert "hunter2" not in done.output


def test_the_emulator_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("emulator", "--port", str(port))
    assert done.exit_code == 2
    assert done.stderr == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; give another --host or --port\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_emulator_prints_where_it_is_and_ends_quietly(number: signal.Signals) -> None:
    with started("emulator", "--port", "0", "--json") as running:
        assert running.stdout is not None
        lines = [running.stdout.readline()]
        while lines[-1].strip() != b"}":
            lines.append(running.stdout.readline())
        running.send_signal(number)
        _, complaints = running.communicate(timeout=10)
    assert json.loads(b"".join(lines)).keys() == {"auth_url", "stream_url", "stats_url"}
    assert (running.returncode, complaints) == (0, b"")


def test_ctrl_c_ends_a_command_without_a_word(tmp_path: Path) -> None:
    path = str(one_word(tmp_path / "a.wav"))
    with started("transcribe", path, "--emulator") as running:
        assert running.stderr is not None
        assert b"token issued" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, complaints = running.communicate(timeout=10)
    assert running.returncode == 130
    assert all(b"[info" in line for line in complaints.splitlines())


@pytest.mark.parametrize(
    ("encoding", "kept"), [("ascii", "utf-8"), ("latin-1", "utf-8"), ("utf-8", "utf-8"), ("euc-kr", "euc-kr")]
)
def test_hangul_is_printed_whatever_the_locale(
    monkeypatch: pytest.MonkeyPatch, encoding: str, kept: str
) -> None:
    streams: Any = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    cli._speak_korean()
    for stream in streams:
        stream.write("한글 \ud800")
        stream.flush()
        assert stream.buffer.getvalue() == "한글 ".encode(kept) + b"\\ud800"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sighup_that_comes_too_soon_ends_a_service_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, terminal: bool
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(os, "isatty", lambda _fd: terminal)
    try:
        with pytest.raises(typer.Exit):
            run.command(tmp_path / "none.yaml")
        assert signal.getsignal(signal.SIGHUP) is (signal.SIG_DFL if terminal else signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_question_to_the_daemon_loads_none_of_its_parts() -> None:
    asked = "from bridge import cli; import sys; cli.app(['calls', '--help'], standalone_mode=False); "
    heavy = "print([name for name in ('bridge.daemon', 'numpy', 'webrtcvad') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked + heavy], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
