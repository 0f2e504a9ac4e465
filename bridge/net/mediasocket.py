"""How chan_websocket's WebSockets come about: we dial Asterisk's HTTP server, or Asterisk dials ours.

What is read then is the affair of `bridge.net.mediainlet`; which channel is heard, and when, of the tap.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

import structlog
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.http11 import Request, Response
from websockets.protocol import Event
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from bridge.net.frames import answer_of, forget_frames
from bridge.net.mediainlet import CLOSE_S, Connection, Deliver, Inlet
from bridge.types import Codec
from bridge.wire.mediasocket import SUBPROTOCOL

_log = structlog.get_logger()
_quiet = logging.getLogger("bridge.mediasocket")
_quiet.setLevel(logging.ERROR)  # at DEBUG the library prints what it reads, and a leg's key is in it

MAX_SIZE = 1 << 17
"""Bytes of a message; Asterisk's longest has 65,535."""
KEY_PARAMETER = "leg"
"""Of the address that Asterisk asks for; `v(leg=<key>)` in the dial string puts it there."""
_KEY = re.compile(r"[A-Za-z0-9_.-]{16,128}")
_SUBPROTOCOLS = [Subprotocol(SUBPROTOCOL)]

Fate = Literal["admitted", "foreign", "refused", "expired", "overrun"]


class NotConnected(Exception):
    """Asterisk could not be reached, or refused; the text says why, and names no secret."""


# We connect.


class _Dialled(Connection):
    """A connection that we have opened."""

    def __init__(self, protocol: ClientProtocol, inlet: Inlet) -> None:
        super().__init__(protocol)
        self._client = protocol
        self._for = inlet
        self.answered = asyncio.Event()
        """Asterisk has answered the handshake, or is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._client.send_request(self._client.connect())
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.answered.set()
        super().connection_lost(exc)

    def take(self, events: list[Event]) -> None:
        if isinstance(events[0], Response):
            self.answered.set()
            if self._client.handshake_exc is None:
                self._for.attach(self)
        super().take(events)

    def refusal(self) -> str | None:
        """Why there is no WebSocket, in a few words; None if there is one, or was."""
        error = self._client.handshake_exc
        if isinstance(error, InvalidStatus):
            answer = answer_of(error)
            return f"{answer.status_code} {answer.reason_phrase}"[:80]
        return str(error)[:80] if error is not None else None


async def connect(
    url: str,
    codec: Codec,
    clock: Callable[[], float],
    deliver: Deliver,
    ended: Callable[[], None] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 5.0,
) -> Inlet:
    """Fetch a leg's audio from Asterisk's HTTP server: `ws://host:8088/media/<MEDIA_WEBSOCKET_CONNECTION_ID>`.

    `clock` gives call time now in ms; `deliver` gets frames, oldest first, one list a wake-up, and must not
    wait; `ended` is called once when Asterisk has closed or is gone, after the last frame, and can be before
    this returns. The URL is a secret: who has it hears the leg. Raises NotConnected.
    """
    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError):
        raise NotConnected("address is no ws:// or wss:// one") from None
    inlet = Inlet(codec, clock, deliver, ended)
    dialled = _Dialled(
        ClientProtocol(uri, subprotocols=_SUBPROTOCOLS, max_size=MAX_SIZE, logger=_quiet), inlet
    )
    context = (tls or ssl.create_default_context()) if uri.secure else None
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: dialled,
                uri.host,
                uri.port,
                ssl=context,
                ssl_shutdown_timeout=CLOSE_S if context else None,
            )
            await dialled.answered.wait()
        refused = dialled.refusal()
    except (OSError, TimeoutError) as error:
        forget_frames(error)
        refused = f"{type(error).__name__} {error}".strip()[:200]
    except BaseException:
        dialled.abort()
        raise
    if refused is not None:
        dialled.abort()
        raise NotConnected(refused)
    return inlet


# Asterisk connects.


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
    """Were no WebSocket handshake of chan_websocket's."""
    expired: int = 0
    """Did not say in time what they wanted."""
    overrun: int = 0
    """Came while too many had not said so yet."""

    def count(self, fate: Fate) -> None:
        setattr(self, fate, getattr(self, fate) + 1)


class MediaSocketServer:
    """Where Asterisk's websocket_client.conf leads: every leg has a key, its dial string `v(leg=<key>)`.

    Use it as a context manager: it listens from entry to exit. A connection is let in for its key alone.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        most_opening: int = 64,
        open_timeout_s: float = 5.0,
    ) -> None:
        """At most `most_opening` connections may be in their handshake, each for `open_timeout_s`; what is in
        its TLS handshake is bound by time alone."""
        self.counters = ServerCounters()
        self._bind = bind
        self._port = port
        self._tls = tls
        self._most_opening = most_opening
        self.open_timeout_s = open_timeout_s
        self._server: asyncio.Server | None = None
        self._expected: dict[str, Inlet] = {}
        self._opening: set[_Accepted] = set()
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

    def expect(
        self,
        key: str,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None = None,
    ) -> Inlet:
        """The inlet of a leg whose audio comes with `key`, a secret: 16 to 128 letters, digits and `_.-`,
        all of which Asterisk takes as they are.

        As `connect`'s for the rest. The key holds until the inlet is closed or its connection ends; if a
        second connection brings it, the first one is closed. Raises ValueError for a key that will not do.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"key of {len(key)} characters, needed 16 to 128 letters, digits and _.-")
        if key in self._expected:
            raise ValueError("key that is in use")
        self._expected[key] = inlet = Inlet(
            codec, clock, deliver, ended, lambda: self._expected.pop(key, None)
        )
        return inlet

    # What connections do.

    def begin(self, connection: "_Accepted") -> bool:
        """Whether there is room for another one in its handshake."""
        self.counters.opened += 1
        if self._server is None or len(self._opening) >= self._most_opening:
            self.counters.overrun += 1
            return False
        self._opening.add(connection)
        self._connections.add(connection)
        return True

    def find(self, path: str) -> Inlet | None:
        """The leg that the path of a handshake is for."""
        try:
            keys = parse_qs(urlsplit(path).query).get(KEY_PARAMETER, [])
        except ValueError:
            return None
        return self._expected.get(keys[0]) if len(keys) == 1 else None

    def judged(self, connection: "_Accepted", fate: Fate) -> None:
        """The handshake is over."""
        self._opening.discard(connection)
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

    def __init__(self, server: MediaSocketServer) -> None:
        protocol = ServerProtocol(subprotocols=_SUBPROTOCOLS, max_size=MAX_SIZE, logger=_quiet)
        super().__init__(protocol)
        self._http = protocol
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.begin(self):
            self.timer = self.loop.call_later(self._server.open_timeout_s, self._expire)
        else:
            self.abort()

    def _expire(self) -> None:
        self._server.judged(self, "expired")
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
        inlet = self._server.find(request.path)
        known = inlet is not None
        response = self._http.accept(request) if known else self._http.reject(HTTPStatus.NOT_FOUND, "")
        self._http.send_response(response)
        if inlet is None:
            self._server.judged(self, "foreign")
        elif response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._server.judged(self, "refused")
        else:
            self._server.judged(self, "admitted")
            inlet.attach(self)
