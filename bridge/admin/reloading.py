"""A reload over the control channel: `POST /reload` with `{"check": true}` or `false`.

What the request means and how the answer is written; what a reload is, is `bridge.reload`'s.
"""

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.admin.body import body_of


class Told(Protocol):
    """What came of a reload."""

    def as_json(self) -> dict[str, Any]: ...


class Reload(Protocol):
    """Of `bridge.reload.reloader`."""

    async def __call__(self, *, check: bool) -> Told: ...


def reloading(reload: Reload) -> list[Route]:
    """The route. With faults, too, it is an answer: nothing has changed then."""

    async def answer(request: Request) -> Response:
        document = await body_of(request)
        check = None if document is None else document.get("check", False)
        if not isinstance(check, bool):
            return JSONResponse({"error": 'the body is not {"check": true or false}'}, 400)
        return JSONResponse((await reload(check=check)).as_json())

    return [Route("/reload", answer, methods=["POST"])]
