"""RTZR's authentication, streaming WebSocket and file API on one port of this machine.

The doors and the counters: routes, tokens, who is let in, start and end of the server. A socket once accepted
is served in `stream`; what a dial may ask for is in `query`; what becomes of a file is in
`files`. Nothing here prints or logs.
"""

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bridge.emulator.files import Files
from bridge.emulator.knobs import DEFAULTS, Knobs, Stats
from bridge.emulator.query import QueryError, StreamQuery, parse
from bridge.emulator.stream import Heard, Stream
from bridge.serving import Serving, listener_at, plain

__all__ = ["Emulator", "Knobs", "Stats", "serve"]

AUTH_PATH = "/v1/authenticate"
STREAM_PATH = "/v1/transcribe:streaming"
FILE_PATH = "/v1/transcribe"
MAX_FORM_BYTES = 16_384
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer: HTTP status, RTZR's code and its message."""

    status: int
    code: str
    msg: str

    def response(self) -> JSONResponse:
        return JSONResponse({"code": self.code, "msg": self.msg}, self.status)


UNAUTHORIZED = Refusal(401, "H0002", "unauthorized")
BAD_CREDENTIAL = Refusal(401, "H0002", "invalid credential")
SERVER_ERROR = Refusal(500, "E500", "server error")
MAINTENANCE = Refusal(503, "E503", "maintenance")
_FULL = {"A0001": "Usage exceeded", "A0002": "Too many concurrent requests"}


def _bad_request(msg: str) -> Refusal:
    return Refusal(400, "H0001", msg)


class Emulator:
    """An RTZR in this process: `async with Emulator(Knobs(...)) as rtzr: ...`.

    It listens from entry to exit; on exit every socket and task of it is gone. Raises OSError when the port
    is taken.
    """

    def __init__(self, knobs: Knobs = DEFAULTS, host: str = "127.0.0.1", port: int = 0) -> None:
        self.knobs = knobs
        self._host = host
        self._port = port
        self._tokens: dict[str, float] = {}
        self._tokens_issued = 0
        self._sockets_opened = 0
        self._streams: set[Stream] = set()
        self._billed_s = 0.0
        self._dials_refused = 0
        self._leaving: list[float] = []
        """When the channels of closed streams are free again."""
        self.heard: list[Heard] = []
        """With `record`: what every stream heard, in the order of their opening."""
        self.files = Files()
        self._serving: Serving | None = None

    @property
    def auth_url(self) -> str:
        return f"http://{self._netloc}{AUTH_PATH}"

    @property
    def stream_url(self) -> str:
        """The WebSocket's URL, without a query."""
        return f"ws://{self._netloc}{STREAM_PATH}"

    @property
    def file_url(self) -> str:
        return f"http://{self._netloc}{FILE_PATH}"

    @property
    def stats_url(self) -> str:
        return f"http://{self._netloc}/stats"

    @property
    def port(self) -> int:
        """The port it listens on, once entered."""
        return self._port

    def stats(self) -> Stats:
        open_s = sum(stream.billed_s for stream in self._streams)
        return Stats(
            self._tokens_issued,
            self._sockets_opened,
            len(self._streams),
            round(self._billed_s + open_s, 3),
            self._dials_refused,
        )

    async def __aenter__(self) -> Self:
        listener = listener_at(self._host, self._port, backlog=1024)
        self._port = listener.getsockname()[1]
        self._serving = Serving(plain(self._app(), http="h11", ws_ping_interval=None), listener)
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving is not None:
            await self._serving.__aexit__(kind, error, trace)

    @property
    def _netloc(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(AUTH_PATH, self._authenticate, methods=["POST"]),
                WebSocketRoute(STREAM_PATH, self._transcribe),
                Route(FILE_PATH, self._post_file, methods=["POST"]),
                Route(FILE_PATH + "/{job}", self._show_file),
                Route("/stats", self._show_stats),
            ]
        )

    async def _show_stats(self, _request: Request) -> JSONResponse:
        return JSONResponse(self.stats().as_dict())

    async def _authenticate(self, request: Request) -> JSONResponse:
        await asyncio.sleep(self.knobs.auth_delay_ms / 1000)
        if self.knobs.away:
            self._drop(request)
            return SERVER_ERROR.response()
        trouble = self._trouble(self.knobs.auth_status)
        refusal = trouble or await self._credential_refusal(request)
        if refusal is not None:
            return refusal.response()
        token, expire_at = self._issue()
        body = {"access_token": token, "expire_at": expire_at}
        return JSONResponse(body, headers={"date": formatdate(usegmt=True)})

    async def _credential_refusal(self, request: Request) -> Refusal | None:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            return _bad_request(f"content type must be {FORM}")
        form = await _form(request)
        if form is None:
            return _bad_request("form too long or not UTF-8")
        for name in ("client_id", "client_secret"):
            if not form.get(name):
                return _bad_request(f"{name} is required")
        known = (
            form["client_id"] == self.knobs.client_id and form["client_secret"] == self.knobs.client_secret
        )
        return None if known else BAD_CREDENTIAL

    def _issue(self) -> tuple[str, int]:
        now = asyncio.get_running_loop().time()
        self._tokens = {token: ends for token, ends in self._tokens.items() if ends > now}
        token = ".".join(("eyJhbGciOiJIUzI1NiJ9", secrets.token_urlsafe(48), secrets.token_urlsafe(32)))
        self._tokens[token] = now + self.knobs.token_life_s
        self._tokens_issued += 1
        return token, int(time.time() + self.knobs.token_life_s)

    async def _transcribe(self, ws: WebSocket) -> None:
        try:
            await asyncio.sleep(self.knobs.connect_delay_ms / 1000)
            if self.knobs.away:
                self._drop(ws)
                return
            admitted = self._admit(ws)
            if isinstance(admitted, Refusal):
                self._dials_refused += 1
                await ws.send_denial_response(admitted.response())
                return
            await ws.accept()
        except WebSocketDisconnect:
            return
        if self.knobs.close_at_once or self._overfull:
            with suppress(WebSocketDisconnect):
                await ws.close(self.knobs.close_code)
            return
        await self._stream(ws, admitted)

    def _admit(self, ws: WebSocket) -> StreamQuery | Refusal:
        refusal = self._refusal(ws)
        if refusal is not None:
            return refusal
        try:
            query = parse(ws.query_params.multi_items())
        except QueryError as error:
            return _bad_request(str(error))
        if self.knobs.spent:
            return Refusal(429, "A0001", _FULL["A0001"])
        if self._overfull and self.knobs.full_code != "close":
            return Refusal(429, self.knobs.full_code, _FULL.get(self.knobs.full_code, "Usage exceeded"))
        return query

    @property
    def _overfull(self) -> bool:
        """Whether one stream more would be past the limit."""
        now_s = asyncio.get_running_loop().time()
        self._leaving = [until_s for until_s in self._leaving if until_s > now_s]
        taken = len(self._streams) + len(self._leaving)
        return bool(self.knobs.max_streams) and taken >= self.knobs.max_streams

    def _trouble(self, status: int) -> Refusal | None:
        """What every request meets; `status`: what this kind of request is to be refused with."""
        if self.knobs.broken:
            return SERVER_ERROR
        if self.knobs.maintenance:
            return MAINTENANCE
        return Refusal(status, self.knobs.refusal_code, self.knobs.refusal_msg) if status else None

    def _refusal(self, asked: HTTPConnection) -> Refusal | None:
        trouble = self._trouble(self.knobs.dial_status)
        if trouble is not None:
            return trouble
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and self._is_valid(token.strip())
        return None if known else UNAUTHORIZED

    async def _post_file(self, request: Request) -> Response:
        refusal = self._refusal(request)
        answer = refusal.response() if refusal else await self.files.post(request, self.knobs)
        if answer is None:
            self._drop(request)
        return answer or Response()

    async def _show_file(self, request: Request) -> Response:
        refusal = self._refusal(request)
        return refusal.response() if refusal else self.files.get(request.path_params["job"], self.knobs)

    def cut(self) -> int:
        """Resets the connection of every open stream; how many."""
        for stream in self._streams:
            self._drop(stream.ws)
        return len(self._streams)

    def _drop(self, request: HTTPConnection) -> None:
        """Cuts the connection that `request` came on."""
        if self._serving is not None:
            self._serving.abort(request.client)

    def _is_valid(self, token: str) -> bool:
        return self._tokens.get(token, 0.0) > asyncio.get_running_loop().time()

    async def _stream(self, ws: WebSocket, query: StreamQuery) -> None:
        token = ws.headers["authorization"].partition(" ")[2].strip()
        stream = Stream(ws, query, self.knobs, self._tokens.get(token, 0.0))
        if stream.record is not None:
            self.heard.append(stream.record)
        self._streams.add(stream)
        self._sockets_opened += 1
        try:
            complete = await stream.run()
        finally:
            # Before the close frame: a client that has read it finds its channel free.
            self._streams.remove(stream)
            self._billed_s += stream.billed_s
            if self.knobs.release_ms:
                self._leaving.append(asyncio.get_running_loop().time() + self.knobs.release_ms / 1000)
        if stream.reset:
            self._drop(ws)
        if complete:
            with suppress(WebSocketDisconnect):
                await ws.close(1000)


async def serve(knobs: Knobs, host: str, port: int) -> None:
    """Runs an emulator until cancelled. Raises OSError when the port is taken."""
    async with Emulator(knobs, host, port):
        await asyncio.Event().wait()


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a URL-encoded body, None where it is too long or not UTF-8."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return None
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        return None
    return {name: values[-1] for name, values in fields.items()}
