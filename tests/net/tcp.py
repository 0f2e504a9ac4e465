"""A TCP server of a few lines, for what a client meets instead of the service it looks for."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

_TURNS = 5
"""Turns of the loop that a connection takes from being accepted to being told of."""

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port on this machine; on exit every connection and task of it is gone."""
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving[task] = writer  # not left to the task: one that is cancelled before it began closes nothing
        task.add_done_callback(lambda _done: writer.close())

    listening = await asyncio.start_server(
        connected, "127.0.0.1", 0, ssl=tls, ssl_shutdown_timeout=0.2 if tls else None
    )
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        await _turns()  # Python 3.11 leaves a connection open that is taken while the server closes
        listening.close()
        await _turns()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for writer in serving.values():
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def answering(response: bytes) -> Answer:
    """The same bytes for every request, and then the end of the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()

    return answer


def http(status: str, body: str = "", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
    return (head + body).encode()
