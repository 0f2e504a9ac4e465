"""Pause and resume over the control channel: `POST /calls/ID/pause` and `/calls/ID/resume`.

Which call is meant, and the answer; what a pause does is `bridge.calls.pauses`' concern.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.types import CallId
from bridge.wire.wishes import By

_SHOWN = 100
"""Characters of an id that is told back."""


class Board(Protocol):
    """The part of `bridge.calls.switchboard.Switchboard` that is needed."""

    @property
    def leg_ids(self) -> Collection[str]:
        """`call/channel` of each leg that runs."""

    def pause(self, call: CallId, paused: bool, by: By = ..., who: str = ...) -> bool: ...


Shown = Callable[[CallId], Mapping[str, Any]]
"""What is known of a call, as JSON."""


class Pausing:
    """The routes; set `board` once there is one."""

    def __init__(self, shown: Shown = lambda _call: {}) -> None:
        """`shown`: what else is told of a call in the answer."""
        self._shown = shown
        self.board: Board | None = None

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/calls/{id:path}/pause", self._pause, methods=["POST"]),
            Route("/calls/{id:path}/resume", self._resume, methods=["POST"]),
        ]

    async def _pause(self, request: Request) -> Response:
        return self._order(request, paused=True)

    async def _resume(self, request: Request) -> Response:
        return self._order(request, paused=False)

    def _order(self, request: Request, *, paused: bool) -> Response:
        id_, who = request.path_params["id"], request.client.host if request.client else ""
        if self.board is None:
            return JSONResponse({"error": "the daemon is only starting; try it again"}, 503)
        calls = calls_of(id_, self.board.leg_ids)
        if len(calls) > 1:
            there = ", ".join(calls[:5])
            return JSONResponse({"error": f"{id_[:_SHOWN]}: {len(calls)} calls begin so: {there}"}, 409)
        if not calls or not self.board.pause(calls[0], paused, By.COMMAND, who):
            return JSONResponse({"error": f"{id_[:_SHOWN]}: no such call is live"}, 404)
        return JSONResponse({**self._shown(calls[0]), "id": calls[0], "paused": paused})


def calls_of(id_: str, leg_ids: Collection[str]) -> list[CallId]:
    """The calls that `id_` may mean: of that id, or with an id, or a leg's, that begins so."""
    legs = [leg.partition("/") for leg in leg_ids]
    if any(call == id_ for call, _, _ in legs):
        return [id_]
    if not id_:
        return []
    return sorted({call for call, slash, channel in legs if _begins(id_, call + slash + channel, channel)})


def _begins(id_: str, *names: str) -> bool:
    return any(name.startswith(id_) for name in names)
