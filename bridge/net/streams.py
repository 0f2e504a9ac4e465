"""Which of FreeSWITCH's media streams are ours and how each does: that `+OK` is not a connection, and that
one generation of the module connects again by itself, is known here and nowhere else.

It sends nothing: what is to be told comes back as events. The URL that a stream goes to is its tap's.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bridge.wire.esl import EslEvent
from bridge.wire.mediastream import Fate, StreamNews
from bridge.wire.pbxevents import Channel, ChannelDestroyed, Gone, PbxEvent, PbxRefused, PbxUnreachable
from bridge.wire.taporder import TapOrder

_AGAIN_S = 0.3
"""After a loss: the generation that connects again by itself has done so within 2 ms."""
LOST = "rtzr::stream-lost"
"""The subclass of our own event, which no FreeSWITCH sends: the time for that is over."""
_NOT_REACHED = (
    "the stream was started, and has not reached us in {:g} s; can FreeSWITCH reach media.advertise and "
    "media.websocket_port?"
)


@dataclass(slots=True)
class Stream:
    """One that was asked for."""

    tap: str
    started: bool = False
    """Whether the PBX was asked to, and has not refused."""
    connected: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    up: bool = False
    timer: asyncio.TimerHandle | None = None

    def settle(self, error: Exception | None = None) -> None:
        if self.connected.done():
            return
        if error is None:
            self.connected.set_result(None)
        else:
            self.connected.set_exception(error)
            self.connected.exception()  # seen, though nobody may wait

    def wait_no_more(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Streams:
    """By the channel that is streamed: one each."""

    def __init__(self, wait_s: float) -> None:
        """`wait_s`: how long a stream that was started has to connect."""
        self._wait_s = wait_s
        self._by_channel: dict[str, Stream] = {}
        self._post: Callable[[EslEvent], object] = lambda _event: None

    def begin(self, post: Callable[[EslEvent], object]) -> None:
        """A connection of ESL begins; `post` puts an event behind those that have come."""
        self._post = post

    @contextmanager
    def starting(self, order: TapOrder) -> Iterator[Stream]:
        """A stream that is about to be started."""
        stream = self._by_channel[order.tapped] = Stream(order.id)
        try:
            yield stream
        finally:
            stream.connected.cancel()

    async def wait(self, stream: Stream) -> None:
        """Until it is connected. Raises PbxRefused, PbxUnreachable and Gone."""
        try:
            async with asyncio.timeout(self._wait_s):
                await stream.connected
        except TimeoutError:
            raise PbxUnreachable(_NOT_REACHED.format(self._wait_s)) from None

    def forget(self, order: TapOrder) -> bool:
        """It is not wanted any more; whether it has to be stopped: it was started, its channel is there."""
        stream = self._by_channel.get(order.tapped)
        if stream is None or stream.tap != order.id:
            return False
        stream.wait_no_more()
        del self._by_channel[order.tapped]
        return stream.started

    def owns(self, id_: str) -> bool:
        """Whether it is the id of a stream."""
        return any(stream.tap == id_ for stream in self._by_channel.values())

    def channels(self) -> Iterator[Channel]:
        """A channel of our own for each that is up."""
        for stream in self._by_channel.values():
            if stream.up:
                yield _channel(stream.tap)

    # What is told.

    def expired(self, event: EslEvent, at: float) -> list[PbxEvent]:
        """An event that was posted here: a stream was lost, and has not come again."""
        for stream in self._by_channel.values():
            if stream.tap == event.headers.get("Tap"):
                return self._over(stream, at)
        return []

    def told(self, news: StreamNews, at: float) -> list[PbxEvent]:
        """What a module says of a stream; the end of a tap, if it is that."""
        stream = self._by_channel.get(news.channel)
        if stream is None:
            return []
        if stream.up and not news.alone and news.fate is not Fate.CONNECTED:
            return []  # perhaps another's: whether ours is lost, its connection tells
        match news.fate:
            case Fate.CONNECTED:
                self._connected(stream)
            case Fate.LOST:
                self._lost(stream)
            case Fate.FAILED:
                stream.settle(PbxRefused(f"the stream did not reach us: {news.why or 'no reason told'}"))
                return self._over(stream, at)
        return []

    def _connected(self, stream: Stream) -> None:
        stream.wait_no_more()
        stream.up = True
        stream.settle()

    def _lost(self, stream: Stream) -> None:
        """Whether it comes again by itself, is seen at once. Before a stream has come, it is an earlier one
        of the same channel that is told of: the old mod_audio_stream does when one is stopped."""
        if stream.up and stream.timer is None:
            posted = EslEvent("CUSTOM", LOST, {"Tap": stream.tap})
            stream.timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._post, posted)

    def _over(self, stream: Stream, at: float) -> list[PbxEvent]:
        stream.wait_no_more()
        if not stream.up:
            return []
        stream.up = False
        return [ChannelDestroyed(at, _channel(stream.tap), 0)]

    def note(self, event: PbxEvent) -> None:
        """A channel is gone, and its stream with it."""
        if isinstance(event, ChannelDestroyed):
            stream = self._by_channel.pop(event.channel.id, None)
            if stream is not None:
                stream.wait_no_more()
                stream.settle(Gone("the channel ended before it was heard"))

    def lost(self) -> None:
        """The connection of ESL is lost: what streams do meanwhile nobody says."""
        for stream in self._by_channel.values():
            stream.wait_no_more()
            stream.settle(PbxUnreachable("the connection ended before the stream was seen"))


def _channel(tap: str) -> Channel:
    return Channel(tap, "AudioStream/", "Up", "", "", 0.0, "", "")
