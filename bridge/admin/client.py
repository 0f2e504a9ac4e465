"""The other end of the control channel: one request to the daemon that runs here."""

from pathlib import Path
from typing import Any

import httpx

_TIMEOUT_S = 10.0


class NoAnswer(Exception):
    """What stood in the way, with the mend, in a line for a person."""


def ask(socket: Path, path: str, name: str | None = None) -> dict[str, Any]:
    """GET `path`, or with a `name` POST it there; the JSON object that came. Raises NoAnswer."""
    transport = httpx.HTTPTransport(uds=str(socket))
    try:
        with httpx.Client(transport=transport, base_url="http://bridge", timeout=_TIMEOUT_S) as http:
            answer = http.get(path) if name is None else http.post(path, json={"name": name})
            document = answer.json()
    except httpx.TimeoutException:
        raise NoAnswer(f"the daemon at {socket} does not answer; see its log") from None
    except httpx.TransportError as error:
        raise NoAnswer(_why(socket, error)) from None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NoAnswer(f"what answers at {socket} is no rtzr-bridge; give another --socket")
    if answer.is_error:
        raise NoAnswer(str(document.get("error", f"refused with {answer.status_code}")))
    return document


def _why(socket: Path, error: httpx.TransportError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PermissionError):
            return f"{socket} is not this user's; run it as the daemon's user, or with sudo"
        cause = cause.__cause__ or cause.__context__
    return f"no daemon answers at {socket}; is it running, with this admin.socket in its configuration?"
