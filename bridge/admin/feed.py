"""The live feed over HTTP: `GET /events` as server-sent events, `/ws` as a WebSocket, an event a message.

Who is let in, what a query means, how a message is framed; who gets what is `bridge.sinks.feed`'s.
"""

import asyncio
import hmac
import unicodedata
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Address
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from bridge.sinks.feed import FeedSink, Full, Item, Reader, Wanted

_STUCK_S = 30.0
"""How long one message may be on its way into the connection's buffer."""
_BEAT_S = 15.0
"""How often a stream shows that it is alive: proxies close what is silent for longer."""
_AT_ONCE = 50
"""Events in one piece."""
_MOST_VALUES = 100
_GOING_AWAY = 1001
_FILTERS = {"call": "calls", "rule": "rules", "party": "parties"}
_OTHER = ("after", "token")

Abort = Callable[[Address | None], None]
_Work = Coroutine[Any, Any, None]


class Feed:
    """The routes of the feed. Set `abort` before the first request: what cuts a client's connection."""

    def __init__(self, sink: FeedSink, token: str, origins: frozenset[str] = frozenset()) -> None:
        """`token`: what everybody has to show. `origins`: those of web pages, beside the feed's own, whose
        scripts may read it."""
        self._sink = sink
        self._token = token.encode()
        self._origins = origins
        self.abort: Abort = lambda _client: None

    def adopt(self, token: str) -> None:
        """Another token: who reads goes on, who comes has to show this one."""
        self._token = token.encode()

    def app(self) -> Starlette:
        events = Route("/events", self._events, methods=["GET", "OPTIONS"])
        return Starlette(routes=[events, WebSocketRoute("/ws", self._socket)])

    async def _events(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._preflight(request)
        refusal = self._refusal(request)
        if refusal is not None:
            refusal.headers.update(self.headers(request))
            return refusal
        stream = _Stream(self, request)
        return Response(headers=dict(stream.headers)) if request.method == "HEAD" else stream

    def _preflight(self, request: Request) -> Response:
        """What a browser asks before a page of another host may send more than a plain GET: without token."""
        if not self._from_here(request):
            return _foreign()
        allowed = {
            "allow": "GET, HEAD, OPTIONS",
            "access-control-allow-headers": "authorization, last-event-id, cache-control",
            "access-control-max-age": "600",
        }
        return Response(status_code=204, headers=self.headers(request) | allowed)

    async def _socket(self, ws: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            if (refusal := self._refusal(ws)) is not None:
                await ws.send_denial_response(refusal)
                return
            try:
                with self.reading(ws) as reader:
                    await ws.accept()
                    await self._talk(ws, reader)
            except Full:
                await ws.send_denial_response(_full())

    async def _talk(self, ws: WebSocket, reader: Reader) -> None:
        async def send_all() -> None:
            async with aclosing(self.items(reader)) as items:
                async for item in items:
                    async with asyncio.timeout(_STUCK_S):
                        await ws.send_text(item.text)

        async def hear() -> None:
            while (await ws.receive())["type"] != "websocket.disconnect":
                pass  # there is nothing to say here

        if await self.attended(reader, ws.client, send_all(), hear()):
            await ws.close(_GOING_AWAY)

    def reading(self, asked: HTTPConnection) -> AbstractContextManager[Reader]:
        """As FeedSink.reading, of what was asked for."""
        return self._sink.reading(wanted(asked), _after(asked))

    def beginning(self, asked: HTTPConnection) -> str:
        """The id from which it goes on if it breaks off before the first event."""
        return _after(asked) or self._sink.position

    def items(self, reader: Reader) -> AsyncGenerator[Item]:
        return self._sink.follow(reader)

    async def attended(self, reader: Reader, client: Address | None, sending: _Work, *beside: _Work) -> bool:
        """As `attend`, with what cuts a connection here."""
        return await attend(self._sink, reader, lambda: self.abort(client), sending, *beside)

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        """Why it is not let in, if it is not."""
        if not self._from_here(asked):
            return _foreign()
        if not self._knows_token(asked):
            return JSONResponse(
                {"error": "the token is missing or wrong; send Authorization: Bearer TOKEN, or ?token="},
                401,
                {"www-authenticate": "Bearer"},
            )
        unknown = sorted(asked.query_params.keys() - _FILTERS.keys() - {*_OTHER})
        if unknown:  # a filter that is misspelt must not be no filter
            known = ", ".join([*_FILTERS, *_OTHER])
            return JSONResponse({"error": f"{unknown[0][:40]!a} is not known; there are {known}"}, 400)
        if any(len(asked.query_params.getlist(name)) > _MOST_VALUES for name in _FILTERS):
            return JSONResponse({"error": f"more than {_MOST_VALUES} values of one filter"}, 400)
        return None

    def _from_here(self, asked: HTTPConnection) -> bool:
        """Whether no web page asks, or one of ours: a browser says whose page it is, nobody else does."""
        origin = asked.headers.get("origin")
        if origin is None or origin in self._origins:
            return True
        try:
            return bool(netloc := urlsplit(origin).netloc) and netloc == asked.headers.get("host")
        except ValueError:
            return False

    def _knows_token(self, asked: HTTPConnection) -> bool:
        scheme, _, shown = asked.headers.get("authorization", "").partition(" ")
        given = shown.strip() if scheme.lower() == "bearer" else asked.query_params.get("token", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def headers(self, asked: HTTPConnection) -> dict[str, str]:
        """Of a stream of events: for nobody's cache, and for the page that may read it."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", "vary": "origin"}
        origin = asked.headers.get("origin")
        return headers | ({"access-control-allow-origin": origin} if origin in self._origins else {})


class _Stream(Response):
    """Server-sent events, until the other side is gone or too slow."""

    def __init__(self, feed: Feed, request: Request) -> None:
        super().__init__(media_type="text/event-stream", headers=feed.headers(request))
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._feed = feed
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            begins = f"retry: 1000\n{_id_line(self._feed.beginning(self._request))}\n"
            with self._feed.reading(self._request) as reader:
                await self._serve(begins, reader, receive, send)
        except Full:
            full = _full()
            full.headers.update(self._feed.headers(self._request))
            await full(scope, receive, send)

    async def _serve(self, begins: str, reader: Reader, receive: Receive, send: Send) -> None:
        async def put(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(_STUCK_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        async def send_all() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await put(begins.encode("utf-8", "replace"))
            async with aclosing(self._feed.items(reader)) as items:
                async for item in items:
                    # A burst in one piece: a send costs ten times what an event does.
                    await put(b"".join(map(frame_of, (item, *reader.more(_AT_ONCE)))))
            await put(b"", more=False)

        async def beat() -> None:
            while True:
                await asyncio.sleep(_BEAT_S)
                await put(b":\n\n")

        async def hear() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await self._feed.attended(reader, self._request.client, send_all(), beat(), hear())


async def attend(
    sink: FeedSink, reader: Reader, abort: Callable[[], None], sending: _Work, *beside: _Work
) -> bool:
    """Send until all is sent (True) or something `beside` ends; a reader that is too slow is cut."""
    send, *others = [asyncio.ensure_future(work) for work in (sending, *beside, reader.slow())]
    try:
        await asyncio.wait({send, *others}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (send, *others):
            task.cancel()
        ends = await asyncio.gather(send, *others, return_exceptions=True)
    if any(isinstance(end, TimeoutError) for end in ends):
        sink.drop(reader)
    if reader.too_slow:
        abort()
        return False
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, OSError | WebSocketDisconnect):
            raise end
    return ends[0] is None


def frame_of(item: Item) -> bytes:
    """A server-sent event. Source: WHATWG HTML, "Server-sent events".

    The id, which a browser sends back when it comes again, is left out where it would mean nothing then: of a
    partial, and where it is more than one line.
    """
    head = _id_line(item.event.id) if item.resumable else ""
    return f"{head}data: {item.text}\n\n".encode("utf-8", "replace")


def _id_line(name: str) -> str:
    return "" if any(end in name for end in "\r\n\0") else f"id: {name}\n"


def wanted(asked: HTTPConnection) -> Wanted:
    """The filter that a query states; what is given twice means either."""
    values = asked.query_params.getlist
    given = {field: frozenset(values(name)) for name, field in _FILTERS.items()}
    # In a query a plus means a space, with which no number begins; and a Mac spells Hangul letter by letter.
    numbers = {f"+{one[1:]}" if one.startswith(" ") else one for one in given["parties"]}
    rules = {unicodedata.normalize("NFC", one) for one in given["rules"]}
    return Wanted(given["calls"], given["rules"] | rules, frozenset(numbers))


def _after(asked: HTTPConnection) -> str:
    """The last event that was had, "" for none. A browser that comes again says it in a header, in UTF-8."""
    header = asked.headers.get("last-event-id", "")
    with suppress(UnicodeError):
        header = header.encode("latin-1").decode()
    return header or asked.query_params.get("after", "")


def _foreign() -> Response:
    return JSONResponse({"error": "this page's origin may not read the feed; see origins"}, 403)


def _full() -> Response:
    return JSONResponse({"error": "there are too many readers; come again"}, 503, {"retry-after": "5"})
