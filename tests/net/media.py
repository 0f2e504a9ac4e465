"""Asterisk's part of chan_websocket by the library's own client and server, and a leg to listen with."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from bridge.net.mediasocket import MediaSocketInlet, connect
from bridge.types import Codec, Frame

MEDIA = [Subprotocol("media")]
KEY = "k3y-of_a.leg-0001"
TONE = bytes(range(160))


def start(codec: Codec = Codec.ULAW) -> str:
    """MEDIA_START as recorded (tests/captures/asterisk/mediasocket.jsonl)."""
    told = {
        "event": "MEDIA_START",
        "connection_id": "rtzr-bridge",
        "channel": "WebSocket/rtzr-bridge/0x7f928c00e360",
        "channel_id": "heard",
        "format": codec.label,
        "optimal_frame_size": 20 * codec.bytes_per_ms,
        "ptime": 20,
        "channel_variables": {"MEDIA_WEBSOCKET_CONNECTION_ID": "rtzr-bridge"},
    }
    return json.dumps(told, separators=(",", ":"))


class Heard:
    """What a leg is given: its call time, which the test moves, its frames, and its end."""

    def __init__(self) -> None:
        self.now_ms = 1000.0
        self.batches: list[list[Frame]] = []
        self.ends = 0

    def clock(self) -> float:
        return self.now_ms

    def ended(self) -> None:
        self.ends += 1

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch]

    @property
    def audio(self) -> bytes:
        return b"".join(frame.payload for frame in self.frames)


Play = Callable[[ServerConnection], Awaitable[None]]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what is waited for is the loop's own work
            await asyncio.sleep(0.001)


@asynccontextmanager
async def asterisk(play: Play) -> AsyncIterator[Server]:
    """Asterisk's HTTP server, which plays to whom it lets in."""
    async with serve(
        play, "127.0.0.1", 0, subprotocols=MEDIA, compression=None, ping_interval=None
    ) as server:
        yield server


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/media/7024510a-f3ac-4151-895d-0ab2fd585a89"


@asynccontextmanager
async def fetched(play: Play, heard: Heard, codec: Codec = Codec.ULAW) -> AsyncIterator[MediaSocketInlet]:
    """An inlet that has connected to where `play` plays."""
    async with asterisk(play) as server:
        inlet = await connect(url_of(server), codec, heard.clock, heard.batches.append, heard.ended)
        try:
            yield inlet
        finally:
            await inlet.close()


def dialled(port: int, key: str | None = KEY, path: str = "/media") -> dial:
    """Asterisk connects as its websocket_client.conf says."""
    url = f"ws://127.0.0.1:{port}{path}" + (f"?leg={key}" if key is not None else "")
    return dial(url, subprotocols=MEDIA, compression=None, proxy=None, ping_interval=None)


def living(*names: str) -> list[str]:
    """Of these types, what is alive though nobody may have it any more: it waits for the collector."""
    return [type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in names]


@contextmanager
def without_collector() -> Iterator[None]:
    """It comes seldom in the daemon (bridge/load.py), and here not at all."""
    asyncio.get_running_loop().set_debug(False)  # in debug mode the loop itself keeps frames
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def closed(connection: ClientConnection | ServerConnection) -> int | None:
    """Waits for the end of a connection; its close code."""
    async with asyncio.timeout(5):
        await connection.wait_closed()
    return connection.close_code


async def end_of(reader: asyncio.StreamReader) -> bool:
    """Waits for the end of a connection, in either way; whether nothing came before it."""
    with suppress(ConnectionError):
        async with asyncio.timeout(5):
            return not await reader.read()
    return True
