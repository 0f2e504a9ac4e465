"""The server of media WebSockets: who is not let in, how many may ask at once, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.net.mediasocket import MediaSocketServer
from bridge.types import Codec
from tests.net.media import KEY, TONE, Heard, dialled, end_of, start, until


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def listening() -> AsyncIterator[MediaSocketServer]:
    async with MediaSocketServer("127.0.0.1", 0) as one:
        yield one


async def test_strangers_are_told_of_once(listening: MediaSocketServer) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                await dialled(listening.port, "another-key-0000001")
    assert listening.counters.foreign == 3
    assert [log["reason"] for log in logs] == ["foreign"]
    assert "another" not in str(logs)


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.0\r\n\r\n", b"x" * 9000 + b"\n", b""]
)
async def test_what_is_no_handshake_is_refused(
    listening: MediaSocketServer, heard: Heard, data: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    await writer.wait_closed()
    await until(lambda: listening.counters.refused + listening.counters.foreign == 1)


async def test_handshakes_are_bounded_in_number_and_time(heard: Heard) -> None:
    """Those who say nothing keep nobody out: the oldest of them gives way."""
    async with (
        MediaSocketServer("127.0.0.1", 0, most_opening=3, open_timeout_s=0.5) as one,
        AsyncExitStack() as slow,
    ):
        one.expect(KEY, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        readers = []
        with capture_logs() as logs:
            for _ in range(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
                slow.callback(writer.close)
                writer.write(b"GET /media HTTP/1.1\r\nX-Slow: ")
                readers.append(reader)
            assert [await end_of(reader) for reader in readers[:2]] == [True, True]
        assert one.counters.overrun == 2
        assert [(log["log_level"], log["reason"]) for log in logs] == [("warning", "overrun")]
        async with dialled(one.port) as pbx:
            assert (one.counters.overrun, one.counters.expired) == (3, 0)
            await until(lambda: one.counters.expired == 2)
            await asyncio.sleep(0.6)  # an open connection has no such time
            await pbx.send(start())
            await pbx.send(TONE)
            await until(lambda: heard.audio == TONE)
        counters = one.counters
    assert counters.opened == 6 == counters.admitted + counters.overrun + counters.expired


async def test_who_gives_way_is_counted_once() -> None:
    """Its time runs out in the very turn of the loop in which it is dropped."""
    async with MediaSocketServer("127.0.0.1", 0, open_timeout_s=0.05) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        await until(lambda: one.counters.opened == 1)

        def make_room() -> None:
            for connection in list(one._opening):
                connection.give_up("overrun")

        asyncio.get_running_loop().call_soon(make_room)
        time.sleep(0.1)  # noqa: ASYNC251 - both are to be due
        assert await end_of(reader)
        writer.close()
    assert one.counters.overrun + one.counters.expired == 1
    assert one.counters.refused == 0


async def test_leaving_closes_every_connection(heard: Heard) -> None:
    async with MediaSocketServer("127.0.0.1", 0) as one:
        one.expect(KEY, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        pbx = await dialled(one.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        await until(lambda: one.counters.opened == 2)
    with pytest.raises(ConnectionClosed):
        await pbx.recv()
    assert pbx.close_code == 1000
    assert heard.ends == 1
    assert await end_of(reader)
    writer.close()
    with pytest.raises(OSError, match=r"(?i)connect"):
        await dialled(one.port)


async def test_an_address_of_others_is_no_place_to_listen(listening: MediaSocketServer) -> None:
    with pytest.raises(OSError, match=r"(?i)address"):
        async with MediaSocketServer("127.0.0.1", listening.port):
            pass
