"""bench/line.py: it carries both ways what it is given, and when it is cut, both ends are reset."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.line import Line
from tests.net.tcp import server

HOST = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def far() -> AsyncIterator[int]:
    async with server(echo) as port:
        yield port


class Near:
    """A client's end of a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, line: Line) -> "Near":
        return cls(*await asyncio.open_connection(HOST, line.port))

    async def says(self, data: bytes) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(5):
            return await self.reader.readexactly(len(data))

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(5):
                await self.reader.read(1)
        except ConnectionResetError:
            return True
        return False


@pytest.mark.parametrize("drops", [False, True])
async def test_it_carries_is_cut_and_carries_again(far: int, drops: bool) -> None:
    async with Line(HOST, far, drops=drops) as line:
        before = await Near.dial(line)
        assert await before.says(b"before") == b"before"
        await line.outage(0)
        assert await before.is_reset()
        assert line.resets == 1
        after = await Near.dial(line)
        assert await after.says(b"after") == b"after"
        for near in (before, after):
            near.writer.close()


async def test_while_it_is_cut_a_dial_is_reset(far: int) -> None:
    async with Line(HOST, far) as line:
        outage = asyncio.create_task(line.outage(30))
        await asyncio.sleep(0)
        near = await Near.dial(line)
        assert await near.is_reset()
        assert line.resets == 0
        near.writer.close()
        outage.cancel()


async def test_or_it_is_not_answered_until_the_line_is_mended(far: int) -> None:
    async with Line(HOST, far, drops=True) as line:
        outage = asyncio.create_task(line.outage(0.3))
        await asyncio.sleep(0)
        near = await Near.dial(line)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(near.reader.read(1), 0.1)
        await outage
        assert await near.is_reset()
        near.writer.close()


async def test_a_hang_up_goes_through(far: int) -> None:
    async with Line(HOST, far) as line:
        near = await Near.dial(line)
        assert await near.says(b"x") == b"x"
        near.writer.write_eof()
        async with asyncio.timeout(5):
            assert await near.reader.read() == b""
        near.writer.close()
