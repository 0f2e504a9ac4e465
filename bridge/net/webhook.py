"""A webhook: events go to one URL, over connections to the very addresses that were judged.

What is posted and what an answer means is in `bridge.wire.webhook`, who may be called in
`bridge.wire.address`; when to try again is `bridge.delivery.delivering`'s. A secret, an event, a receiver's
own words and what of a URL is no host never reach an exception's text.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import httpcore

from bridge.net.names import Names
from bridge.outbox.stored import Stored, Unreachable
from bridge.wire.address import Address, Reach, literal, refusal
from bridge.wire.webhook import MOST_IN_BATCH, BatchRefused, judge, post

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""The addresses of a host's name. Raises OSError. What waits for it may be cancelled."""

_AGENT = "rtzr-bridge"
_CONNECTIONS = 8
_IDLE_S = 30.0
"""A connection that rests longer is closed, and the name asked for anew."""
_LONGEST_ANSWER = 64 << 10
"""What of an answer's body is read, so that the connection can be used again; beyond it, it is closed."""
_REST_S = 1.0
"""How long to wait for that body: the answer itself is known."""
_MOST_ADDRESSES = 4
_SINGLES_AFTER = 100
"""Posts of one event after a batch was refused, before another batch is tried."""


_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
)


class WebhookSender:
    """A `Sender` to one URL. To be entered: its connections are kept."""

    def __init__(
        self,
        name: str,
        url: str,
        keys: Sequence[bytes],
        *,
        batch: int = MOST_IN_BATCH,
        timeout_s: float = 10.0,
        reach: Reach = Reach(),  # noqa: B008 - it is a value
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        unix: Callable[[], float] = time.time,
    ) -> None:
        """`name`: webhook:crm. `keys`: by `bridge.wire.webhook.key`, every one signs. `batch`: most events in
        one request. `timeout_s`: for one request, from the name's look-up to the answer's headers."""
        self.name = name
        self.batch = batch
        """Most events in one send; 1 after a batch was refused, for a while or for good."""
        self._url = url
        self._keys = tuple(keys)
        self._most = batch
        self._singles = 0
        self._timeout_s = timeout_s
        self._unix = unix
        self._host = urlsplit(url).hostname or ""
        self._pinned = Pinned(self._host, reach, resolve or system())
        self._http = httpcore.AsyncConnectionPool(
            ssl_context=tls if tls is not None else ssl.create_default_context(),
            max_connections=_CONNECTIONS,
            keepalive_expiry=_IDLE_S,
            network_backend=self._pinned,
        )

    def adopt(self, keys: Sequence[bytes]) -> None:
        """Other keys, for what is sent from now on."""
        self._keys = tuple(keys)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def probe(self) -> None:
        """Come as far as a send does before its first word: name, address, connection and TLS. Raises
        Unreachable."""
        how = {"timeout": {"connect": self._timeout_s / 2}, "trace": _stop_before_words}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._http.request("POST", self._url, extensions=how)
        except _Enough:
            return
        except TimeoutError:
            raise Unreachable(f"no connection within {self._timeout_s:g} s") from None
        except _Forbidden as error:
            raise Unreachable(str(error)) from None
        except _FAILURES as error:
            raise Unreachable(_told(error)) from None

    async def send(self, events: Sequence[Stored]) -> None:
        """One request with all of `events`. Raises Rejected, Unreachable."""
        request = post(events, self._keys, self._unix())
        try:
            async with asyncio.timeout(self._timeout_s):
                status, told = await self._ask(request.headers, request.body)
        except TimeoutError:
            raise Unreachable(self._late) from None
        except _Forbidden as error:
            raise Unreachable(str(error)) from None
        except _FAILURES as error:
            raise Unreachable(_told(error)) from None
        try:
            judge(status, len(events), told.get("retry-after"), told.get("date"), self._unix())
        except BatchRefused as refused:
            self._singles, self.batch = _SINGLES_AFTER, 1
            if refused.for_good:
                self._most = 1
            raise
        self._singles = max(0, self._singles - 1)
        self.batch = 1 if self._singles else self._most

    @property
    def _late(self) -> str:
        if self._pinned.missed:
            return f"the name {self._host} was not found in time"
        return f"no answer within {self._timeout_s:g} s"

    async def _ask(self, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[int, dict[str, str]]:
        """The status of the answer, and its headers by their names in small letters."""
        given = [("user-agent", _AGENT), ("accept", "*/*"), *headers]
        how = {"timeout": {"connect": self._timeout_s / 2}}  # the whole has its own, in `send`
        async with self._http.stream(
            "POST", self._url, headers=given, content=body, extensions=how
        ) as answer:
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            await _finish(answer)
            return answer.status, told


async def _finish(answer: httpcore.Response) -> None:
    """Read what is left, within bounds; whatever becomes of it, the receiver has answered."""
    left = _LONGEST_ANSWER
    with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(_REST_S):
            async for chunk in answer.aiter_stream():
                left -= len(chunk)
                if left < 0:
                    return


class _Enough(Exception):
    """The connection stands."""


async def _stop_before_words(step: str, _: dict[str, Any]) -> None:
    """A trace of httpcore's: what it raises ends the request there."""
    if step == "http11.send_request_headers.started":
        raise _Enough


class _Forbidden(Exception):
    """An address that may not be called."""


class Pinned(httpcore.AsyncNetworkBackend):
    """Connections to one host: its name is looked up once for each, and what was judged is dialled.

    TLS and the Host header are the URL's, above: here is only which machine is spoken to.
    """

    def __init__(self, host: str, reach: Reach, resolve: Resolve) -> None:
        self._host = host
        self._reach = reach
        self._resolve = resolve
        self.missed = False
        """Whether the last look-up that is over was given up."""
        self._dial = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`timeout` is for all addresses together. Raises _Forbidden before any connection is made, OSError,
        httpcore.ConnectError, httpcore.ConnectTimeout."""
        if host != self._host:
            raise _Forbidden("another host than the URL's is never called")
        *others, last = await self._judged(host, port)
        share = None if timeout is None else timeout / (len(others) + 1)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._dial.connect_tcp(str(address), port, share, local_address, socket_options)
        return await self._dial.connect_tcp(str(last), port, share, local_address, socket_options)

    async def _judged(self, host: str, port: int) -> Sequence[Address]:
        """Where to, in order. One address that may not be called is enough: nobody has it by mistake."""
        try:
            given = literal(host)
        except ValueError:
            raise _Forbidden("the host is written as no address and no name is") from None
        addresses = [given] if given is not None else await self._found(host, port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "the host's name has no address")
        for address in addresses:
            if why := refusal(address, self._reach):
                raise _Forbidden(f"the host's address is not to be called ({why}); see allow_private")
        return addresses[:_MOST_ADDRESSES]

    async def _found(self, host: str, port: int) -> list[Address]:
        missed = False
        try:
            return list(await self._resolve(host, port))
        except asyncio.CancelledError:
            missed = True
            raise
        finally:
            self.missed = missed


def system() -> Resolve:
    """What the system's resolver says, in its order of preference; one look-up of a host at a time."""
    names = Names()

    async def look_up(host: str, _port: int) -> Sequence[Address]:
        try:
            found = await names.look_up(host, type=socket.SOCK_STREAM)
        except UnicodeError:  # from a label that is too long, or empty
            raise socket.gaierror(socket.EAI_NONAME, "the host's name is none") from None
        return [ip_address(where[0]) for *_, where in found if "%" not in str(where[0])]

    return look_up


def _told(error: Exception) -> str:
    """The system's own reason, without an address or a path."""
    if isinstance(error, httpcore.ConnectTimeout):
        return "no connection in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'failed'}"
        if isinstance(cause, socket.gaierror):
            return str(cause.strerror)
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)  # asyncio's own text holds the address
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: the connection ended without an answer"
