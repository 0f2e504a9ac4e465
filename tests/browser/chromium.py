"""A real browser for the tests: Debian's chromium, with a font that has Hangul.

`make test` installs it (`python -m tests.browser.chromium`), with a word on what it installs. Playwright, a
package of Python, drives it, and brings no browser of its own.
"""

# ruff: noqa: T201 (a command whose output is for a person)

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

BINARY = "chromium"
PACKAGES = (BINARY, "fonts-noto-cjk")


def ready() -> bool:
    """Whether it is installed."""
    return shutil.which(BINARY) is not None


def why_not() -> str:
    """Why this machine cannot install it by itself; empty when it can."""
    if os.geteuid() != 0:
        return f"not root: apt-get install {' '.join(PACKAGES)} is for an administrator"
    if shutil.which("apt-get") is None:
        return f"no apt-get: install {BINARY} by hand"
    return ""


def install() -> None:
    """Bring it. One process at a time; raises CalledProcessError when a step fails."""
    with (Path(tempfile.gettempdir()) / "rtzr-bridge-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready():
            return
        print(f"installing the Debian packages {' and '.join(PACKAGES)} for the tests", flush=True)
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *command], check=True, env=environ, stdout=sys.stderr)


@contextmanager
def opened(patience_ms: int, **options: Any) -> Iterator[Page]:
    """An empty page of a browser of its own, for tests that are not coroutines; `options` are a page's."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(BINARY), args=arguments)
        page = browser.new_page(locale="en-GB", **options)
        page.set_default_timeout(patience_ms)
        yield page
        browser.close()


def main() -> int:
    if ready():
        return 0
    if reason := why_not():
        print(f"Chromium for the tests is not installed: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    install()
    return 0


if __name__ == "__main__":
    sys.exit(main())
