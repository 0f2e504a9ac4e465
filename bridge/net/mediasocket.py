"""How chan_websocket's WebSockets come about: we dial Asterisk's HTTP server, or Asterisk dials ours.

What is read then is the affair of `bridge.net.mediainlet`; which channel is heard, and when, of the tap.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

import structlog
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.http11 import Response
from websockets.protocol import Event
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from bridge.net.frames import answer_of, forget_frames
from bridge.net.mediainlet import CLOSE_S, Connection, Deliver, Inlet, Message
from bridge.net.mediaserver import QUIET, MediaServer
from bridge.types import Codec, Frame
from bridge.wire.mediasocket import SUBPROTOCOL, Failed, MediaStart, MediaStream, numbers

_log = structlog.get_logger()

KEY_PARAMETER = "leg"
"""Of the address that Asterisk asks for; `v(leg=<key>)` in the dial string puts it there."""
_SUBPROTOCOLS = [Subprotocol(SUBPROTOCOL)]


class NotConnected(Exception):
    """Asterisk could not be reached, or refused; the text says why, and names no secret."""


class MediaSocketInlet(Inlet[MediaStream]):
    """chan_websocket's."""

    __slots__ = ("started",)

    def __init__(
        self,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(MediaStream(codec), clock, deliver, ended, forget)
        self.started: MediaStart | None = None
        """What Asterisk said of itself, once it has."""

    def tally(self) -> tuple[int, ...]:
        """All counters so far, in the order of `MEDIA_FATES`."""
        counted: tuple[int, ...] = numbers(self.stream.counters)
        return counted

    def hear(self, messages: Sequence[Message], now_ms: float) -> None:
        frames: list[Frame] = []
        audio = self.stream.audio
        behind = sum([len(message) for message in messages])
        for message in messages:
            behind -= len(message)
            frame = audio(message, now_ms, behind)
            if frame is not None:
                frames.append(frame)
        if frames:
            self.hand_on(frames, self._deliver)

    def told(self, text: str) -> bool:
        message = self.stream.text(text)
        if isinstance(message, MediaStart):
            self.started = message
            if not self.stream.announced:
                _log.warning("audio in another format", format=message.format[:40])
        elif isinstance(message, Failed) and self.stream.counters.failed == 1:
            _log.warning("pbx reports an error", reason=message.text[:200])
        return True


# We connect.


class _Dialled(Connection):
    """A connection that we have opened."""

    def __init__(self, protocol: ClientProtocol, inlet: MediaSocketInlet) -> None:
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
) -> MediaSocketInlet:
    """Fetch a leg's audio from Asterisk's HTTP server: `ws://host:8088/media/<MEDIA_WEBSOCKET_CONNECTION_ID>`.

    `clock` gives call time now in ms; `deliver` gets frames, oldest first, one list a wake-up, and must not
    wait; `ended` is called once when Asterisk has closed or is gone, after the last frame, and can be before
    this returns. The URL is a secret: who has it hears the leg. Raises NotConnected.
    """
    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError):
        raise NotConnected("address is no ws:// or wss:// one") from None
    inlet = MediaSocketInlet(codec, clock, deliver, ended)
    dialled = _Dialled(
        ClientProtocol(uri, subprotocols=_SUBPROTOCOLS, max_size=MediaServer.max_size, logger=QUIET), inlet
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


class MediaSocketServer(MediaServer[MediaSocketInlet]):
    """Where Asterisk's websocket_client.conf leads: every leg has a key, its dial string `v(leg=<key>)`."""

    subprotocols = _SUBPROTOCOLS

    def expect(
        self,
        key: str,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None = None,
    ) -> MediaSocketInlet:
        """The inlet of a leg whose audio comes with `key`, a secret: 16 to 128 letters, digits and `_.-`,
        all of which Asterisk takes as they are.

        As `connect`'s for the rest. The key holds until the inlet is closed or its connection ends; if a
        second connection brings it, the first one is closed. Raises ValueError for a key that will not do.
        """
        return self.await_with(key, lambda forget: MediaSocketInlet(codec, clock, deliver, ended, forget))

    def key_of(self, path: str) -> str | None:
        try:
            keys = parse_qs(urlsplit(path).query).get(KEY_PARAMETER, [])
        except ValueError:
            return None
        return keys[0] if len(keys) == 1 else None
