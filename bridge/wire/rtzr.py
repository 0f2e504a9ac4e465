"""RTZR's streaming protocol as bytes and values: URLs, messages, results, refusals.

The source is RTZR's public documentation (developers.rtzr.ai, "Streaming STT" and "Authentication"). No
socket here, and no decision about retrying: a refusal only says what kind it is.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import urlencode

from bridge.types import Codec, Token

FINALIZE = '{"type":"Finalize"}'
"""Ends the utterance, keeps the socket; never acknowledged."""
EOS = "EOS"
"""Ends the stream: the remaining finals come, then close 1000."""

_TOKEN = re.compile(r"[!-~]{1,8192}")
"""What can stand in an Authorization header."""
_MAX_MESSAGE = 1 << 20
_MAX_MS = 1 << 40


class RtzrError(ValueError):
    """A message that is not RTZR's protocol. Its text never holds a transcript or a token."""


class Verdict(Enum):
    """What a refusal asks of us."""

    FATAL = "fatal"
    """Repeating the request cannot help: wrong parameters, no permission, wrong address."""
    RENEW = "renew"
    """The token is not accepted: get a new one, once."""
    WAIT = "wait"
    """Channels full, maintenance or an error on RTZR's side: back off."""


class Refused(Exception):
    """RTZR answered a request with an HTTP error status."""

    def __init__(self, status: int, code: str, msg: str) -> None:
        super().__init__(f"RTZR answered {status} {code} {msg}".strip())
        self.status = status
        self.code = code
        self.msg = msg

    def __reduce__(self) -> tuple[type["Refused"], tuple[int, str, str]]:
        return Refused, (self.status, self.code, self.msg)  # a worker tells it to the daemon, and back

    @property
    def verdict(self) -> Verdict:
        if self.status == 401:
            return Verdict.RENEW
        return Verdict.FATAL if 300 <= self.status < 500 and self.status not in (408, 429) else Verdict.WAIT


class Unreachable(Exception):
    """RTZR could not be reached, or what answered was not RTZR; another try may help."""


@dataclass(frozen=True, slots=True)
class Took:
    """Where the time went until a session was open, in milliseconds."""

    token_ms: int
    connect_ms: int
    """From the dial to the answer of the WebSocket handshake."""

    def parts(self, whole_ms: int) -> dict[str, int]:
        """Of `whole_ms`, with what is left of it: the wait for a channel."""
        wait_ms = max(0, whole_ms - self.token_ms - self.connect_ms)
        return {"wait_ms": wait_ms, "token_ms": self.token_ms, "connect_ms": self.connect_ms}


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a final; times in session milliseconds."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Result:
    """One partial or final; times in session milliseconds (audio sent on this socket)."""

    seq: int
    start_ms: int
    end_ms: int
    final: bool
    text: str = field(repr=False)
    words: tuple[SpokenWord, ...] = field(default=(), repr=False)

    @property
    def reach_ms(self) -> int:
        """Up to where it tells: its end, or its last word's where no duration was given."""
        return max(self.end_ms, self.words[-1].end_ms) if self.words else self.end_ms


def stream_url(base: str, codec: Codec, options: Mapping[str, str]) -> str:
    """The WebSocket address with its query, percent-encoded as UTF-8 (Hangul keywords among them)."""
    query = {"sample_rate": str(codec.rate), "encoding": codec.rtzr, **options}
    return f"{base}?{urlencode(query)}"


def parse(message: str | bytes) -> Result:
    """Read one message of the stream. Raises RtzrError."""
    if len(message) > _MAX_MESSAGE:
        raise RtzrError(f"message of {len(message)} characters, at most {_MAX_MESSAGE} expected")
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        raise RtzrError("message is not JSON") from None
    if not isinstance(body, dict):
        raise RtzrError(f"message is {type(body).__name__}, an object was expected")
    return _result(body)


def _result(body: dict[str, Any]) -> Result:
    final = body.get("final")
    if not isinstance(final, bool):
        raise RtzrError("message has no boolean 'final'")
    start = _milliseconds(body, "start_at")
    best = _best(body.get("alternatives"))
    words = tuple(_word(word, start) for word in _objects(best.get("words")))
    return Result(
        seq=_milliseconds(body, "seq"),
        start_ms=start,
        end_ms=start + _milliseconds(body, "duration"),
        final=final,
        text=_text(best),
        words=words,
    )


def _best(alternatives: object) -> dict[str, Any]:
    """The first alternative; finals without any have been seen and are empty utterances."""
    return next(iter(_objects(alternatives)), {})


def _objects(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RtzrError("message has a list with something else than objects")
    return value


def _word(word: dict[str, Any], sentence_start: int) -> SpokenWord:
    """Word times are relative to the sentence; `|` marks the word's end for spacing and is not text."""
    start = sentence_start + _milliseconds(word, "start_at")
    confidence = word.get("confidence", 0.0)
    # Bounded, for JSON also knows NaN, Infinity and integers that no float holds.
    if (
        isinstance(confidence, bool)
        or not isinstance(confidence, int | float)
        or not abs(confidence) < _MAX_MS
    ):
        raise RtzrError("a word's confidence is not a number")
    text = _text(word).replace("|", "")
    return SpokenWord(text, start, start + _milliseconds(word, "duration"), float(confidence))


def _text(body: dict[str, Any]) -> str:
    text = body.get("text", "")
    if not isinstance(text, str):
        raise RtzrError("'text' is not a string")
    # JSON can hold half a surrogate pair, UTF-8 cannot, and every sink writes UTF-8.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _milliseconds(body: dict[str, Any], key: str) -> int:
    value = body.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_MS:
        raise RtzrError(f"'{key}' is not a non-negative number")
    return int(value)


def parse_token(body: bytes) -> Token:
    """The answer of `POST /v1/authenticate`. Raises RtzrError."""
    try:
        answer = json.loads(body)
        value, expires = answer["access_token"], answer["expire_at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RtzrError("the answer to authentication has no access_token and expire_at") from None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or isinstance(expires, bool):
        raise RtzrError("the answer to authentication has an access_token of another kind")
    if not isinstance(expires, int | float) or not 0 <= expires < _MAX_MS:
        raise RtzrError("the answer to authentication has an expire_at that is no time")
    return Token(value, float(expires))


def refusal(status: int, body: bytes) -> Refused:
    """The error that an HTTP answer other than success stands for: `{"code", "msg"}`, or whatever came."""
    try:
        answer = json.loads(body[:4096])
        code, msg = str(answer.get("code", "")), str(answer.get("msg", ""))
    except (ValueError, AttributeError, RecursionError):
        code, msg = "", ""
    return Refused(status, code[:16], "".join(c for c in msg[:120] if c.isprintable()))
