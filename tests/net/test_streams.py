"""Which streams of FreeSWITCH are up, by what its modules tell: no socket, no PBX."""

import asyncio
from collections.abc import Callable

import pytest

from bridge.net.streams import LOST, Streams
from bridge.types import Codec, Transport
from bridge.wire.esl import EslEvent
from bridge.wire.mediastream import Fate, StreamNews
from bridge.wire.pbxevents import Channel, ChannelDestroyed, Gone, PbxRefused, PbxUnreachable
from bridge.wire.taporder import Media, TapKind, TapOrder

A = "a"
TAP = "rtzr.tap.1"
ORDER = TapOrder(TapKind.MONO, TAP, A, Media(Transport.AUDIOSTREAM, Codec.SLIN))
CHANNEL = Channel(A, "sofia/1", "Up", "", "", 0.0, "", "")


class Posted:
    def __init__(self) -> None:
        self.events: list[EslEvent] = []
        self.there = asyncio.Event()

    def __call__(self, event: EslEvent) -> None:
        self.events.append(event)
        self.there.set()


def begun(wait_s: float = 5.0) -> tuple[Streams, Posted]:
    streams, posted = Streams(wait_s), Posted()
    streams.begin(posted)
    return streams, posted


async def connected(streams: Streams) -> None:
    with streams.starting(ORDER) as stream:
        stream.started = True
        assert streams.told(StreamNews(A, Fate.CONNECTED), 1.0) == []
        await streams.wait(stream)


async def test_a_stream_is_up_once_its_module_says_so() -> None:
    streams, _ = begun()
    assert list(streams.channels()) == []
    await connected(streams)
    (channel,) = streams.channels()
    assert (channel.id, channel.person) == (TAP, False)
    assert streams.owns(TAP)
    assert streams.forget(ORDER)
    assert list(streams.channels()) == []


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (lambda streams: streams.told(StreamNews(A, Fate.FAILED, "no route"), 1.0), PbxRefused),
        (lambda streams: streams.note(ChannelDestroyed(1.0, CHANNEL, 16)), Gone),
        (lambda streams: streams.lost(), PbxUnreachable),
    ],
)
async def test_what_keeps_a_stream_from_coming(
    happens: Callable[[Streams], object], error: type[Exception]
) -> None:
    streams, _ = begun()
    with streams.starting(ORDER) as stream:
        stream.started = True
        happens(streams)
        with pytest.raises(error):
            await streams.wait(stream)
    assert list(streams.channels()) == []


async def test_one_that_never_comes_is_given_up_with_the_mend() -> None:
    streams, _ = begun(wait_s=0.01)
    with streams.starting(ORDER) as stream, pytest.raises(PbxUnreachable, match=r"media\.advertise"):
        await streams.wait(stream)


async def test_the_end_of_an_earlier_stream_is_not_this_ones() -> None:
    streams, posted = begun()
    with streams.starting(ORDER) as stream:
        stream.started = True
        streams.told(StreamNews(A, Fate.LOST), 1.0)
        streams.told(StreamNews(A, Fate.CONNECTED), 1.0)
        await streams.wait(stream)
    assert posted.events == []


async def test_a_failure_ends_its_tap() -> None:
    streams, _ = begun()
    await connected(streams)
    (over,) = streams.told(StreamNews(A, Fate.FAILED), 2.0)
    assert isinstance(over, ChannelDestroyed)
    assert over.channel.id == TAP
    assert streams.told(StreamNews(A, Fate.FAILED), 2.0) == []


async def test_what_a_fork_tells_of_a_channel_may_be_of_anothers_stream() -> None:
    streams, posted = begun()
    await connected(streams)
    for fate in (Fate.LOST, Fate.FAILED):
        assert streams.told(StreamNews(A, fate, alone=False), 2.0) == []
    assert posted.events == []
    assert [one.id for one in streams.channels()] == [TAP]


async def test_one_that_was_never_started_needs_no_stop() -> None:
    streams, _ = begun()
    with streams.starting(ORDER):
        pass
    assert not streams.forget(ORDER)


async def test_a_loss_ends_it_only_if_it_does_not_come_again_by_itself() -> None:
    streams, posted = begun()
    await connected(streams)
    assert streams.told(StreamNews(A, Fate.LOST), 2.0) == []
    assert streams.told(StreamNews(A, Fate.CONNECTED), 2.0) == []
    streams.told(StreamNews(A, Fate.LOST), 3.0)
    async with asyncio.timeout(2):
        await posted.there.wait()
    (event,) = posted.events
    assert event.subclass == LOST
    (over,) = streams.expired(event, 4.0)
    assert isinstance(over, ChannelDestroyed)
    assert streams.expired(event, 4.0) == []


async def test_who_is_not_ours_is_let_be() -> None:
    streams, _ = begun()
    await connected(streams)
    assert streams.told(StreamNews("another", Fate.FAILED), 2.0) == []
    other = TapOrder(TapKind.MONO, "rtzr.tap.2", A, ORDER.media)
    assert not streams.forget(other)
    assert [one.id for one in streams.channels()] == [TAP]


async def test_with_its_channel_a_stream_is_gone_and_needs_no_stop() -> None:
    streams, _ = begun()
    await connected(streams)
    streams.note(ChannelDestroyed(1.0, CHANNEL, 16))
    assert not streams.forget(ORDER)
