"""What a page that is open hears, as server-sent events: `state` once a second, `said` at once.

Nobody is waited for: a browser that does not read is cut, and begins anew when it comes back.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress

from starlette.datastructures import Address
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bridge.admin.feed import attend
from bridge.page.shown import Pulse, latest
from bridge.sinks.feed import FeedSink, Full, Reader, Wanted

TICK_S = 1.0
_STUCK_S = 30.0
"""How long one message may be on its way into the connection's buffer."""
_LASTS_S = 3600.0
"""A stream ends after an hour; the browser comes again, if it is still let in."""
_TOGETHER_S = 0.1
"""What is said in this time goes in one piece: a hundred pages of two hundred legs are to be borne."""
_AT_ONCE = 500
"""Events in one piece."""

Abort = Callable[[Address | None], None]
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Stream(Response):
    """For one page."""

    def __init__(
        self, sink: FeedSink, pulse: Pulse, shut: asyncio.Event, abort: Abort, client: Address | None
    ) -> None:
        """`shut`: set when it is to end, because who reads may not be let in any more."""
        super().__init__(media_type="text/event-stream", headers=_HEADERS)
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._sink = sink
        self._pulse = pulse
        self._shut = shut
        self._abort = abort
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._sink.reading(Wanted()) as reader:
                await self._serve(reader, receive, send)
        except Full:
            await JSONResponse({"error": "there are too many pages open"}, 503)(scope, receive, send)

    async def _serve(self, reader: Reader, receive: Receive, send: Send) -> None:
        async def put(text: str, *, more: bool = True) -> None:
            body = text.encode("utf-8", "replace")
            async with asyncio.timeout(_STUCK_S):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        async def send_all() -> None:
            async with aclosing(self._sink.follow(reader)) as items:
                async for item in items:
                    await asyncio.sleep(_TOGETHER_S)
                    events = latest(one.event for one in (item, *reader.more(_AT_ONCE)))
                    told = map(self._pulse.sayings.of, events)
                    if frames := "".join(_frame("said", text) for text in told if text is not None):
                        await put(frames)
            await put("", more=False)

        async def tick() -> None:
            version = 0
            while True:
                version, text = await self._pulse.since(version)
                await put(_frame("state", text))
                await asyncio.sleep(TICK_S)

        async def hear() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await put("retry: 1000\n\n")
        beside = (tick(), hear(), self._until_shut())
        await attend(self._sink, reader, lambda: self._abort(self._client), send_all(), *beside)

    async def _until_shut(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LASTS_S):
                await self._shut.wait()


def _frame(name: str, text: str) -> str:
    return f"event: {name}\ndata: {text}\n\n"
