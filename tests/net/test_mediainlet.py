"""One leg's WebSocket on real loopback sockets: audio whole and in order, floods, pings, pieces, bad ends."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from bridge.net.mediainlet import CLOSE_S
from bridge.net.mediasocket import MediaSocketServer, connect
from bridge.types import Codec, Frame
from bridge.wire.mediasocket import MEDIA_FATES
from tests.net.handshake import welcome
from tests.net.media import (
    TONE,
    Heard,
    Play,
    asterisk,
    closed,
    fetched,
    living,
    start,
    until,
    url_of,
    without_collector,
)
from tests.net.tcp import server
from tests.scale import scaled


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(autouse=True)
async def no_callback_fails() -> AsyncIterator[None]:
    """A protocol's exception only reaches the loop's handler, where no test would see it."""
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert not failures


def playing(*messages: str | bytes, stay: bool = True) -> Play:
    """Sends these, and then waits for the other end to close, or closes."""

    async def play(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        if stay:
            await connection.wait_closed()

    return play


async def test_audio_comes_whole_in_order_and_in_call_time(heard: Heard) -> None:
    messages = [bytes([number]) * 160 for number in range(200)]
    async with fetched(playing(start(), *messages, stay=False), heard) as inlet:
        await until(lambda: heard.ends == 1)
    assert heard.audio == b"".join(messages)
    starts = [frame.at_ms for frame in heard.frames]
    assert starts[0] <= 980  # what came with it was not spoken after it came ...
    assert {later - earlier for earlier, later in pairwise(starts)} <= {
        20.0,
        18.0,
    }  # ... or draws back
    counted = dict(zip(MEDIA_FATES, inlet.tally(), strict=True))
    assert (counted["received"], counted["accepted"], counted["malformed"]) == (200, 200, 0)
    assert inlet.close_code == 1000
    assert inlet.started is not None
    assert inlet.started.channel_id == "heard"
    assert heard.ends == 1


async def test_audio_in_another_format_is_counted_and_told_once_and_not_delivered(heard: Heard) -> None:
    with capture_logs() as logs:
        async with fetched(playing(start(Codec.ALAW), TONE, TONE, stay=False), heard) as inlet:
            await until(lambda: heard.ends == 1)
    assert heard.frames == []
    assert inlet.stream.counters.malformed == 2
    assert logs == [{"event": "audio in another format", "format": "alaw", "log_level": "warning"}]


async def test_a_message_in_pieces_is_one(heard: Heard) -> None:
    async def play(connection: ServerConnection) -> None:
        await connection.send([start()[:50], start()[50:]])
        await connection.send([TONE[:3], b"", TONE[3:100], TONE[100:]])

    async with fetched(play, heard):
        await until(lambda: heard.ends == 1)
    assert [frame.payload for frame in heard.frames] == [TONE]


async def test_a_flood_of_texts_harms_nothing(heard: Heard) -> None:
    flood = ["DTMF_END digit:5", "what?", '{"event":"ERROR","error_text":"no"}', "{" * 3000] * scaled(500, 50)
    with capture_logs() as logs:
        async with fetched(playing(start(), *flood, TONE, stay=False), heard) as inlet:
            await until(lambda: heard.ends == 1)
    assert heard.audio == TONE
    assert inlet.stream.counters.unread == len(flood) // 2
    assert inlet.stream.counters.failed == len(flood) // 4
    assert [log["event"] for log in logs] == ["pbx reports an error"]


async def test_text_that_is_no_utf8_is_unread(heard: Heard) -> None:
    async def play(connection: ServerConnection) -> None:
        await connection.send(b"\xff\xfe", text=True)

    async with fetched(play, heard) as inlet:
        await until(lambda: heard.ends == 1)
    assert inlet.stream.counters.unread == 1


@pytest.mark.parametrize("pieces", [1, 8])
async def test_a_message_that_is_too_big_ends_the_connection(heard: Heard, pieces: int) -> None:
    codes: list[int | None] = []

    async def play(connection: ServerConnection) -> None:
        await connection.send(start())
        huge = [bytes(MediaSocketServer.max_size // pieces + 1)] * pieces
        await connection.send(huge if pieces > 1 else huge[0])
        codes.append(await closed(connection))

    async with fetched(play, heard) as inlet:
        await until(lambda: heard.ends == 1)
        assert inlet.stream.counters.broken == 1
        await until(lambda: codes == [1009])
    assert heard.frames == []


async def test_whoever_takes_the_audio_cannot_keep_us_from_reading(heard: Heard) -> None:
    """The consumer fails each time: all is read, nothing is delivered, and all of it is counted."""

    def deliver(_frames: list[Frame]) -> None:
        raise ValueError("full")

    async with asterisk(playing(start(), *[TONE] * 1000, stay=False)) as server:
        with capture_logs() as logs:
            inlet = await connect(url_of(server), Codec.ULAW, heard.clock, deliver, heard.ended)
            await until(lambda: heard.ends == 1)
    assert inlet.stream.counters.accepted == inlet.stream.counters.undelivered == 1000
    assert {log["event"] for log in logs} == {"audio not taken"}


async def test_a_peer_that_sends_as_fast_as_it_can_never_waits_for_us(heard: Heard) -> None:
    """Its `send` returns only while its buffer is not full: 20 MB are through long before its patience is."""
    count = scaled(2000, 500)
    drained: list[bool] = []

    async def play(connection: ServerConnection) -> None:
        await connection.send(start())
        async with asyncio.timeout(10):
            for _ in range(count):
                await connection.send(bytes(8000))
        drained.append(True)

    async with fetched(play, heard):
        await until(lambda: heard.ends == 1)
    assert drained == [True]
    assert len(heard.audio) == count * 8000


async def test_pings_are_answered_and_never_sent(heard: Heard) -> None:
    came: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        writer.write(b"\x89\x02hi" + b"\x8a\x00")  # a ping, and a pong that nobody asked for
        came.append(await reader.readexactly(8))
        text = start().encode()
        writer.write(b"\x81\x7e" + len(text).to_bytes(2, "big") + text + b"\x82\x02ab\x88\x02\x03\xe8")
        came.append(await reader.read())

    async with server(play) as port:
        url = f"ws://127.0.0.1:{port}/media/x"
        inlet = await connect(url, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        await until(lambda: heard.ends == 1)
    assert [came[0][0], *(byte ^ key for byte, key in zip(came[0][6:], came[0][2:6], strict=False))] == [
        0x8A,
        *b"hi",
    ]
    assert came[1][0] == 0x88
    assert len(came[1]) == 8  # the close and nothing else
    assert (heard.audio, inlet.close_code) == (b"ab", 1000)


async def test_who_pings_and_does_not_read_is_dropped(heard: Heard) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        while True:  # reads nothing more: a stream that is full reads no further
            writer.write((b"\x89\x7d" + bytes(125)) * 100)
            await writer.drain()

    async with server(play) as port:
        url = f"ws://127.0.0.1:{port}/media/x"
        inlet = await connect(url, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        async with asyncio.timeout(20):
            while not heard.ends:  # noqa: ASYNC110 - as `until`, and longer: the kernel has megabytes
                await asyncio.sleep(0.01)
    assert inlet.close_code == 1006


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_peer_that_vanishes_ends_the_leg(heard: Heard, how: str) -> None:
    async def play(connection: ServerConnection) -> None:
        await connection.send(start())
        await connection.send(TONE)
        if how == "end":
            await until(lambda: bool(heard.frames))
            connection.transport.write_eof()
            await connection.wait_closed()
        else:
            await until(lambda: bool(heard.frames))
            connection.transport.abort()

    async with fetched(play, heard) as inlet:
        await until(lambda: heard.ends == 1)
        assert not inlet.connected
        assert inlet.close_code == 1006
        assert inlet.stream.counters.broken == 0
    assert heard.audio == TONE
    assert heard.ends == 1


async def test_no_websocket_is_a_broken_connection(heard: Heard) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        writer.write(b"\xff" * 100)
        await reader.read()

    async with server(play) as port:
        url = f"ws://127.0.0.1:{port}/media/x"
        inlet = await connect(url, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        await until(lambda: heard.ends == 1)
    assert inlet.stream.counters.broken == 1


async def test_closing_delivers_what_is_on_its_way_and_tells_nobody(heard: Heard) -> None:
    """What Asterisk has sent before it reads our close is still heard; it answers with its own."""
    codes: list[int | None] = []

    async def play(connection: ServerConnection) -> None:
        await connection.send(start())
        for number in range(50):
            await connection.send(bytes([number]) * 160)
        codes.append(await closed(connection))

    async with asterisk(play) as listening:
        inlet = await connect(url_of(listening), Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        await until(lambda: bool(heard.frames))
        await inlet.close()
        assert not inlet.connected
        await inlet.close()
    assert codes == [1000]
    assert [frame.payload[0] for frame in heard.frames] == list(range(50))
    assert heard.ends == 0


@pytest.mark.parametrize("goes_on", [False, True])
async def test_closing_never_waits_long_for_who_does_not_answer(heard: Heard, goes_on: bool) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        while goes_on:
            writer.write(b"\x82\x02ab")
            await writer.drain()
            await asyncio.sleep(0.005)
        await reader.read()
        await reader.read()

    async with server(play) as port:
        url = f"ws://127.0.0.1:{port}/media/x"
        inlet = await connect(url, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await inlet.close()
        assert CLOSE_S / 2 < loop.time() - began < CLOSE_S + 2
    assert heard.ends == 0


@pytest.mark.parametrize("how", ["closes", "resets", "breaks"])
async def test_a_connection_leaves_nothing_to_the_collector(heard: Heard, how: str) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        writer.write({"closes": b"\x88\x02\x03\xe8", "resets": b"", "breaks": b"\xff\xff"}[how])
        if how == "resets":
            writer.transport.abort()
        await reader.read()

    with without_collector():
        async with server(play) as port:
            url = f"ws://127.0.0.1:{port}/media/x"
            inlet = await connect(url, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
            await until(lambda: heard.ends == 1)
            await inlet.close()
        del inlet
        assert living("_Dialled", "ClientProtocol", "MediaSocketInlet", "MediaStream") == []
