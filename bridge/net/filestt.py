"""RTZR's file API over HTTP: a file goes up, its job is asked about.

What an answer means is in `bridge.wire.filestt`; when to ask, and whether to send again, is the
caller's decision. A token never reaches a log line or an exception text.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Self

import httpx

from bridge.net.rtzr import Tokens
from bridge.types import Token
from bridge.wire import filestt, rtzr

_LONGEST_ANSWER = 16 << 20
"""Hours of talk are less; what is longer is not RTZR's."""
_LONGEST_REASON = 200
_NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_IN_DOUBT = (502, 504)
"""A gateway's own words: it passed the file on, and knows no more than we do."""


class FileStt:
    """A client of the file API: one HTTP connection pool, and the process's one token."""

    def __init__(
        self,
        tokens: Tokens,
        url: str,
        stream_options: Mapping[str, str],
        *,
        timeout_s: float = 120.0,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """`url`: of `/v1/transcribe`. `timeout_s`: for one request, a whole file's upload included."""
        self._tokens = tokens
        self._url = url
        self._config = filestt.request_config(stream_options)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            verify=tls if tls is not None else True, proxy=proxy, timeout=timeout_s, trust_env=False
        )

    def adopt(self, stream_options: Mapping[str, str]) -> None:
        """Other options, for files that are sent from now on."""
        self._config = filestt.request_config(stream_options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, wav: bytes) -> str:
        """Send a WAV file; the id of its job.

        Raises `rtzr.Refused` and `rtzr.Unreachable`, after which there is no job, and `filestt.Doubtful`,
        after which nobody knows.
        """
        files = {"config": (None, self._config), "file": ("audio.wav", wav, "audio/wav")}
        try:
            body = await self._ask("POST", self._url, files=files)
        except rtzr.Refused as refused:
            if refused.status in _IN_DOUBT:
                raise filestt.Doubtful(str(refused)) from None
            raise
        except (httpx.HTTPError, TimeoutError) as error:
            if isinstance(error, _NOTHING_SENT):
                raise rtzr.Unreachable(_told(error)) from None
            raise filestt.Doubtful(_told(error)) from None
        try:
            return filestt.parse_created(body)
        except rtzr.RtzrError as error:
            raise filestt.Doubtful(str(error)) from None

    async def look(self, job: str) -> filestt.State:
        """How far the job is. Raises `rtzr.Refused` and `rtzr.Unreachable`."""
        try:
            return filestt.parse_state(await self._ask("GET", f"{self._url}/{job}"))
        except (httpx.HTTPError, TimeoutError) as error:
            raise rtzr.Unreachable(_told(error)) from None
        except rtzr.RtzrError as error:
            raise rtzr.Unreachable(str(error)) from None

    async def _ask(self, method: str, url: str, **content: Any) -> bytes:
        """A request, and once more with a new token when RTZR did not accept the first."""
        token = await self._token()
        try:
            return await self._try(method, url, token, **content)
        except rtzr.Refused as refused:
            if refused.verdict is not rtzr.Verdict.RENEW:
                raise
        return await self._try(method, url, await self._token(refused=token), **content)

    async def _token(self, refused: Token | None = None) -> Token:
        """Raises `rtzr.Unreachable` only: that there is no token is not said of the file."""
        try:
            return await self._tokens.get(refused)
        except rtzr.Refused as error:
            raise rtzr.Unreachable(f"no token: {error}") from None

    async def _try(self, method: str, url: str, token: Token, **content: Any) -> bytes:
        bearer = {"Authorization": f"Bearer {token.value}"}
        async with (
            asyncio.timeout(self._timeout_s),
            self._http.stream(method, url, headers=bearer, **content) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LONGEST_ANSWER:
                    raise httpx.DecodingError("the answer is too long")
        if answer.status_code != httpx.codes.OK:
            raise rtzr.refusal(answer.status_code, bytes(body))
        return bytes(body)


def _told(error: Exception) -> str:
    """The system's own reason, which is what helps."""
    return f"file API: {type(error).__name__} {error}".strip()[:_LONGEST_REASON]
