"""bridge/leg/inlets.py: what is opened for a leg, by each transport, and calls that come by themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from bridge.leg.inlets import Inlets, Listener, NoInlet, Place, Ports, SpokenInlet
from bridge.types import Codec, Frame, Transport
from tests.net.audiopbx import AudioPbx, until, voice
from tests.net.switch import streaming

RTP = range(47_000, 47_020)


class _Leg:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.ends = 0

    def listener(self, codec: Codec = Codec.SLIN, ended: Callable[[], None] | None = None) -> Listener:
        return Listener(codec, lambda: 0.0, self.frames.extend, ended)


@asynccontextmanager
async def inlets(
    *, visits: bool = False, audiosocket: int = 0, bind: str = "127.0.0.1"
) -> AsyncIterator[Inlets]:
    one = Inlets(Ports(bind, RTP, audiosocket, 0, 0.0), 60, visits=visits)
    try:
        yield one
    finally:
        await one.close()


async def test_each_transport_has_its_own_place() -> None:
    async with inlets() as one:
        for transport, codec in ((Transport.RTP, Codec.ULAW), (Transport.AUDIOSOCKET, Codec.SLIN),
                                 (Transport.WEBSOCKET_CLIENT, Codec.ULAW),
                                 (Transport.AUDIOSTREAM, Codec.SLIN24),
                                 (Transport.AUDIOSTREAM_STEREO, Codec.SLIN)):  # fmt: skip
            first = await one.open(transport, _Leg().listener(codec))
            second = await one.open(transport, _Leg().listener(codec))
            assert first.place.port > 0
            assert first.place != second.place
            assert (first.place.key == "") == (transport is Transport.RTP)
            assert len(first.tally()) == len(first.fates)
            await first.close()
            await second.close()
        fetched = await one.open(Transport.WEBSOCKET, _Leg().listener())
        assert fetched.place == Place()
        assert fetched.tally() == (0,) * len(fetched.fates)
        await fetched.close()


async def test_nothing_is_locked_or_reached_but_what_can_be() -> None:
    async with inlets() as one:
        rtp = await one.open(Transport.RTP, _Leg().listener(Codec.ULAW))
        with pytest.raises(NoInlet):
            rtp.lock("no address", 4000)
        with pytest.raises(NoInlet):
            await rtp.reach("ws://127.0.0.1/media/x")
        await rtp.close()
        stream = await one.open(Transport.AUDIOSOCKET, _Leg().listener())
        stream.lock("127.0.0.1", 4000)
        await stream.close()
        message = await one.open(Transport.WEBSOCKET, _Leg().listener())
        with pytest.raises(NoInlet):
            await message.reach("no url")
        await message.close()


async def test_a_port_that_is_not_to_be_had_is_told() -> None:
    async with inlets() as one, inlets(audiosocket=await _taken(one)) as other:
        with pytest.raises(NoInlet, match="in use"):
            await other.open(Transport.AUDIOSOCKET, _Leg().listener())
        rtp = await other.open(Transport.RTP, _Leg().listener(Codec.ULAW))
        await rtp.close()


async def _taken(one: Inlets) -> int:
    held = await one.open(Transport.AUDIOSOCKET, _Leg().listener())
    await held.close()
    return held.place.port


async def test_a_stream_of_freeswitch_is_met_with_its_rate_and_its_other_party() -> None:
    leg, others, now_ms = _Leg(), list[Frame](), [0.0]

    def other(frames: list[Frame]) -> bool:
        others.extend(frames)
        return True

    async with inlets() as one:
        listener = Listener(Codec.SLIN, lambda: now_ms[0], leg.frames.extend, None, 2, other)
        inlet = await one.open(Transport.AUDIOSTREAM_STEREO, listener)
        port, key = inlet.place
        assert len(key) >= 32
        async with streaming(port, "mas102-01", key) as switch:
            for number in range(150):  # half of what stereo has
                now_ms[0] += 20
                switch.speak(b"abcd" * 80)
                await until(lambda number=number: len(leg.frames) > number)  # type: ignore[misc]
            assert isinstance(inlet, SpokenInlet)
            assert inlet.connected
            assert inlet.agent.startswith("ixwebsocket/")
        assert inlet.flaw == ""
        await inlet.close()
        assert inlet.flaw == "rate mismatch"
    assert leg.frames[0].payload == b"ab" * 80
    assert others[0].payload == b"cd" * 80


async def test_streams_over_tls_need_files_that_will_do(tmp_path: Path) -> None:
    for cert in (tmp_path / "none.pem", Path(__file__)):
        one = Inlets(Ports("127.0.0.1", RTP, 0, 0, 0.0, 0, str(cert), str(cert)), 60)
        with pytest.raises(NoInlet):
            await one.open(Transport.AUDIOSTREAM, _Leg().listener())
        await one.close()


async def test_a_codec_that_a_transport_has_not_is_told() -> None:
    async with inlets() as one:
        for transport, codec in ((Transport.AUDIOSTREAM, Codec.ULAW), (Transport.RTP, Codec.SLIN24)):
            with pytest.raises(NoInlet, match=codec.label):
                await one.open(transport, _Leg().listener(codec))


async def test_ports_that_are_used_up_are_told() -> None:
    async with inlets() as one:
        opened = [await one.open(Transport.RTP, _Leg().listener(Codec.ULAW)) for _ in RTP]
        with pytest.raises(NoInlet):
            await one.open(Transport.RTP, _Leg().listener(Codec.ULAW))
        for inlet in opened:
            await inlet.close()


@asynccontextmanager
async def knocking() -> AsyncIterator[tuple[Inlets, AudioPbx]]:
    """A call that the dialplan sends, which has said one word."""
    async with inlets(visits=True) as one:
        await one.audiosocket()
        port = (await one.open(Transport.AUDIOSOCKET, _Leg().listener())).place.port
        pbx = AudioPbx.connect(port, uuid4())
        pbx.send(voice(1))
        try:
            yield one, pbx
        finally:
            pbx.close()


async def test_a_call_that_knocks_is_heard_from_its_first_word_to_its_end() -> None:
    leg, ended = _Leg(), asyncio.Event()
    async with knocking() as (one, pbx):
        key = await asyncio.wait_for(one.knocks.get(), 5)
        await one.open(Transport.AUDIOSOCKET, leg.listener(ended=ended.set), str(key))
        with pytest.raises(NoInlet):
            await one.open(Transport.AUDIOSOCKET, _Leg().listener(), str(key))
        pbx.send(voice(2))
        await until(lambda: len(leg.frames) == 2)
        pbx.close()
        await asyncio.wait_for(ended.wait(), 5)
    assert [frame.payload[0] for frame in leg.frames] == [1, 2]


async def test_a_key_of_the_pbxs_own_is_one_calls_however_silent_that_is() -> None:
    leg = _Leg()
    async with knocking() as (one, pbx):
        key = await asyncio.wait_for(one.knocks.get(), 5)
        inlet = await one.open(Transport.AUDIOSOCKET, leg.listener(), str(key))
        await asyncio.sleep(0.6)  # longer than a connection of our own key would be spared
        rival = AudioPbx.connect(inlet.place.port, key)
        rival.send(voice(9))
        await until(lambda: not rival.listen())
        rival.close()
        pbx.send(voice(2))
        await until(lambda: len(leg.frames) == 2)
    assert [frame.payload[0] for frame in leg.frames] == [1, 2]


async def test_a_call_that_is_refused_is_let_go_at_once() -> None:
    async with knocking() as (one, pbx):
        one.refuse(await asyncio.wait_for(one.knocks.get(), 5))
        await until(lambda: not pbx.listen())
        one.refuse(uuid4())


async def test_a_call_that_is_held_is_kept_unheard_until_it_ends() -> None:
    async with knocking() as (one, pbx):
        key = await asyncio.wait_for(one.knocks.get(), 5)
        server = await one.audiosocket()
        one.hold(key)
        pbx.send(voice(2))
        await until(lambda: pbx.listen() and pbx.silence)
        with pytest.raises(ValueError, match="expected already"):
            one.hold(key)
        pbx.close()
        await until(lambda: not server._inlets.get(key))


async def test_without_visits_nobody_knocks() -> None:
    async with inlets() as one:
        port = (await one.open(Transport.AUDIOSOCKET, _Leg().listener())).place.port
        pbx = AudioPbx.connect(port, uuid4())
        await until(lambda: not pbx.listen())
        pbx.close()
        assert one.knocks.empty()
