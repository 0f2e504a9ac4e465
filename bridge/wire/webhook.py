"""What is posted to a webhook, and what its answer means: CloudEvents in JSON, signed by Standard Webhooks.

No connection here. Sources: CloudEvents 1.0, JSON event format (3) and JSON batch format (4), with the HTTP
binding; Standard Webhooks 1.0.0, signature scheme and operational considerations.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from standardwebhooks import Webhook

from bridge.outbox.stored import Rejected, Stored
from bridge.wire.eventjson import utf8

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MOST_IN_BATCH = 100

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
"""Bytes of a key: Standard Webhooks."""
_LONGEST_WAIT_S = 24 * 3600.0
"""A receiver may ask for patience, not for being forgotten."""
_OK = range(200, 300)
_REDIRECT = range(300, 400)
_GONE = 410
_NOT_THIS = (400, 413, 422)
_NO_SUCH_TYPE = 415
_NO_BATCH = (*_NOT_THIS, _NO_SUCH_TYPE)


class SecretFault(ValueError):
    """A text that is no key; what it says holds no part of it."""


class BatchRefused(Rejected):
    """The receiver did not take a batch; it may take its events one by one."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status} to a batch", poison=True)
        self.for_good = status == _NO_SUCH_TYPE
        """It is not about these events: batches are nothing that it reads."""


@dataclass(frozen=True, slots=True)
class Post:
    """A request: what its body is, and the headers that vouch for it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


def key(secret: str) -> bytes:
    """The key that a secret stands for: base64, with or without `whsec_` before it. Raises SecretFault."""
    try:
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not _SHORTEST <= len(found) <= _LONGEST:
        raise SecretFault(
            f"is no key of a webhook: {_PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes; "
            f'make one with: echo "{_PREFIX}$(openssl rand -base64 32)"'
        )
    return found


def post(events: Sequence[Stored], keys: Sequence[bytes], at_unix: float) -> Post:
    """The request for these events, signed with every key: who knows one of them can verify it.

    `at_unix`: when it is tried, in seconds since 1970. One event is itself the body; several are a batch.
    """
    single = len(events) == 1
    body = events[0].body if single else b"[" + b",".join(event.body for event in events) + b"]"
    name = webhook_id([event.id for event in events])
    at = datetime.fromtimestamp(int(at_unix), UTC)
    signatures = [Webhook(one).sign(name, at, body.decode()) for one in keys]
    headers = (
        ("content-type", f"{SINGLE if single else BATCH}; charset=utf-8"),
        ("webhook-id", name),
        ("webhook-timestamp", str(int(at_unix))),
        ("webhook-signature", " ".join(signatures)),
    )
    return Post(headers, body)


def webhook_id(ids: Sequence[str]) -> str:
    """The same for the same events however often they are sent, and without a full stop.

    An event's own id will not do: it holds the PBX's names, and a full stop in it would let what is signed be
    cut in another place (Standard Webhooks, signature scheme).
    """
    digest = hashlib.sha256(utf8("\n".join(ids))).hexdigest()
    return f"{'msg' if len(ids) == 1 else 'batch'}_{digest[:32]}"


def judge(status: int, events: int, retry_after: str | None, date: str | None, now_unix: float) -> None:
    """Returns if the receiver has the `events` of a request; else raises Rejected or BatchRefused.

    `retry_after` and `date`: the headers, if they were there; `now_unix`: by our own clock.
    """
    if status in _OK:
        return
    wait_s = None if retry_after is None else waiting_s(retry_after, date, now_unix)
    if status == _GONE:
        raise Rejected("answered 410: it wants no more", gone=True)
    if status in _REDIRECT:
        raise Rejected(f"answered {status}: redirects are not followed; give the address it leads to")
    if events > 1 and status in _NO_BATCH:
        raise BatchRefused(status)
    raise Rejected(f"answered {status}", retry_after_s=wait_s, poison=status in _NOT_THIS)


def waiting_s(retry_after: str, date: str | None, now_unix: float) -> float | None:
    """Seconds that the header asks to wait, at most a day; None if it says nothing. RFC 9110, 10.2.3.

    A date is meant by the clock that wrote it, which is the answer's Date; `now_unix` only where that is
    missing: one of the two clocks may be wrong.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), _LONGEST_WAIT_S)
    until, now = _date(text), None if date is None else _date(date)
    if until is None:
        return None
    return min(max(0.0, until - (now_unix if now is None else now)), _LONGEST_WAIT_S)


def _date(text: str) -> float | None:
    """Seconds since 1970, or None for what is no date."""
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
