"""Which event loops the tests of the shells run on: those of a leg's audio on each we may use."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

BOTH = {"test_rtp.py", "test_mediainlet.py", "test_mediasocket.py"}
"""What registers a file descriptor with the loop, or is one of its protocols: there the loops differ."""


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
