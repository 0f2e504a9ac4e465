"""bridge/waiting.py: what is waited for is told at a terminal, late, and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WAITS = """
import time
from bridge.waiting import waited
with waited("one thing", quiet={quiet}) as say:
    time.sleep({s})
    say("another")
    time.sleep({s})
print("done")
"""


def at_terminal(program: str) -> str:
    """What is on the terminal of a program by its end."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm"}
    subprocess.run(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environ, cwd=ROOT, check=True
    )
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    return seen


def test_at_a_terminal_it_is_told_and_taken_back() -> None:
    seen = at_terminal(WAITS.format(quiet=False, s=0.8))
    assert "one thing" in seen
    assert "another" in seen
    assert seen.endswith("done\r\n")


@pytest.mark.parametrize(("quiet", "s"), [(True, 0.8), (False, 0.01)])
def test_with_json_or_when_it_is_quick_nothing_is_told(quiet: bool, s: float) -> None:
    assert at_terminal(WAITS.format(quiet=quiet, s=s)) == "done\r\n"


def test_in_a_pipe_nothing_is_told() -> None:
    program = WAITS.format(quiet=False, s=0.8)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == (b"done\n", b"")
