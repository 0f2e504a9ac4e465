"""The control channel: what commands ask of the running daemon, as HTTP on a Unix socket.

What a request means and how the answer is written. What waits is the outbox's, who sends it `Delivery`'s.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_LONGEST = 4096


class Backlog(Protocol):
    """What waits for an endpoint."""

    @property
    def waiting(self) -> int: ...
    @property
    def since(self) -> float | None:
        """Unix seconds of the oldest."""
        ...

    @property
    def error(self) -> str:
        """How the last try failed."""
        ...


class Waits(Protocol):
    """The part of the outbox that is needed."""

    @property
    def degraded(self) -> str: ...
    async def counts(self) -> Mapping[str, Backlog]: ...
    async def drop(self, endpoint: str) -> int: ...


class Status(Protocol):
    """How it goes with an endpoint."""

    @property
    def state(self) -> str:
        """delivering; waiting: it failed, and is left alone for a while; gone: it wants nothing any more."""
        ...

    @property
    def error(self) -> str: ...
    @property
    def retry_in_s(self) -> float: ...


class Delivers(Protocol):
    """Who sends to an endpoint."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> Status: ...
    def retry(self) -> None:
        """Try everything now, also where the receiver wants nothing any more."""
        ...

    async def drop(self) -> int:
        """Give up all that waits: how many."""
        ...


class Control:
    """The routes."""

    def __init__(self, outbox: Waits | None, deliveries: Sequence[Delivers]) -> None:
        self._outbox = outbox
        self._deliveries = {delivery.name: delivery for delivery in deliveries}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/deliveries", self._show),
                Route("/deliveries/retry", self._retry, methods=["POST"]),
                Route("/deliveries/drop", self._drop, methods=["POST"]),
            ]
        )

    async def _show(self, _request: Request) -> Response:
        if self._outbox is None:
            return JSONResponse({"outbox": False, "degraded": "", "deliveries": []})
        counts = await self._outbox.counts()
        shown = [_shown(name, counts[name], self._deliveries.get(name)) for name in sorted(counts)]
        return JSONResponse({"outbox": True, "degraded": self._outbox.degraded, "deliveries": shown})

    async def _retry(self, request: Request) -> Response:
        name = await _name(request)
        if name is None:
            return _unreadable()
        if name not in self._deliveries:
            return _unknown(name, self._deliveries)
        self._deliveries[name].retry()
        return JSONResponse({"name": name, "retried": True})

    async def _drop(self, request: Request) -> Response:
        name = await _name(request)
        if name is None:
            return _unreadable()
        counts = await self._outbox.counts() if self._outbox is not None else {}
        if self._outbox is None or name not in counts:
            return _unknown(name, counts)
        served = self._deliveries.get(name)
        dropped = await (self._outbox.drop(name) if served is None else served.drop())
        return JSONResponse({"name": name, "dropped": dropped})


def _shown(name: str, backlog: Backlog, served: Delivers | None) -> dict[str, Any]:
    since = None if backlog.since is None else datetime.fromtimestamp(backlog.since, UTC)
    status = None if served is None else served.status
    return {
        "name": name,
        "waiting": backlog.waiting,
        "since": None if since is None else since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "state": "unserved" if status is None else status.state,
        "why": "no such endpoint in the configuration" if status is None else status.error or backlog.error,
        "retry_in_s": 0 if status is None else round(status.retry_in_s, 1),
    }


async def _name(request: Request) -> str | None:
    """The `name` of the body, None where there is none."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


def _unreadable() -> Response:
    return JSONResponse({"error": 'the body is not {"name": "..."}'}, 400)


def _unknown(name: str, known: Mapping[str, object]) -> Response:
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    return JSONResponse({"error": f"{name[:100]}: no such endpoint; {there}"}, 404)
