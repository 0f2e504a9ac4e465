"""The fixtures `pbx`, a running real Asterisk, and `image_python`, the Python that its system comes with.

With CI set their absence is a failure, elsewhere a skip that says so. What they give is in pbx.py and
image_python.py.
"""

import os
from collections.abc import Iterator

import pytest

from tests.asterisk import install
from tests.asterisk.image_python import ImagePython
from tests.asterisk.pbx import Asterisk


@pytest.fixture(scope="session")
def asterisk_installed() -> None:
    """Asks for the installation that `make test` made."""
    if not install.ready() or os.geteuid() != 0:
        _missing("Asterisk")


def _missing(what: str) -> None:
    reason = install.why_not()
    reason = reason or f"{what} is not in {install.root_dir()}: run python -m tests.asterisk.install"
    if os.environ.get("CI"):
        pytest.fail(f"real {what} missing: {reason}", pytrace=False)
    pytest.skip(f"REAL {what.upper()} NOT TESTED: {reason}")


@pytest.fixture(scope="session")
def image_python(asterisk_installed: None) -> Iterator[ImagePython]:
    """The Python of Asterisk's system, 3.14, with a copy of the project to run on it."""
    if not install.python_ready():
        _missing("Python 3.14")
    with ImagePython() as python:
        yield python


@pytest.fixture(scope="session")
def shared_pbx(asterisk_installed: None) -> Iterator[Asterisk]:
    """One Asterisk for the whole run; tests ask for `pbx`, which leaves it empty."""
    with Asterisk() as running:
        yield running


@pytest.fixture
def pbx(shared_pbx: Asterisk) -> Iterator[Asterisk]:
    """The shared Asterisk, with no channel in it before and after the test."""
    yield shared_pbx
    shared_pbx.hangup_all()
