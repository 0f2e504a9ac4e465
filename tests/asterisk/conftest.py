"""The fixture `pbx`: a running real Asterisk.

With CI set its absence is a failure, elsewhere a skip that says so. What the fixture gives is in pbx.py.
"""

import os
from collections.abc import Iterator

import pytest

from tests.asterisk import install
from tests.asterisk.pbx import Asterisk


@pytest.fixture(scope="session")
def asterisk_installed() -> None:
    """Asks for the installation that `make test` made."""
    if install.ready() and os.geteuid() == 0:
        return
    reason = (
        install.why_not() or f"Asterisk is not in {install.root_dir()}: run python tests/asterisk/install.py"
    )
    if os.environ.get("CI"):
        pytest.fail(f"real Asterisk missing: {reason}", pytrace=False)
    pytest.skip(f"REAL ASTERISK NOT TESTED: {reason}")


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
