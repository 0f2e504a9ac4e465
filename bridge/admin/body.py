"""What is posted to the control channel: one small JSON object."""

import json
from typing import Any

from starlette.requests import Request

_LONGEST = 4096


async def body_of(request: Request) -> dict[str, Any] | None:
    """The object, if it is one."""
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
