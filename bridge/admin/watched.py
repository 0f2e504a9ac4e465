"""What is asked of the running daemon about its calls: those there are, one with its timeline, how all does,
and events as they come. Also the order to let calls finish and end.

What a request means and how the answer is written; what is known of calls is `bridge.watching`'s.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.outbox.outbox import Outbox
from bridge.watching.book import Several, WatchedCall
from bridge.watching.paged import Delivering, owed
from bridge.watching.shown import call_json, timeline_json
from bridge.watching.status import Status
from bridge.watching.watch import Full, Watch
from bridge.wire.watched import LegState


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
        self._watch.catch_up()
        now_s = self._watch.unix_s
        return JSONResponse({"calls": [call_json(call, now_s) for call in self._watch.book]})

    async def _call(self, request: Request) -> Response:
        call = self._found(request.path_params["id"])
        if isinstance(call, Response):
            return call
        shown = call_json(call, self._watch.unix_s) | timeline_json(call)
        return JSONResponse(shown | {"deliveries": await owed(self._deliveries, self._outbox, call.id)})

    async def _all(self, _request: Request) -> Response:
        self._watch.catch_up()
        waiting = 0 if self._deliveries is None else sum(r.waiting for r in await self._deliveries.report())
        return JSONResponse(self._status.as_json(self._watch.book, waiting))

    async def _drain(self, _request: Request) -> Response:
        live = self._watch.book.live
        legs = sum(leg.state is not LegState.ENDED for call in live for leg in call.legs.values())
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
        except Full as full:
            yield f"event: error\ndata: {json.dumps({'error': str(full)})}\n\n"

    def _found(self, beginning: str) -> WatchedCall | Response:
        self._watch.catch_up()
        try:
            call = self._watch.book.find(beginning)
        except Several as several:
            return JSONResponse({"error": f"{beginning[:100]}: several begin so: {several}"}, 409)
        if call is None:
            why = "no call here, nor among those that ended last; rtzr-bridge calls lists them"
            return JSONResponse({"error": f"{beginning[:100]}: {why}"}, 404)
        return call
