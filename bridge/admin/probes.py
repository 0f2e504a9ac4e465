"""What supervisors and Prometheus ask of the daemon, on the control channel and on a port of its own.

Nothing here says anything about a call or a party, so that it may be asked without a password. Why the daemon
is not ready is `bridge.readiness`', what the metrics are `bridge.metrics`'.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge import metrics


def probes(reasons: Callable[[], list[str]]) -> list[Route]:
    """`/health`, `/ready` and `/metrics`. `reasons`: why the daemon is not ready; none if it is."""

    async def ready(_request: Request) -> Response:
        found = reasons()
        return JSONResponse({"ready": not found, "reasons": found}, 503 if found else 200)

    return [Route("/health", _alive), Route("/ready", ready), Route("/metrics", _metrics)]


async def _alive(_request: Request) -> Response:
    """It answers, so it lives: for whoever would restart it, which mends nothing that `/ready` tells."""
    return PlainTextResponse("ok\n")


async def _metrics(_request: Request) -> Response:
    return Response(metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})
