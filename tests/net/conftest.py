"""Which event loops the tests of the shells run on: those of the media sockets on each of the bridge's; and a
real Redis.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests import redisserver
from tests.redisserver import RedisServer

BOTH = {
    "test_audiopeer.py", "test_audiosocket.py", "test_audiostream.py", "test_esl.py", "test_mediainlet.py",
    "test_mediaserver.py", "test_mediasocket.py", "test_rtp.py", "test_webhook.py",
}  # fmt: skip
"""What registers a file descriptor with the loop, is one of its protocols, or meets resets and bad TLS: there
the loops differ."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name in BOTH:
        try:
            import uvloop
        except ImportError:  # not built for every platform
            return loops
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture(scope="session")
def redis_installed() -> None:
    """Installs it where it is missing. With CI set its absence is a failure, elsewhere a loud skip."""
    if redisserver.ready():
        return
    if reason := redisserver.why_not():
        if os.environ.get("CI"):
            pytest.fail(f"real Redis missing: {reason}", pytrace=False)
        pytest.skip(f"REAL REDIS NOT TESTED: {reason}")
    redisserver.install()


@pytest.fixture
def redis(redis_installed: None, tmp_path: Path) -> Iterator[RedisServer]:
    """One of the test's own."""
    with RedisServer(tmp_path) as running:
        yield running
