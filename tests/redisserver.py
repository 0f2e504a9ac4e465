"""A real Redis for the tests: Debian's redis-server, a process of a test's own, to be stopped and started.

`make test` installs it (`python -m tests.redisserver`), with a word on what it installs. No service of the
system is started or touched. The fixture `redis` is in tests/conftest.py.
"""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.asterisk.pbx import free_tcp_port
from tests.debian import Program

BINARY = "redis-server"
REDIS = Program("Redis", BINARY, (BINARY,))
PATIENCE_S = 20.0


class RedisServer:
    """One on loopback, which keeps what it has over a stop and a start (appendonly, fsync always)."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options`: as on redis-server's command line."""
        self._folder = folder
        self._options = options
        self._running: subprocess.Popen[bytes] | None = None
        self.port = free_tcp_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it takes connections and has loaded its data."""
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        kept = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._running = subprocess.Popen([*command, *kept, *self._options], stdout=log, stderr=log)
        ends = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self._running.poll() is not None or time.monotonic() > ends:
                raise RuntimeError((self._folder / "redis.log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """With SIGKILL, as a machine that loses its power."""
        if self._running is not None:
            self._running.send_signal(signal.SIGCONT)
            self._running.kill()
            self._running.wait(PATIENCE_S)
            self._running = None

    def freeze(self, *, frozen: bool = True) -> None:
        """It stands still, with its connections open; or goes on."""
        assert self._running is not None
        self._running.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _answers(self) -> bool:
        """Whether it is up; a password that it wants is an answer too."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(REDIS.main())
