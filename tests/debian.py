"""Real programs for the tests out of Debian's packages: whether one is there, and if not, that it is brought.

No service of the system is started or touched. What is done with a program is its own module's concern.
"""

# ruff: noqa: T201 (a command whose output is for a person)

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Program:
    """`binary` is what has to be there, `packages` what brings it."""

    name: str
    binary: str
    packages: tuple[str, ...]

    def ready(self) -> bool:
        """Whether it is installed."""
        return shutil.which(self.binary) is not None

    def why_not(self) -> str:
        """Why this machine cannot install it by itself; empty when it can."""
        wanted = " ".join(self.packages)
        if os.geteuid() != 0:
            return f"not root: apt-get install {wanted} is for an administrator"
        if shutil.which("apt-get") is None:
            return f"no apt-get: install {wanted} by hand"
        return ""

    def install(self) -> None:
        """Bring it. One process at a time; raises CalledProcessError when a step fails."""
        with (Path(tempfile.gettempdir()) / f"rtzr-bridge-{self.binary}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.ready():
                print(f"installing {' and '.join(self.packages)} of Debian for the tests", flush=True)
                apt_get_install(*self.packages)

    def provide(self, missing: str, untested: str) -> None:
        """For a fixture: it is there after this. Where it cannot be, that is a failure that says `missing`
        with CI set, elsewhere a loud skip that says `untested`."""
        if self.ready():
            return
        if reason := self.why_not():
            if os.environ.get("CI"):
                pytest.fail(f"{missing}: {reason}", pytrace=False)
            pytest.skip(f"{untested}: {reason}")
        self.install()

    def main(self) -> int:
        """For `make test`, before the tests; the exit code."""
        if self.ready():
            return 0
        if reason := self.why_not():
            print(f"{self.name} for the tests is not installed: {reason}", file=sys.stderr)
            return 1 if os.environ.get("CI") else 0
        self.install()
        return 0


def apt_get_install(*packages: str) -> None:
    """Raises CalledProcessError when a step fails."""
    # With this run level no package starts a service.
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], check=True, env=environ, stdout=sys.stderr)
