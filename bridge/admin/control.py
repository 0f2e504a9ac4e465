"""The control channel: what commands and supervisors ask of the running daemon, as HTTP on a Unix socket.

What a request means and how the answer is written; what is done then is `bridge.delivery.deliveries`'. What
is asked by supervisors too is in `bridge.admin.probes`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.admin.body import body_of
from bridge.admin.probes import probes
from bridge.delivery.deliveries import EndpointReport
from bridge.outbox.outbox import NotDropped


class Asked(Protocol):
    """The part of `bridge.delivery.deliveries` that is needed."""

    @property
    def degraded(self) -> str: ...
    async def report(self) -> list[EndpointReport]: ...
    def retry(self, name: str | None = None) -> bool: ...
    async def drop(self, name: str) -> int:
        """Raises NotDropped."""
        ...


class Control:
    """The routes. Without an outbox there are no deliveries."""

    def __init__(
        self,
        deliveries: Asked | None,
        reasons: Callable[[], list[str]] = list,
        more: Sequence[Route] = (),
    ) -> None:
        """`reasons`: why the daemon is not ready; none if it is. `more`: what else may be asked here."""
        self._deliveries = deliveries
        self._reasons = reasons
        self._more = more

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                *probes(self._reasons),
                Route("/deliveries", self._show),
                Route("/deliveries/retry", self._retry, methods=["POST"]),
                Route("/deliveries/drop", self._drop, methods=["POST"]),
                *self._more,
            ]
        )

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
        try:
            return JSONResponse({"name": name, "dropped": await self._deliveries.drop(name)})
        except NotDropped as error:
            return JSONResponse({"error": f"nothing was dropped: {error}"}, 503)

    async def _reports(self) -> list[EndpointReport]:
        reports = [] if self._deliveries is None else await self._deliveries.report()
        return sorted(reports, key=lambda report: report.name)

    async def _unknown(self, name: str) -> Response:
        names = [report.name for report in await self._reports()]
        there = f"there are {', '.join(names)}" if names else "there is none"
        return JSONResponse({"error": f"{name[:100]}: no such endpoint; {there}".lstrip(": ")}, 404)


def _shown(report: EndpointReport) -> dict[str, Any]:
    began = datetime.now(UTC) - timedelta(seconds=report.waiting_s)
    since = began.isoformat(timespec="seconds").replace("+00:00", "Z") if report.waiting else None
    return asdict(report) | {"since": since}


async def _name(request: Request) -> str | None:
    """The `name` of the body, "" where none is given, for all; None for an empty one or no object."""
    document = await body_of(request)
    if not document:
        return None if document is None else ""
    name = document.get("name")
    return name if isinstance(name, str) and name else None


def _unreadable() -> Response:
    return JSONResponse({"error": 'the body is not {"name": "..."}'}, 400)
