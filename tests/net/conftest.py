"""Which event loops the tests of the shells run on: those of the media sockets on each of the bridge's."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

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
