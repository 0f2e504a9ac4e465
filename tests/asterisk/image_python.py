"""The project on the Python of the Debian system that holds Asterisk: a copy of it there, and how to run it.

A copy and not a mount, which would outlive a test run that is killed. The network is the host's. What is
installed there belongs to install.py and packages.py.
"""

import itertools
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.asterisk import packages
from tests.asterisk.install import root_dir

REPOSITORY = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
_PASSED_ON = ("CI", "PATH", "PYTHONASYNCIODEBUG")
"""What of the environment holds there too; certificates, homes and the like are at other places."""


class ImagePython:
    """That Python, with a copy of the project. Use it as a context manager; the copy goes at its end."""

    def __init__(self) -> None:
        self.root = root_dir()
        # The next Asterisk of any test run removes it, should this one be killed: see pbx.py.
        self._base = self.root / "srv" / f"rtzr-{os.getpid()}-python"
        self._code = self._base / "code"
        self._numbers = itertools.count(1)
        self.environ = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self.environ["LANG"] = "C.UTF-8"

    def __enter__(self) -> Self:
        shutil.copytree(REPOSITORY, self._code, ignore=_LEFT_OUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._base, ignore_errors=True)

    def command(self, *arguments: str) -> list[str]:
        """What runs it with `arguments` in the copy. Each step replaces itself: the process is Python's."""
        python = self.inside(packages.venv(self.root)) + "/bin/python"
        changed = f"--chdir={self.inside(self._code)}"
        return ["chroot", str(self.root), "env", changed, python, *arguments]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; all that it says is in `stdout`."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def new_folder(self) -> Path:
        """A folder of its own for one process, as seen from outside."""
        folder = self._base / str(next(self._numbers))
        folder.mkdir()
        return folder

    def inside(self, path: Path) -> str:
        """What `path` is called in there. Raises ValueError where it is elsewhere."""
        return f"/{path.relative_to(self.root)}"
