"""The other end of the control channel: one request to the daemon that runs here."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

_TIMEOUT_S = 10.0


class NoAnswer(Exception):
    """What stood in the way, with the mend, in a line for a person."""


def ask(path: Path, what: str, order: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
        raise NoAnswer(_no_json(path, answer.status_code))
    if answer.is_error:
        raise NoAnswer(str(document.get("error", f"refused with {answer.status_code}")))
    return document


async def follow(path: Path, what: str) -> AsyncGenerator[dict[str, Any], None]:
    """GET `what`, a stream of server-sent events, from the daemon that listens at `path`: the JSON object of
    each, until the daemon ends the stream or is gone. Raises NoAnswer."""
    _try(path)
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    timeout = httpx.Timeout(_TIMEOUT_S, read=None)
    try:
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://bridge", timeout=timeout) as http,
            _begun(http, what) as answer,
        ):
            if answer.is_error:
                raise NoAnswer(_refusal(path, await answer.aread(), answer.status_code))
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    document = json.loads(line.removeprefix("data: "))
                    if "error" in document:
                        raise NoAnswer(str(document["error"]))
                    yield document
    except httpx.RemoteProtocolError:
        return  # the daemon was killed
    except (httpx.TransportError, TimeoutError):
        raise NoAnswer(f"the daemon at {path} does not answer; see its log") from None
    except ValueError:
        raise NoAnswer(f"what answers at {path} is no rtzr-bridge; give another --socket") from None


@asynccontextmanager
async def _begun(http: httpx.AsyncClient, what: str) -> AsyncIterator[httpx.Response]:
    """A stream may be silent for as long as it likes, but not before it has begun. Raises TimeoutError."""
    async with asyncio.timeout(_TIMEOUT_S):
        answer = await http.send(http.build_request("GET", what), stream=True)
    async with aclosing(answer):
        yield answer


def _refusal(path: Path, body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return _no_json(path, status)


def _no_json(path: Path, status: int) -> str:
    """Why an answer is none that this command knows."""
    if status in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        return f"what answers at {path} does not know this command; start the daemon again after an upgrade"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return f"the daemon at {path} failed to answer ({status}); see its log"
    return f"what answers at {path} is no rtzr-bridge; give another --socket"


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
