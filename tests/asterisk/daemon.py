"""The bridge and its emulated RTZR as an administrator runs them: processes of their own, beside Asterisk.

Blocking, like pbx.py. What the daemon delivers is read from its JSONL sink; nothing reaches into it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.asterisk.image_python import ImagePython
from tests.asterisk.pbx import WORKER, Asterisk, free_tcp_port, wait_for

_OPTIONS = ["-X", "dev", "-W", "error", "-m", "bridge"]

_FIRST_PORT = 53_000 + WORKER * 500
"""Tests that run side by side do not take each other's ports."""


class _Process:
    """A command of ours, its output in a file. It runs on the Python of the tests, or on another."""

    options: Sequence[str] = _OPTIONS
    """Python's own."""

    def __init__(self, log: Path, python: ImagePython | None = None) -> None:
        self.log = log
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def launch(self, *arguments: str, **environ: str) -> None:
        options = [*self.options, *arguments]
        command = self._python.command(*options) if self._python else [sys.executable, *options]
        base = self._python.environ if self._python else os.environ
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**base, **environ}
            )

    def _await(self, begun: Callable[[], bool]) -> None:
        """What does not begin in time is not left behind."""
        try:
            wait_for(begun, 15, self.printed)
        except BaseException:
            self.kill()
            raise

    def _seen(self, path: Path) -> str:
        """A path as the process sees it."""
        return self._python.inside(path) if self._python else str(path)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """Process id. AssertionError when it does not run."""
        assert self._process is not None
        return self._process.pid

    def open_files(self) -> int:
        """How many sockets and the like the process holds; idle connections to the PBX are among them."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def children(self) -> list[int]:
        """The processes that it started and that live."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]

    def kill(self) -> None:
        """SIGKILL, and reaped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self, timeout_s: float = 10) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended(timeout_s)

    def ended(self, timeout_s: float = 10) -> int:
        """The exit code, once it has one."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


class EmulatorProcess(_Process):
    """`rtzr-bridge emulator`."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder / "emulator.log")
        self.port = free_tcp_port()
        self._options = options

    def __enter__(self) -> Self:
        self.launch("emulator", "--port", str(self.port), *self._options)
        self._await(self._up)
        return self

    def _up(self) -> bool:
        try:
            return bool(self.stats())
        except httpx.TransportError:
            return False

    def stats(self) -> dict[str, float]:
        found: dict[str, float] = httpx.get(f"http://127.0.0.1:{self.port}/stats", trust_env=False).json()
        return found


class BridgeProcess(_Process):
    """`rtzr-bridge run` with a configuration of its own, on the tests' Python or, given `python`, on that.

    `python` sees no other folder of the tests: paths in `changes` must be ones that exist in there.
    """

    def __init__(
        self,
        pbx: Asterisk | None,
        emulator: EmulatorProcess,
        folder: Path,
        *,
        python: ImagePython | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(folder / "bridge.log", python)
        self._pbx = pbx
        home = python.new_folder() if python else folder
        self.events_path = home / "events.jsonl"
        self._config = home / "bridge.yaml"
        self._config.write_text(json.dumps(self._settings(emulator, changes)), encoding="utf-8")

    def _settings(self, emulator: EmulatorProcess, changes: dict[str, Any]) -> dict[str, Any]:
        base = f"127.0.0.1:{emulator.port}/v1"
        settings: dict[str, Any] = {
            "rtzr": {
                "auth_url": f"http://{base}/authenticate",
                "stream_url": f"ws://{base}/transcribe:streaming",
                "file_url": f"http://{base}/transcribe",
            },
            "asterisk": self._asterisk(),
            "media": {"first_port": _FIRST_PORT, "last_port": _FIRST_PORT + 400, "port_rest_s": 2},
            "sinks": {"console": {"enabled": False}, "jsonl": {"path": self._seen(self.events_path)}},
            "log": {"format": "json"},
        }
        for section, keys in changes.items():
            settings[section] = {**settings.get(section, {}), **keys} if isinstance(keys, dict) else keys
        return settings

    def _asterisk(self) -> dict[str, Any]:
        pbx = self._pbx
        return {"ari_url": pbx.ari_url, "ami_port": pbx.ami_port, "username": pbx.username} if pbx else {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it follows the PBX."""
        before = self._connections()
        self.launch(
            "run",
            "--config",
            self._seen(self._config),
            RTZR_CLIENT_ID="demo",
            RTZR_CLIENT_SECRET="demo-secret",
            **self._secrets(),
        )
        self._await(lambda: self._connections() > before)

    def _secrets(self) -> dict[str, str]:
        """What the PBX wants to hear."""
        return {"ARI_PASSWORD": Asterisk.password, "AMI_SECRET": Asterisk.password}

    def _connections(self) -> int:
        """How often it has begun to follow the PBX."""
        text = self.printed() if self.log.exists() else ""
        return text.count('"ari connected"') + text.count('"ami connected"')

    def events(self, kind: str = "", call: str = "") -> list[dict[str, Any]]:
        """The events delivered so far, of one type (`transcript.final`) and one call."""
        if not self.events_path.exists():
            return []
        written = self.events_path.read_bytes()
        lines = written[: written.rfind(b"\n") + 1].decode().splitlines()  # the last one may be half there
        return [
            event
            for event in map(json.loads, lines)
            if event["type"].endswith(kind) and call in ("", event["subject"])
        ]

    def finals(self, call: str, role: str) -> list[str]:
        """What one party of a call said, in order."""
        return [
            event["data"]["text"]
            for event in self.events("transcript.final", call)
            if event["data"]["party"]["role"] == role
        ]

    def wait(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Until `condition` holds; what is open, in the PBX and here, is the complaint when it does not."""
        wait_for(condition, timeout_s, self.told)

    def told(self) -> str:
        """What is open, here and in the PBX, and the end of the log: why a test fails."""
        started = [event["data"]["leg"] for event in self.events("leg.started")]
        ended = [event["data"]["leg"] for event in self.events("leg.ended")]
        lines = self.printed().splitlines()
        grave = [line for line in lines if '"level": "info"' not in line]
        return "\n".join(
            [
                f"legs open: {[leg for leg in started if leg not in ended]}",
                f"channels: {self._pbx.cli('core show channels concise')}" if self._pbx else "",
                *grave[-30:],
                *lines[-20:],
            ]
        )

    def wait_for_end(self, call: str, timeout_s: float = 20) -> dict[str, Any]:
        """The data of the call's `call.ended`."""
        self.wait(lambda: bool(self.events("call.ended", call)), timeout_s)
        data: dict[str, Any] = self.events("call.ended", call)[0]["data"]
        return data
