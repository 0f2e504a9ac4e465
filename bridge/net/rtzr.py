"""The sockets to RTZR: one token for the whole process, one WebSocket a leg.

What a message means is in `bridge.wire.rtzr`; when to send, reconnect or give up is the leg's decision.
A token never reaches a log line or an exception text.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, Self
from weakref import WeakSet

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.protocol import State

from bridge.net.frames import answer_of, forget_frames
from bridge.types import Codec, Token
from bridge.wire import rtzr, skew

_log = structlog.get_logger()
_quiet = logging.getLogger("bridge.websockets")
_quiet.setLevel(logging.ERROR)  # at DEBUG the library prints headers, and the token is one

_MOST_BUFFERED = 1 << 20
"""Bytes: with more than this unsent, RTZR reads too slowly, and the socket counts as lost."""
_WRITE_LIMIT = 4 * _MOST_BUFFERED
"""Never reached: sending does not wait."""
_RESULT_LIMIT = 1 << 20
_LONGEST_REASON = 200
_RETRY_S = 5.0
_LEAST_USE_S = 60.0
"""However soon a token is said to expire, it is used this long: with this machine's clock wrong, every leg
would ask for one of its own."""
_REFUSED_S = 60.0
"""A refusal will be the same in a second, and knocking in vain may be counted."""

_Failure = rtzr.Refused | rtzr.Unreachable


class TokenSource(Protocol):
    """Where a dial has its token from."""

    async def get(self, refused: Token | None = None) -> Token:
        """The token; another than `refused`. Raises `rtzr.Refused` and `rtzr.Unreachable`."""
        ...


class Tokens:
    """The process's one RTZR token: cached, renewed before it expires, by one request however many ask."""

    def __init__(
        self,
        auth_url: str,
        client_id: str,
        client_secret: str,
        *,
        renew_before_s: float,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = auth_url
        self._form = {"client_id": client_id, "client_secret": client_secret}
        self._margin_s = renew_before_s
        self._timeout_s = timeout_s
        self._now = now
        self._token: Token | None = None
        self._renew_at = 0.0
        self._answer: Token | _Failure = rtzr.Unreachable("authentication: not tried yet")
        self._tries = 0
        self._asking = asyncio.Lock()
        self._http = httpx.AsyncClient(
            verify=tls if tls is not None else True, proxy=proxy, timeout=timeout_s, trust_env=False
        )
        self.issued = 0
        self.ahead_s: float | None = None
        """How far this machine's clock is ahead of RTZR's, by the last answer, where that told its time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def adopt(self, client_id: str, client_secret: str) -> None:
        """Other credentials: for the next token. The present one is used as long as RTZR takes it."""
        self._form = {"client_id": client_id, "client_secret": client_secret}

    @property
    def failing(self) -> str:
        """Why there is no token that could be used now; "" if there is one."""
        if self._token is not None and self._token.usable(self._now(), 0):
            return ""
        return "it has expired" if isinstance(self._answer, Token) else str(self._answer)

    async def get(self, refused: Token | None = None) -> Token:
        """A token that is good for a while; `refused` is one that RTZR did not accept (401).

        Raises `rtzr.Refused` and `rtzr.Unreachable`.
        """
        asked, tries = self._now(), self._tries
        async with self._asking:
            token = self._token if self._token is not refused else None
            if token is not None and self._now() < self._renew_at:
                _log.info("token reused", ms=round((self._now() - asked) * 1000))
                return token
            if self._tries == tries:
                self._answer, self._tries = await self._try(), self._tries + 1
            return self._answer if isinstance(self._answer, Token) else self._kept(token, self._answer)

    async def _try(self) -> Token | _Failure:
        """One request; what comes of it is the answer to all who wait."""
        try:
            self._token = token = await self._issue()
        except (rtzr.Refused, rtzr.Unreachable) as error:
            return error
        self._renew_at = max(token.expires_at - self._margin_s, self._now() + _LEAST_USE_S)
        return token

    def _kept(self, token: Token | None, failure: _Failure) -> Token:
        """The old token, when no new one could be had and it is still good; else the failure."""
        if token is None or not token.usable(self._now(), 0):
            raise failure.with_traceback(None)
        _log.warning("token not renewed", reason=str(failure), retry_s=_RETRY_S)
        self._renew_at = self._now() + _RETRY_S
        return token

    async def _issue(self) -> Token:
        started = self._now()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._http.post(self._url, data=self._form)
        except (httpx.HTTPError, TimeoutError) as error:
            raise rtzr.Unreachable(_told("authentication", error)) from None
        date_s = skew.of_date(answer.headers.get("date"))
        self.ahead_s = None if date_s is None else skew.ahead_s(date_s, started, self._now())
        if answer.status_code != httpx.codes.OK:
            raise rtzr.refusal(answer.status_code, answer.content)
        try:
            token = rtzr.parse_token(answer.content)
        except rtzr.RtzrError as error:
            raise rtzr.Unreachable(str(error)) from None
        self.issued += 1
        _log.info("token issued", ms=round((self._now() - started) * 1000))
        return token

    async def keep_fresh(self) -> None:
        """Renew ahead of time, so that no call ever waits for a token. Runs until cancelled."""
        while True:
            try:
                await self.get()
                await asyncio.sleep(max(1.0, self._renew_at - self._now()))
            except (rtzr.Refused, rtzr.Unreachable) as error:
                await asyncio.sleep(self._told(error))

    def _told(self, failure: _Failure) -> float:
        """Tell that there is no token; seconds until the next try."""
        if isinstance(failure, rtzr.Refused) and failure.verdict is not rtzr.Verdict.WAIT:
            _log.error("no token; check RTZR_CLIENT_ID and RTZR_CLIENT_SECRET", reason=str(failure))
            return _REFUSED_S
        _log.warning("no token", reason=str(failure), retry_s=_RETRY_S)
        return _RETRY_S


class Session:
    """One leg's WebSocket. Sending never waits: a peer that does not read makes it a lost one."""

    __slots__ = ("__weakref__", "_connection", "_protocol", "_transport", "malformed", "took")

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._protocol, self._transport = connection.protocol, connection.transport
        self.malformed = 0
        self.took = rtzr.Took(0, 0)
        """Until it was open."""

    @property
    def open(self) -> bool:
        return self._connection.state is not State.CLOSED

    @property
    def unsent(self) -> bool:
        """Whether some of what it was given is still in this process, as RTZR does not read."""
        return self._transport.get_write_buffer_size() > 0

    @property
    def clean(self) -> bool:
        """Whether it was closed with 1000, as RTZR does once an ended stream has been worked off."""
        return self._connection.close_code == CloseCode.NORMAL_CLOSURE

    def send(self, audio: bytes) -> bool:
        """Send audio; False when the socket is lost."""
        if not self._writable():
            return False
        self._protocol.send_binary(audio)
        self._write()
        return True

    def finalize(self) -> bool:
        return self._send_text(rtzr.FINALIZE)

    def end(self) -> bool:
        """Say that no audio follows; the results go on until RTZR closes."""
        return self._send_text(rtzr.EOS)

    def _send_text(self, text: str) -> bool:
        if not self._writable():
            return False
        self._protocol.send_text(text.encode())
        self._write()
        return True

    # Not by `connection.send`: its context manager guards a wait that we never make, and costs twice what the
    # framing does.

    def _writable(self) -> bool:
        if self._transport.get_write_buffer_size() > _MOST_BUFFERED:
            _log.warning("socket lost", reason="rtzr reads too slowly", buffered=_MOST_BUFFERED)
            self.abort()
            return False
        return self._protocol.state is State.OPEN and not self._transport.is_closing()

    def _write(self) -> None:
        """What the protocol has framed goes on the socket, or into its buffer."""
        for data in self._protocol.data_to_send():
            self._transport.write(data)

    async def results(self) -> AsyncIterator[rtzr.Result]:
        """RTZR's partials and finals, until the socket closes, for whatever reason."""
        while True:
            try:
                message = await self._connection.recv()
            except ConnectionClosed as closed:
                forget_frames(closed)
                return
            try:
                result = rtzr.parse(message)
            except rtzr.RtzrError as error:
                self.malformed += 1
                _log.warning("message ignored", reason=str(error))
                continue
            yield result

    async def close(self) -> None:
        await self._connection.close()

    def abort(self) -> None:
        """Drop it at once; what RTZR said and was not read yet is still told."""
        self._transport.abort()


class _Dial(connect):
    """A dial that goes where it is told: RTZR redirects nobody, and who does gets no token from us."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Rtzr:
    """Opens sessions with the one cached token."""

    def __init__(
        self,
        tokens: TokenSource,
        stream_url: str,
        options: Mapping[str, str],
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._tokens = tokens
        self._url = stream_url
        self._options = options
        self._timeout_s = timeout_s
        self._tls = (tls or ssl.create_default_context()) if stream_url.startswith("wss:") else None
        self._proxy = proxy
        self.sessions_opened = 0
        self._sessions: WeakSet[Session] = WeakSet()

    async def open(self, codec: Codec, options: Mapping[str, str] | None = None) -> Session:
        """A fresh session, with these options of the query if they are not the usual ones.

        A 401 renews the token once. Raises `rtzr.Refused` and `rtzr.Unreachable`.
        """
        url = rtzr.stream_url(self._url, codec, self._options if options is None else options)
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        token = await self._tokens.get()
        dialled_s = now_s()
        try:
            session = await self._connect(url, token)
        except rtzr.Refused as refused:
            if refused.verdict is not rtzr.Verdict.RENEW:
                raise
            token = await self._tokens.get(refused=token)
            dialled_s = now_s()
            session = await self._connect(url, token)
        session.took = rtzr.Took(round(1000 * (dialled_s - began_s)), round(1000 * (now_s() - dialled_s)))
        return session

    async def _connect(self, url: str, token: Token) -> Session:
        try:
            connection = await _Dial(
                url,
                additional_headers={"Authorization": f"Bearer {token.value}"},
                compression=None,
                proxy=self._proxy,
                ssl=self._tls,
                open_timeout=self._timeout_s,
                close_timeout=1,
                max_size=_RESULT_LIMIT,
                write_limit=_WRITE_LIMIT,
                logger=_quiet,
            )
        except InvalidStatus as error:
            answer = answer_of(error)
            raise rtzr.refusal(answer.status_code, bytes(answer.body or b"")) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            forget_frames(error)
            raise rtzr.Unreachable(_told("streaming", error)) from None
        self.sessions_opened += 1
        session = Session(connection)
        self._sessions.add(session)
        return session

    @property
    def sessions_open(self) -> int:
        """Sockets that are open now."""
        return sum(session.open for session in self._sessions)


def _told(door: str, error: Exception) -> str:
    """The system's own reason, which is what helps: name unknown, refused, certificate not trusted, ..."""
    return f"{door}: {type(error).__name__} {error}".strip()[:_LONGEST_REASON]
