"""An HTTP server inside a loop that is there already: uvicorn's protocols on a listener that is given.

No route is known here. uvicorn's own `serve` would take the process's signals and poll ten times a second.
"""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.datastructures import Address
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_GRACE_S = 1.0
"""On leaving, what tasks and connections have to end by themselves."""
_FIRST_REQUEST_S = 10.0
_MOST_CONNECTIONS = 300
"""Of those who only listen: no stranger shall use up the files that calls need."""
_PING_S = 20.0
_BIGGEST_MESSAGE = 4096
"""Bytes of a WebSocket message to us: nobody has anything to say there."""
_PEER = struct.Struct("3i")
_SEND_BUFFER = 1 << 18
"""Bytes the kernel takes for a reader that does not read: a slow one is to be noticed."""


class _Connection(H11Protocol):
    """Who connects and asks nothing is not waited for, and there is an end to the number of connections."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client = _user(transport) or self.client
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(_FIRST_REQUEST_S, self._cut_silent)

    def _cut_silent(self) -> None:
        asked: object = self.cycle  # None before a request, whatever uvicorn's own annotation says
        if asked is None and self in self.connections:
            self.transport.abort()


def _user(transport: asyncio.Transport) -> tuple[str, int] | None:
    """Who connected to a Unix socket, as the kernel has it: `uid 1000`, and the process's id."""
    connected: socket.socket | None = transport.get_extra_info("socket")
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    pid, uid, _gid = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return f"uid {uid}", pid


class Serving:
    """`async with Serving(guarded(app), listener): ...`; on exit every connection and task of it is gone."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        """`listener` is bound; it is closed on exit."""
        self._listener = listener
        self._server = uvicorn.Server(config)

    def abort(self, client: Address | None) -> None:
        """Cut the connections of `client`, as the ASGI scope names it, without a word: what was written and
        not read would hold an orderly end up for ever."""
        for connection in list(self._server.server_state.connections):
            if client is not None and getattr(connection, "client", None) == tuple(client):
                connection.transport.abort()

    async def __aenter__(self) -> Self:
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup([self._listener])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # As Server.shutdown() does, but without its pause of 100 ms and sure to end.
        state = self._server.server_state
        for listener in self._server.servers:
            listener.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_GRACE_S)
        late = list(state.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self._cut_late()

    async def _cut_late(self) -> None:
        connections = self._server.server_state.connections
        loop = asyncio.get_running_loop()
        ends = loop.time() + _GRACE_S
        while connections and loop.time() < ends:  # noqa: ASYNC110 - uvicorn tells no one when none is left
            await asyncio.sleep(0.001)
        for connection in list(connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        for listener in self._server.servers:
            await listener.wait_closed()


def listener_at(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """A listener. Raises OSError whose `strerror` is the system's alone: `create_server` adds the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise type(error)(error.errno, str(error.strerror).partition(" (while")[0]) from None


def tcp_listener(host: str, port: int) -> socket.socket:
    """A listener for few, long connections. Raises OSError, as `listener_at`."""
    listener = listener_at(host, port)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections inherit it
    return listener


def plain(app: ASGIApp, **options: Any) -> uvicorn.Config:
    """No word in a log, no header of uvicorn's own; `options` are uvicorn's."""
    return uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        **options,
    )


def guarded(app: ASGIApp) -> uvicorn.Config:
    """For those who only listen: silent connections and too many are cut, dead ones found, long messages
    refused."""
    return plain(
        app,
        http=_Connection,
        ws_max_size=_BIGGEST_MESSAGE,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
    )
