"""The real promtool and Prometheus for the tests: Debian's package prometheus.

`make test` installs it (`python -m tests.promtool`), with a word on what it installs. No service of the
system is started or touched. The fixture `promtool` is in tests/conftest.py.
"""

# ruff: noqa: T201 (a command whose output is for a person)

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "prometheus"
BINARY = "promtool"


def ready() -> bool:
    """Whether it is installed."""
    return shutil.which(BINARY) is not None


def why_not() -> str:
    """Why this machine cannot install it by itself; empty when it can."""
    if os.geteuid() != 0:
        return f"not root: apt-get install {PACKAGE} is for an administrator"
    if shutil.which("apt-get") is None:
        return f"no apt-get: install {PACKAGE} by hand"
    return ""


def install() -> None:
    """Bring it. One process at a time; raises CalledProcessError when a step fails."""
    with (Path(tempfile.gettempdir()) / "rtzr-bridge-promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready():
            return
        print(f"installing the Debian package {PACKAGE} for the tests", flush=True)
        # With this run level no package starts a service.
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", PACKAGE]):
            subprocess.run(["apt-get", *command], check=True, env=environ, stdout=sys.stderr)


def run(*arguments: str, given: bytes = b"") -> str:
    """What `promtool` says of its arguments; AssertionError, with that, when it finds a fault."""
    done = subprocess.run(
        [BINARY, *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def main() -> int:
    if ready():
        return 0
    if reason := why_not():
        print(f"Prometheus for the tests is not installed: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    install()
    return 0


if __name__ == "__main__":
    sys.exit(main())
