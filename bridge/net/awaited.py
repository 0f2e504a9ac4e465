"""Channels that somebody has asked for and waits to see in the events: over ARI and AMI alike, the PBX's
reply only says that it will do what was asked.

It knows ids and futures, and neither why somebody waits nor what comes next.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.wire.pbxevents import Gone, PbxUnreachable


class Awaited:
    """Futures by key; each ends with the id of a channel, with Gone or with PbxUnreachable."""

    def __init__(self) -> None:
        self._futures: dict[str, asyncio.Future[str]] = {}

    @contextmanager
    def expect(self, key: str) -> Iterator[asyncio.Future[str]]:
        """The future of `key`, before anything is asked that could bring it about."""
        future = self._futures[key] = asyncio.get_running_loop().create_future()
        try:
            yield future
        finally:
            del self._futures[key]
            if future.done() and not future.cancelled():
                future.exception()  # seen, though nobody waited long enough
            future.cancel()

    def seen(self, key: str, channel: str) -> None:
        """It is there."""
        future = self._futures.get(key)
        if future is not None and not future.done():
            future.set_result(channel)

    def lost(self) -> None:
        """The connection is lost, and with it what would have been seen."""
        for future in self._futures.values():
            if not future.done():
                future.set_exception(PbxUnreachable("the connection ended before the channel was seen"))

    def gone(self, key: str) -> None:
        """It ended before it was there."""
        future = self._futures.get(key)
        if future is not None and not future.done():
            future.set_exception(Gone("the channel ended before it began"))
