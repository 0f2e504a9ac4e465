"""The project's own files: every requirement pinned with hashes, none with an address, none forgotten."""

import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = PYPROJECT["project"]["dependencies"]
DEV = PYPROJECT["project"]["optional-dependencies"]["dev"]


def pinned(name: str) -> dict[str, set[str]]:
    """Package -> its pinned versions. Fails on a line that pins nothing or bears no hash."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    versions: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"([a-z0-9-]+)==(\S+)( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", line)
        assert found, line[:100]
        versions.setdefault(found[1], set()).add(found[2])
    return versions


def plain(requirement: str) -> str:
    return re.split(r"[><=;\[ ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize(("name", "wanted"), [("requirements.txt", RUN), ("requirements-dev.txt", RUN + DEV)])
def test_every_dependency_is_pinned_with_hashes_and_no_address(name: str, wanted: list[str]) -> None:
    versions = pinned(name)
    assert {plain(requirement) for requirement in [*wanted, "setuptools"]} <= versions.keys()
    text = (ROOT / name).read_text()
    assert not re.search(r"https?:|file:|^-|@ ", text, re.MULTILINE)


def test_development_runs_on_the_very_packages_that_ship() -> None:
    run, dev = pinned("requirements.txt"), pinned("requirements-dev.txt")
    assert run.items() <= dev.items()


def test_audioop_comes_from_outside_only_where_python_has_none() -> None:
    line = re.search(r"^audioop-lts==.*$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert line is not None
    assert "python_full_version >= '3.13'" in line[0]


def test_ci_checks_and_tests_with_nothing_skipped() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert "export CI=" in text
    assert [line for line in text.splitlines() if line.startswith("make ")] == ["make check", "make test"]


def tap_context(name: str) -> list[str]:
    """The lines of `[rtzr-tap]` in a file of the project's."""
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    after = lines[lines.index("[rtzr-tap]") + 1 :]
    return list(itertools.takewhile(lambda line: line.startswith(("exten =>", "same =>")), after))


@pytest.mark.parametrize("name", ["docs/asterisk.md", "dialplan/asterisk/freepbx/extensions_custom.conf"])
def test_the_context_of_taps_is_the_same_wherever_it_is_shown(name: str) -> None:
    assert tap_context(name) == tap_context("dialplan/asterisk/extensions.conf")
    assert any(line.startswith("exten => snoop,1,") for line in tap_context(name))


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_a_python_that_will_not_do_is_told_at_once(tmp_path: Path, python: str) -> None:
    command = ["make", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{python} is missing or not Python 3.11 to 3.14" in done.stderr
    assert not (tmp_path / "venv").exists()
