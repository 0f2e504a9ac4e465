"""bridge/demo/page.py: its link lets in, calls come on the page, and Ctrl-C is a clean end."""

import os
import re
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bridge.demo import page
from bridge.demo.demo import DemoError
from bridge.demo.script import HOST, SCRIPT
from bridge.serving import listener_at
from bridge.types import Role

COMMAND = [sys.executable, "-m", "bridge", "demo", "--page"]
SOCKET = re.compile(r"rtzr-bridge calls --socket (\S+)\n")
LINK = re.compile(r"(http://127\.0\.0\.1:\d+/)#/login/(\w{32})\n")


@contextmanager
def shown() -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The demo, with its page's address and token; whatever it printed before the link is read."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environ["PYTHONUNBUFFERED"] = "1"
    with subprocess.Popen(
        COMMAND,
        env=environ,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        try:
            found = next(match for line in running.stdout if (match := LINK.search(line)))
            yield running, found[1], found[2]
        finally:
            running.kill()


def test_calls_come_on_the_page_until_ctrl_c_hangs_up() -> None:
    with shown() as (running, address, token):
        assert running.stdout is not None
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{address}api/calls").status_code == 401
        socket = next(match[1] for line in running.stdout if (match := SOCKET.search(line)))
        first = next(_finals(running.stdout))
        command = [sys.executable, "-m", "bridge", "calls", "--socket", socket]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        (call,) = httpx.get(f"{address}api/calls", headers=headers).json()["calls"]
        heard = httpx.get(f"{address}api/calls/{call['id']}", headers=headers).json()["timeline"]
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=20)
    assert first[0] == Role.CALLER
    assert first[1] in SCRIPT[0][1]  # the whole of it, unless the machine is busy
    assert (call["state"], call["rule"]) == ("live", "demo")
    assert first[1] in [one["data"].get("text") for one in heard]
    assert (running.returncode, errors) == (0, "")
    assert call["id"] in listed.stdout
    assert token not in rest
    assert not Path(socket).parent.exists()


def _finals(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if found := re.search(r"\d\d:\d\d\.\d  (\w+) +(.+)\n", line):
            yield found[1], found[2]


def test_the_next_free_port_is_taken() -> None:
    with listener_at(HOST, 0) as one:
        taken = one.getsockname()[1]
        assert taken < page.free_port(taken) < taken + 20


def test_that_no_port_is_free_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_PORTS", 1)
    with listener_at(HOST, 0) as one:
        taken = one.getsockname()[1]
        with pytest.raises(DemoError, match=f"{taken} to {taken} of 127.0.0.1 are all taken"):
            page.free_port(taken)


class _Browser(webbrowser.BackgroundBrowser):
    opened: list[str]

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self.opened.append(url)
        return True


def test_a_browser_with_a_window_is_opened_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = _Browser("x")
    browser.opened = []
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    page.open_browser("http://127.0.0.1/")
    assert browser.opened == ["http://127.0.0.1/"]
    in_terminal = webbrowser.GenericBrowser("no-such-browser")
    monkeypatch.setattr(in_terminal, "open", lambda _url: pytest.fail("it would take the terminal"))
    monkeypatch.setattr(webbrowser, "get", lambda: in_terminal)
    page.open_browser("http://127.0.0.1/")


@pytest.mark.parametrize(
    ("more", "words"), [(["--json"], "no JSON"), (["--pbx", "asterisk"], "leave out --pbx asterisk")]
)
def test_what_does_not_go_together_is_refused(more: list[str], words: str) -> None:
    done = subprocess.run([*COMMAND, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
