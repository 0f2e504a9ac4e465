"""A server of WebSockets that a PBX connects, each for one leg: who is let in, and how many may ask at once.

What is heard of a connection then is the affair of `bridge.net.mediainlet`.
"""

import asyncio
import logging
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, Literal, Self, TypeVar

import structlog
from websockets.http11 import Request
from websockets.protocol import Event
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from bridge.net.mediainlet import CLOSE_S, Connection, Inlet

_log = structlog.get_logger()
QUIET = logging.getLogger("bridge.mediasocket")
QUIET.setLevel(logging.ERROR)  # at DEBUG the library prints what it reads, and a leg's key is in it

Fate = Literal["admitted", "foreign", "refused", "expired", "overrun"]
InletT = TypeVar("InletT", bound=Inlet[Any])


@dataclass(slots=True)
class ServerCounters:
    """What became of connections to the server: opened = the sum of the others + those in their
    handshake."""

    opened: int = 0
    admitted: int = 0
    """Brought the key of a leg."""
    foreign: int = 0
    """Brought none, or one that no leg waits for."""
    refused: int = 0
    """Were no handshake of such a WebSocket, or came too often for one leg."""
    expired: int = 0
    """Did not say in time what they wanted."""
    overrun: int = 0
    """Had not said so yet, and were the oldest of too many."""

    def count(self, fate: Fate) -> None:
        setattr(self, fate, getattr(self, fate) + 1)


class MediaServer(ABC, Generic[InletT]):
    """Where PBXs connect their WebSockets: every leg has a key, and a connection is let in for that alone.

    Use it as a context manager: it listens from entry to exit.
    """

    subprotocols: Sequence[Subprotocol] | None = None
    """One of these has to be offered, and is chosen; None: whatever is offered, none is."""
    max_size = 1 << 17
    """Bytes of a message; Asterisk's longest has 65,535."""
    key = re.compile(r"[A-Za-z0-9_.-]{16,128}")
    key_is = "16 to 128 letters, digits and _.-"
    patience_s = 5.0
    """What a handshake may take."""

    def __init__(
        self,
        bind: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        most_opening: int = 256,
        open_timeout_s: float | None = None,
    ) -> None:
        """At most `most_opening` connections may be in their handshake, each for `open_timeout_s`, which is
        `patience_s` if not given; what is in its TLS handshake is bound by time alone."""
        self.counters = ServerCounters()
        self._bind = bind
        self._port = port
        self._tls = tls
        self._most_opening = most_opening
        self.open_timeout_s = self.patience_s if open_timeout_s is None else open_timeout_s
        self._server: asyncio.Server | None = None
        self._expected: dict[str, InletT] = {}
        self._opening: dict[_Accepted, None] = {}
        """Oldest first."""
        self._connections: set[_Accepted] = set()

    @property
    def port(self) -> int:
        """The port it listens on, once entered."""
        return self._port

    async def __aenter__(self) -> Self:
        """Raises OSError if the address is not to be had."""
        timeout_s = self.open_timeout_s if self._tls is not None else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Accepted(self),
            self._bind,
            self._port,
            ssl=self._tls,
            backlog=self._most_opening,  # who is not taken from the kernel in a second gives up (mas-12)
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=CLOSE_S if self._tls is not None else None,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and close every connection, in `CLOSE_S` at most."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await asyncio.gather(*(one.close() for one in list(self._connections)))

    def await_with(self, key: str, inlet: Callable[[Callable[[], object]], InletT]) -> InletT:
        """The inlet of a leg whose audio comes with `key`; `inlet` makes it, given what forgets the key.

        Raises ValueError for a key that will not do.
        """
        if not self.key.fullmatch(key):
            raise ValueError(f"key of {len(key)} characters, needed {self.key_is}")
        if key in self._expected:
            raise ValueError("key that is in use")
        self._expected[key] = made = inlet(lambda: self._expected.pop(key, None))
        return made

    @abstractmethod
    def key_of(self, path: str) -> str | None:
        """The key in what a handshake asks for."""

    # What connections do.

    def begin(self, connection: "_Accepted") -> bool:
        """Whether another one may come. The oldest in its handshake gives way when there are too many: a
        PBX's own takes milliseconds, so what is old has come to keep others out."""
        self.counters.opened += 1
        if self._server is None:
            self.counters.refused += 1
            return False
        if len(self._opening) >= self._most_opening:
            next(iter(self._opening)).give_up("overrun")
        self._opening[connection] = None
        self._connections.add(connection)
        return True

    def find(self, path: str) -> InletT | None:
        """The leg that the path of a handshake is for."""
        key = self.key_of(path)
        return None if key is None else self._expected.get(key)

    def judged(self, connection: "_Accepted", fate: Fate) -> None:
        """The handshake is over."""
        self._opening.pop(connection, None)
        self.counters.count(fate)
        if fate != "admitted" and getattr(self.counters, fate) == 1:  # a flood must not reach the log
            _log.warning("media connection not let in", reason=fate)

    def over(self, connection: "_Accepted") -> None:
        """The connection is gone."""
        if connection in self._opening:
            self.judged(connection, "refused")
        self._connections.discard(connection)


class _Accepted(Connection):
    """A connection that was opened to our server."""

    def __init__(self, server: MediaServer[Any]) -> None:
        protocol = ServerProtocol(subprotocols=server.subprotocols, max_size=server.max_size, logger=QUIET)
        super().__init__(protocol)
        self._http = protocol
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.begin(self):
            self.timer = self.loop.call_later(self._server.open_timeout_s, self.give_up, "expired")
        else:
            self.abort()

    def give_up(self, fate: Fate) -> None:
        """It had not said what it wants."""
        self.expect_end(None)
        self._server.judged(self, fate)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.over(self)
        super().connection_lost(exc)

    def take(self, events: list[Event]) -> None:
        if isinstance(events[0], Request):
            self.expect_end(None)
            self._answer(events[0])
        super().take(events)

    def _answer(self, request: Request) -> None:
        http, server = self._http, self._server
        inlet = server.find(request.path)
        fate: Fate
        if inlet is None:
            response, fate = http.reject(HTTPStatus.NOT_FOUND, ""), "foreign"
        elif not inlet.meet(request.headers):
            response, fate = http.reject(HTTPStatus.TOO_MANY_REQUESTS, ""), "refused"
        else:
            response = http.accept(request)
            fate = "admitted" if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS else "refused"
        http.send_response(response)
        server.judged(self, fate)
        if inlet is not None and fate == "admitted":
            inlet.attach(self)
