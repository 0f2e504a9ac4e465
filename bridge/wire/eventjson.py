"""An event as JSON: what every sink writes, and by what two of one id are told apart. Pure."""

import hashlib
import json
from typing import Any

from bridge.types import Event

_LATE = b'"late":true'


def encoded(event: Event) -> bytes:
    """The CloudEvents JSON object (RFC 8259: no NaN) on one line, UTF-8.

    Raises TypeError, ValueError and RecursionError where the event is no JSON, which is a fault of ours.
    """
    return utf8(_dumped(event.as_json()))


def utf8(text: str) -> bytes:
    """A lone surrogate, which UTF-8 cannot hold, becomes `\\udxxx`: in JSON, itself again."""
    return text.encode("utf-8", "backslashreplace")


def clean(text: str) -> str:
    """What UTF-8 can hold of a text that is no JSON, such as a key."""
    return utf8(text).decode()


def fingerprint(body: bytes) -> bytes:
    """16 bytes that are the same for the same event, and for no other.

    A late transcript may be told once more after a kill, at another time: that makes it no other one.
    """
    return hashlib.sha256(_timeless(body) if _LATE in body else body).digest()[:16]


def _timeless(body: bytes) -> bytes:
    try:
        whole = json.loads(body)
        data = {key: value for key, value in whole["data"].items() if key != "latency_ms"}
        return utf8(_dumped(whole | {"time": "", "data": data}))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return body  # it was damaged on the disk


def renamed(body: bytes, id_: str) -> bytes:
    """The same event under another id."""
    return utf8(_dumped(json.loads(body) | {"id": id_}))


def _dumped(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
