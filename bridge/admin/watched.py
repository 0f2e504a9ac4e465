"""What is asked of the running daemon about its calls: those there are, one with its timeline, how all does,
and events as they come. Also the order to let calls finish and end.

What a request means and how the answer is written; what is known of calls is `bridge.watching`'s.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.outbox.outbox import Outbox
from bridge.watching.book import Several, WatchedCall
from bridge.watching.paged import owed
from bridge.watching.status import Delivering, Status
from bridge.watching.watch import Full, Watch


class Watched:
    """The routes."""

    def __init__(
        self,
        watch: Watch,
        status: Status,
        deliveries: Delivering | None,
        outbox: Outbox | None,
        stop: Callable[[], None],
    ) -> None:
        """`stop`: end as after SIGTERM."""
        self._watch = watch
        self._status = status
        self._deliveries = deliveries
        self._outbox = outbox
        self._stop = stop

    def routes(self) -> list[Route]:
        return [
            Route("/calls", self._calls),
            Route("/calls/{id:path}", self._call),
            Route("/status", self._all),
            Route("/tail", self._tail),
            Route("/drain", self._drain, methods=["POST"]),
        ]

    async def _calls(self, _request: Request) -> Response:
        return JSONResponse({"calls": self._watch.calls()})

    async def _call(self, request: Request) -> Response:
        call = self._found(request.path_params["id"])
        if isinstance(call, Response):
            return call
        waiting = await owed(self._deliveries, self._outbox, call.id)
        return JSONResponse(self._watch.story(call) | {"deliveries": waiting})

    async def _all(self, _request: Request) -> Response:
        return JSONResponse(await self._status.asked(self._watch, self._deliveries))

    async def _drain(self, _request: Request) -> Response:
        legs = self._watch.book.legs
        self._stop()
        return JSONResponse({"legs": legs})

    async def _tail(self, request: Request) -> Response:
        wanted = request.query_params.get("call")
        call = None if wanted is None else self._found(wanted)
        if isinstance(call, Response):
            return call
        return StreamingResponse(self._stream(call), media_type="text/event-stream")

    async def _stream(self, call: WatchedCall | None) -> AsyncIterator[str]:
        """Server-sent events, the JSON of an event each; who is one too many is told so in the only one."""
        yield ": what follows comes as it happens\n\n"
        try:
            async with aclosing(self._watch.follow(call)) as events:
                async for event in events:
                    yield f"data: {json.dumps(event.as_json(), ensure_ascii=False)}\n\n"
                    await asyncio.sleep(0)  # whether the reader is still there is told between two events
        except Full as full:
            yield f"event: error\ndata: {json.dumps({'error': str(full)})}\n\n"

    def _found(self, beginning: str) -> WatchedCall | Response:
        try:
            call = self._watch.find(beginning)
        except Several as several:
            return JSONResponse({"error": f"{beginning[:100]}: several begin so: {several}"}, 409)
        if call is None:
            why = "no call here, nor among those that ended last; rtzr-bridge calls lists them"
            return JSONResponse({"error": f"{beginning[:100]}: {why}"}, 404)
        return call
