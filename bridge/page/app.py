"""The page over HTTP: its files, which anybody may have and which hold nothing, and what they ask for, which
`door` guards.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Set
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.page.door import Door
from bridge.page.shown import Pulse, as_json
from bridge.page.stream import Abort, Stream
from bridge.page.watched import Told, Watched
from bridge.sinks.feed import FeedSink

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]


class Page:
    """The routes. Set `abort` before the first request: what cuts a client's connection."""

    def __init__(self, watched: Watched, sink: FeedSink, door: Door, hidden: Set[str] = frozenset()) -> None:
        """`hidden`: rules whose calls are shown without what is said in them."""
        self._watched = watched
        self._sink = sink
        self._door = door
        self._pulse = Pulse(watched, hidden, clock=time.monotonic)
        self.abort: Abort = lambda _client: None

    def adopt(self, token: str, hidden: Set[str]) -> None:
        """Another token, and other rules: from now on."""
        self._door.adopt(token)
        self._pulse.adopt(hidden)

    def app(self) -> ASGIApp:
        """An id may hold anything, a slash too."""
        static = _static()
        routes = [
            *(Route(f"/{name}", file) for name, file in static.items()),
            Route("/", static["index.html"]),
            Route("/login", self._door.login, methods=["POST"]),
            Route("/logout", self._door.logout, methods=["POST"]),
            Route("/api/live", self._live),
            Route("/api/status", self._status),
            Route("/api/calls", self._calls),
            Route("/api/calls/{call:path}/pause", self._pause, methods=["POST"]),
            Route("/api/calls/{call:path}/resume", self._resume, methods=["POST"]),
            Route("/api/calls/{call:path}", self._call),
        ]
        return _Headed(Starlette(routes=routes))

    async def _live(self, request: Request) -> Response:
        if (refusal := self._door.refusal(request)) is not None:
            return refusal
        stream = Stream(self._sink, self._pulse, self._door.shut, self.abort, request.client)
        return Response(headers=dict(stream.headers)) if request.method == "HEAD" else stream

    async def _status(self, request: Request) -> Response:
        return self._door.refusal(request) or _told(await self._watched.status())

    async def _calls(self, request: Request) -> Response:
        if (refusal := self._door.refusal(request)) is not None:
            return refusal
        return _told({"calls": [self._pulse.shown(call) for call in self._watched.calls()]})

    async def _call(self, request: Request) -> Response:
        return self._door.refusal(request) or await self._shown(request.path_params["call"])

    async def _pause(self, request: Request) -> Response:
        return self._door.refusal(request) or await self._set(request, paused=True)

    async def _resume(self, request: Request) -> Response:
        return self._door.refusal(request) or await self._set(request, paused=False)

    async def _set(self, request: Request, *, paused: bool) -> Response:
        call = request.path_params["call"]
        if self._watched.pause(call, paused, self._door.who(request)):
            return await self._shown(call)
        return _told({"error": "there is no live call of this id"}, 404)

    async def _shown(self, name: str) -> Response:
        call = self._watched.call(name)
        if call is None:
            return _told({"error": "there is no call of this id, or more than one"}, 404)
        return _told({**self._pulse.shown(call), "deliveries": await self._watched.deliveries(call["id"])})


class _Headed:
    """What every answer says to a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, put)


def _told(value: Told, status: int = 200) -> Response:
    body = as_json(value).encode("utf-8", "replace")
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


class _File:
    """One of the page's own files, read once; a browser asks whether it is still the same."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        tag = hashlib.sha256(content).hexdigest()[:20]
        self._headers = {"etag": f'"{tag}"', "cache-control": "no-cache", "content-type": kind}

    async def answer(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)


def _static() -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """By name; no path of a request ever reaches a disk."""
    found = files("bridge.page").joinpath("static").iterdir()
    return {
        file.name: _File(file.read_bytes(), _TYPES[f".{file.name.rpartition('.')[2]}"]).answer
        for file in found
    }
