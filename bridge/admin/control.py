"""The control channel: what commands and supervisors ask of the running daemon, as HTTP on a Unix socket.

What a request means and how the answer is written; what is done then is `bridge.delivery.deliveries`', why
the daemon is not ready `bridge.readiness`', what the metrics are `bridge.metrics`'.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge import metrics
from bridge.delivery.deliveries import EndpointReport

_LONGEST = 4096


class Asked(Protocol):
    """The part of `bridge.delivery.deliveries` that is needed."""

    @property
    def degraded(self) -> str: ...
    async def report(self) -> list[EndpointReport]: ...
    def retry(self, name: str | None = None) -> bool: ...
    async def drop(self, name: str) -> int: ...


class Told(Protocol):
    """What came of a reload."""

    def as_json(self) -> dict[str, Any]: ...


class Reload(Protocol):
    """Of `bridge.reload.reloader`."""

    async def __call__(self, *, check: bool) -> Told: ...


class Control:
    """The routes. Without an outbox there are no deliveries."""

    def __init__(
        self,
        deliveries: Asked | None,
        reasons: Callable[[], list[str]] = list,
        reload: Reload | None = None,
    ) -> None:
        """`reasons`: why the daemon is not ready; none if it is. `reload`: have the YAML read again."""
        self._deliveries = deliveries
        self._reasons = reasons
        self._reload = reload

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", _alive),
                Route("/ready", self._ready),
                Route("/metrics", _metrics),
                Route("/deliveries", self._show),
                Route("/deliveries/retry", self._retry, methods=["POST"]),
                Route("/deliveries/drop", self._drop, methods=["POST"]),
                Route("/reload", self._reload_yaml, methods=["POST"]),
            ]
        )

    async def _ready(self, _request: Request) -> Response:
        reasons = self._reasons()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _show(self, _request: Request) -> Response:
        if self._deliveries is None:
            return JSONResponse({"outbox": False, "degraded": "", "deliveries": []})
        shown = [_shown(report) for report in await self._reports()]
        return JSONResponse({"outbox": True, "degraded": self._deliveries.degraded, "deliveries": shown})

    async def _retry(self, request: Request) -> Response:
        name = await _name(request)
        if name is None:
            return _unreadable()
        if self._deliveries is None or not self._deliveries.retry(name or None):
            return await self._unknown(name)
        return JSONResponse({"name": name, "retried": True})

    async def _drop(self, request: Request) -> Response:
        name = await _name(request)
        if not name:
            return _unreadable()
        known = name in [report.name for report in await self._reports()]
        if self._deliveries is None or not known:
            return await self._unknown(name)
        return JSONResponse({"name": name, "dropped": await self._deliveries.drop(name)})

    async def _reload_yaml(self, request: Request) -> Response:
        """With faults, too, it is an answer: nothing has changed then."""
        document = await _document(request)
        check = None if document is None else document.get("check", False)
        if not isinstance(check, bool):
            return JSONResponse({"error": 'the body is not {"check": true or false}'}, 400)
        if self._reload is None:
            return JSONResponse({"error": "this daemon cannot be reloaded"}, 404)
        return JSONResponse((await self._reload(check=check)).as_json())

    async def _reports(self) -> list[EndpointReport]:
        reports = [] if self._deliveries is None else await self._deliveries.report()
        return sorted(reports, key=lambda report: report.name)

    async def _unknown(self, name: str) -> Response:
        names = [report.name for report in await self._reports()]
        there = f"there are {', '.join(names)}" if names else "there is none"
        return JSONResponse({"error": f"{name[:100]}: no such endpoint; {there}".lstrip(": ")}, 404)


async def _alive(_request: Request) -> Response:
    """It answers, so it lives: for whoever would restart it, which mends nothing that `/ready` tells."""
    return PlainTextResponse("ok\n")


async def _metrics(_request: Request) -> Response:
    return Response(metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})


def _shown(report: EndpointReport) -> dict[str, Any]:
    began = datetime.now(UTC) - timedelta(seconds=report.waiting_s)
    since = began.isoformat(timespec="seconds").replace("+00:00", "Z") if report.waiting else None
    return asdict(report) | {"since": since}


async def _name(request: Request) -> str | None:
    """The `name` of the body, "" for all; None where there is neither."""
    document = await _document(request)
    name = None if document is None else document.get("name", "")
    return name if isinstance(name, str) else None


async def _document(request: Request) -> dict[str, Any] | None:
    """The body's JSON object, if it is one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _unreadable() -> Response:
    return JSONResponse({"error": 'the body is not {"name": "..."}'}, 400)
