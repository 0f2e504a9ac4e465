"""What holds for every test: asyncio's debug mode, hypothesis at our scale, no skip where CI is set, a real
Redis, promtool and Chromium, and the order of tests that run side by side.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from bridge import logs
from tests.browser.chromium import CHROMIUM
from tests.promtool import PROMETHEUS
from tests.promtool import run as run_promtool
from tests.redisserver import REDIS, RedisServer
from tests.scale import scaled

# For the bridges that tests start as processes of their own; pytest's own loops are pyproject.toml's affair.
os.environ.setdefault("PYTHONASYNCIODEBUG", "1")

# No deadline: a busy machine is no fault of the code.
settings.register_profile("bridge", deadline=None, max_examples=scaled(1000), print_blob=True)
settings.load_profile("bridge")


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up the log; the next test has its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logs._set_up.clear()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def _unskip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI a test that did not run has failed: nobody reads the list of skips there."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped when CI is set. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _unskip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _unskip(report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files are handed out in the order of tests/sidebyside.py."""
    from tests.sidebyside import LongestFirst  # where there is this hook, there is pytest-xdist

    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def redis_installed() -> None:
    """Installs it where it is missing. With CI set its absence is a failure, elsewhere a loud skip."""
    REDIS.provide("real Redis missing", "REAL REDIS NOT TESTED")


@pytest.fixture(scope="session")
def promtool() -> Callable[..., str]:
    """`tests.promtool.run`. Installs it where it is missing. With CI set its absence is a failure, elsewhere
    a loud skip."""
    PROMETHEUS.provide("promtool missing", "ALERTS AND METRICS NOT CHECKED")
    return run_promtool


@pytest.fixture(scope="session")
def chromium_installed() -> None:
    """As `redis_installed`, of the browser."""
    CHROMIUM.provide("real Chromium missing", "REAL CHROMIUM NOT TESTED")


@pytest.fixture
def redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    """One of the test's own."""
    with RedisServer(tmp_path) as running:
        yield running
