"""The connections to Asterisk's REST interface: one WebSocket of events, kept for ever, and requests.

What an event or a reply says is in `bridge.wire.ari`. Nothing here knows a call: a consumer of `events()`
reconciles on every `Connected`, because Asterisk keeps no events for a client that is away.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from bridge.net.aritap import AriTaps
from bridge.net.frames import answer_of, forget_frames
from bridge.net.lasting import HOPELESS_S, Lost, lasting
from bridge.wire import ari, arirequest
from bridge.wire.breaker import Breaker
from bridge.wire.pbxevents import (
    Bridge,
    Channel,
    Connected,
    Disconnected,
    Gone,
    PbxEvent,
    PbxRefused,
    PbxUnreachable,
    whole_seconds,
)
from bridge.wire.taporder import TapOrder

_T = TypeVar("_T")

_log = structlog.get_logger()
_quiet = logging.getLogger("bridge.net.ari.websocket")
_quiet.setLevel(logging.ERROR)  # at DEBUG the library prints headers, and one of them holds the password

_READ = httpx.ByteStream(b"")
_KEEPALIVE_S = 10.0
"""Asterisk closes an idle connection after 15 s (session_keep_alive); ours must be given up before that."""
_QUEUE = 16_384
"""Events that may wait for the consumer; when it is full we stop reading, and Asterisk drops us."""


_FORBIDDEN = (401, 403)
_MENDS = {
    401: "give the user and password of ari.conf in asterisk.username and ARI_PASSWORD",
    403: "this user of ari.conf needs read_only = no, and must be permitted from this address",
    404: "asterisk.ari_url must end in /ari, and Asterisk must have res_ari loaded and enabled",
}
"""What to do about a status, where the PBX's own words do not say it."""


class AriRefused(PbxRefused):
    """`status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}".strip())
        self.status = status


@dataclass(slots=True)
class AriCounters:
    connected: int = 0
    disconnected: int = 0
    refused: int = 0
    """Connections that failed because of the user: its name, its password or what it may do."""
    replaced: int = 0
    """Connections that another client took over."""
    received: int = 0
    malformed: int = 0
    """Events, and channels or bridges of a list, dropped because they could not be read."""
    ignored: int = 0
    """Events dropped because they are of a type that we have no use for."""
    requested: int = 0
    failed: int = 0
    """Requests that the PBX refused or did not answer."""


class Ari:
    """One Asterisk's REST interface, an async context manager. One consumer of `events()` at a time."""

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        app: str,
        *,
        timeout_s: float = 5.0,
        ping_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
        random01: Callable[[], float] = random.random,
        variables: bool = False,
        digits: bool = False,
        tap_context: str = "rtzr-tap",
        tells: str = "",
    ) -> None:
        """`url` is ARI's base, such as http://127.0.0.1:8088/ari; `tls` None is the system's trust.
        `tap_context` is the dialplan's context that holds our ChanSpy, `tells` the application for `tell`.

        `variables`: be told of those that are set, too; `digits`: of keys that are pressed.
        A link on which nothing is answered any more is noticed after twice `ping_s` seconds at the latest.
        """
        self.counters = AriCounters()
        self._breaker = Breaker()
        self._told_absent = self._told_refused = False
        self.why = ""
        """Why there is no connection."""
        self._url = url.rstrip("/")
        self._app = app
        self._timeout_s = timeout_s
        self._ping_s = ping_s
        self._random01 = random01
        self._variables, self._digits = variables, digits
        self._taps = AriTaps(self._request, app, tap_context, timeout_s)
        self._tells = tells
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._username = username
        self._headers = arirequest.proof(username, password)
        self._http = httpx.AsyncClient(
            base_url=f"{self._url}/",
            headers=self._headers,
            timeout=timeout_s,
            verify=self._tls,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=32, max_keepalive_connections=8, keepalive_expiry=_KEEPALIVE_S
            ),
        )

    def adopt(self, password: str) -> None:
        """Another password, from the next request and the next connection on."""
        self._headers = arirequest.proof(self._username, password)
        self._http.headers.update(self._headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def events(self) -> AsyncGenerator[Connected | Disconnected | PbxEvent]:
        """Events in order, for ever: `Connected`, events, `Disconnected`, `Connected`, ...; never an
        exception.

        It waits with full jitter between tries, and long after wrong credentials or when another client
        has taken our application name. It reads nothing while its consumer does not ask for the next
        event.
        """
        return lasting(self._one_connection, self._random01, self.counters)

    async def _one_connection(self, lost: Lost) -> AsyncGenerator[Connected | PbxEvent]:
        """The events of one connection; ends when it does, leaving the reason in `lost`."""
        try:
            async with self._socket() as socket:
                greeting = await self._greet()
                lost.was_connected = True
                self._taps.connected()
                yield greeting
                async with aclosing(self._read(socket, lost)) as events:
                    async for event in events:
                        yield event
        except InvalidStatus as error:
            status = answer_of(error).status_code
            self._tell_forbidden(status, "the event connection")
            _because(lost, status, f"HTTP {status}")
        except AriRefused as error:
            forget_frames(error)
            _because(lost, error.status, f"HTTP {error}")
        except (
            Gone,
            PbxUnreachable,
            WebSocketException,
            OSError,
            TimeoutError,
            ari.AriError,
        ) as error:
            forget_frames(error)
            lost.reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        self._taps.lost()
        self._tell_lost(lost)

    def _socket(self) -> connect:
        parts = urlsplit(self._url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        return connect(
            f"{scheme}://{parts.netloc}{parts.path}/events?app={quote(self._app, safe='')}",
            additional_headers=self._headers,
            open_timeout=self._timeout_s,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            close_timeout=0.5,
            compression=None,
            proxy=None,
            max_queue=_QUEUE,
            logger=_quiet,
            ssl=self._tls if parts.scheme == "https" else None,
        )

    async def _greet(self) -> Connected:
        """Subscribe, and learn who answers. The subscription comes first: what follows it is not missed."""
        await self._request(
            arirequest.event_filter(self._app, variables=self._variables, digits=self._digits)
        )
        await self._request(arirequest.subscription(self._app))
        pbx = ari.pbx(await self._request(arirequest.Request("GET", "asterisk/info")))
        modules = await self._modules()
        self.counters.connected += 1
        self._told_absent = self._told_refused = False
        _log.info("ari connected", version=pbx.version, entity=pbx.entity)
        return Connected(replace(pbx, modules=modules))

    async def _modules(self) -> frozenset[str] | None:
        """Those that run; None where the PBX will not say, which is no reason to do without it."""
        try:
            return ari.modules(await self._request(arirequest.Request("GET", "asterisk/modules")))
        except (Gone, AriRefused):
            return None

    async def _read(self, socket: ClientConnection, lost: Lost) -> AsyncGenerator[PbxEvent]:
        async for text in socket:
            self.counters.received += 1
            try:
                event = ari.parse(text)
            except ari.AriError as error:
                self.counters.malformed += 1
                _log.warning("ari event not understood", reason=str(error))
                continue
            if event is None:
                self.counters.ignored += 1
                continue
            if isinstance(event, ari.ApplicationReplaced):
                self._tell_replaced(lost)
                return
            self._taps.note(event)
            yield event
        lost.reason = "closed by the PBX"

    def _tell_lost(self, lost: Lost) -> None:
        """The end of a connection, and the first failure since then, are warnings; the tries that follow fail
        alike."""
        if lost.forbidden:
            self.counters.refused += 1
        self.why = f"{lost.reason}; {lost.mend}".removesuffix("; ")
        first = lost.was_connected or not self._told_absent
        self._told_absent = not lost.was_connected
        tell = _log.warning if first and not lost.hopeless else _log.info  # what is hopeless was an error
        mend = {"mend": lost.mend} if lost.mend else {}
        event = "ari connection ended" if lost.was_connected else "ari not connected"
        tell(event, reason=lost.reason, url=self._url, **mend)

    def _tell_forbidden(self, status: int, what: str, said: str = "") -> None:
        """An error, once until the next connection: every try and every request would say the same."""
        if status not in _FORBIDDEN or self._told_refused:
            return
        self._told_refused = True
        event = "ari refuses the user name or password" if status == 401 else "ari refuses what the user asks"
        reason = f"HTTP {status} {said}".strip()
        _log.error(event, reason=reason, asked=what, mend=_MENDS[status], url=self._url)

    def _tell_replaced(self, lost: Lost) -> None:
        lost.reason = "another client uses the same application name"
        lost.hopeless = True
        self.counters.replaced += 1
        _log.error("ari application taken by another client", app=self._app, retry_s=HOPELESS_S)

    def slow(self) -> float:
        """As `Pbx.slow`."""
        return self._breaker.slow(asyncio.get_running_loop().time())

    async def _request(self, request: arirequest.Request) -> bytes:
        """The body of the reply. Raises Gone, AriRefused, PbxUnreachable."""
        self.counters.requested += 1
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._http.request(
                    request.method, request.path, params=request.query or None, json=request.body
                )
        except (httpx.HTTPError, TimeoutError, OSError, AttributeError) as error:
            # The library below asks a socket that was cut just now for its address: no error of its own.
            self.counters.failed += 1
            raise PbxUnreachable(type(error).__name__) from None
        finally:
            self._breaker.observe(now_s(), now_s() - began_s)
        # A reply and its stream keep each other, and all of the request: no one else would ever free them
        # while the collector is put off (`load.collect_seldom`).
        reply.stream = _READ
        if reply.status_code == 404:
            raise Gone(request.path)
        if reply.status_code >= 300:
            self.counters.failed += 1
            said = ari.complaint(reply.content)
            self._tell_forbidden(reply.status_code, f"{request.method} {request.path}", said)
            raise AriRefused(reply.status_code, said)
        return reply.content

    async def channels(self) -> tuple[Channel, ...]:
        """The live channels. Raises AriRefused, PbxUnreachable and AriError, as every request here does."""
        return self._readable(ari.channels(await self._request(arirequest.Request("GET", "channels"))))

    async def bridges(self) -> tuple[Bridge, ...]:
        """The live bridges."""
        return self._readable(ari.bridges(await self._request(arirequest.Request("GET", "bridges"))))

    def _readable(self, listed: tuple[tuple[_T, ...], int]) -> tuple[_T, ...]:
        found, unread = listed
        if unread:
            self.counters.malformed += unread
            _log.warning("part of an ari list not understood", unread=unread)
        return found

    async def variable(self, channel: str, name: str) -> str | None:
        """A channel's variable; None when the channel has none of that name, or is gone."""
        try:
            return ari.value(await self._request(arirequest.variable(channel, name)))
        except Gone:
            return None

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        """Set a channel's variable, whether or not it is in our application."""
        await self._request(arirequest.set_variable_anywhere(channel, name, value))

    async def attach(self, order: TapOrder) -> str:
        """As `Pbx.attach`. `events()` must be followed.

        When the tapped channel is gone or the dialplan lacks our context this is no refusal: the tap is
        made, and destroyed at once.
        """
        return await self._taps.attach(order)

    async def complete(self, order: TapOrder) -> None:
        await self._taps.complete(order)

    async def detach(self, order: TapOrder) -> None:
        await self._taps.detach(order)

    async def give_back(self, channel: str) -> None:
        """Let a call that is in our application go on in its dialplan; one that is not is no error."""
        try:
            await self._request(arirequest.go_on(channel))
        except (Gone, AriRefused) as error:
            if isinstance(error, AriRefused) and error.status != 409:
                raise

    async def originate_phone(self, phone: str, host: str, port: int) -> None:
        """Start a telephone for a self-test; it stays until it is hung up. `events()` must be followed."""
        await self._request(arirequest.originate_phone(phone, host, port, self._app))

    async def epoch_s(self) -> float:
        """The PBX's clock: whole Unix seconds."""
        request = arirequest.Request("GET", "asterisk/variable", {"variable": "EPOCH"})
        return whole_seconds(ari.value(await self._request(request)))

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        """A user event about a channel, for one other application, and for all who listen to AMI."""
        try:
            await self._request(arirequest.user_event(name, self._tells, channel, fields))
        except Gone:
            raise AriRefused(404, f"no client has opened the application {self._tells}") from None
        except AriRefused as error:
            if error.status == 422:  # this one, unlike any other request, for a channel that is not there
                raise Gone(channel) from None
            raise

    async def hangup(self, channel: str) -> None:
        """Hang a channel up; one that is gone already is no error."""
        try:
            await self._request(arirequest.hangup(channel))
        except Gone:
            return

    async def destroy_bridge(self, bridge: str) -> None:
        """Destroy a bridge; one that is gone already is no error."""
        with suppress(Gone):
            await self._request(arirequest.destroy_bridge(bridge))


def _because(lost: Lost, status: int, reason: str) -> None:
    """The PBX answered with `status`."""
    lost.reason = reason
    lost.mend = _MENDS.get(status, "")
    lost.forbidden = lost.hopeless = status in _FORBIDDEN
