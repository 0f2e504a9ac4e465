"""Channels that somebody has asked for and waits to see in the events: over ARI and AMI alike, the PBX's
reply only says that it will do what was asked.

It knows ids and futures, and neither why somebody waits nor what comes next.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.wire.pbxevents import ChannelDestroyed, Dial, Gone, PbxEvent, PbxUnreachable


class Awaited:
    """Futures by key; each ends with the id of a channel, or with Gone."""

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

    def gone(self, key: str) -> None:
        """It ended before it was there."""
        future = self._futures.get(key)
        if future is not None and not future.done():
            future.set_exception(Gone("the channel ended before it began"))


class Answers:
    """Channels of ours that are to be answered: only then does the dialplan, or the spy, begin on them."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._futures: dict[str, asyncio.Future[None]] = {}

    def watch(self, channel: str) -> None:
        """From now on, before it is asked for."""
        self._futures[channel] = asyncio.get_running_loop().create_future()

    def note(self, event: PbxEvent) -> None:
        match event:
            case Dial(peer=channel, status="ANSWER") | ChannelDestroyed(channel=channel):
                future = self._futures.get(channel.id)
                if future is not None and not future.done():
                    future.set_result(None)

    async def wait(self, channel: str) -> None:
        """Until it is answered, or gone, which its owner learns elsewhere. Raises PbxUnreachable."""
        future = self._futures.get(channel)
        if future is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await future
        except TimeoutError:
            raise PbxUnreachable("a channel was made, and never answered") from None
        finally:
            self.forget(channel)

    def forget(self, channel: str) -> None:
        """Nobody will wait."""
        future = self._futures.pop(channel, None)
        if future is not None:
            future.cancel()
