"""The other end of the control channel: one request to the daemon that runs here."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

_TIMEOUT_S = 10.0


class NoAnswer(Exception):
    """What stood in the way, with the mend, in a line for a person."""


def ask(path: Path, what: str, order: Mapping[str, object] | None = None) -> dict[str, Any]:
    """GET `what` from the daemon that listens at `path`, or POST an `order` there; the JSON object that came.

    Raises NoAnswer.
    """
    _try(path)
    transport = httpx.HTTPTransport(uds=str(path))
    try:
        with httpx.Client(transport=transport, base_url="http://bridge", timeout=_TIMEOUT_S) as http:
            answer = http.get(what) if order is None else http.post(what, json=order)
            document = answer.json()
    except httpx.TransportError:
        raise NoAnswer(f"the daemon at {path} does not answer; see its log") from None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NoAnswer(f"what answers at {path} is no rtzr-bridge; give another --socket")
    if answer.is_error:
        raise NoAnswer(str(document.get("error", f"refused with {answer.status_code}")))
    return document


def _try(path: Path) -> None:
    """What stands in the way is told by the system; httpx would hide it, and leave the socket open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(_TIMEOUT_S)
        try:
            one.connect(str(path))
        except PermissionError:
            text = f"{path} is not this user's; run it as the daemon's user, or with sudo"
            raise NoAnswer(text) from None
        except OSError:
            text = f"no daemon answers at {path}; is it running, with this admin.socket in its configuration?"
            raise NoAnswer(text) from None
