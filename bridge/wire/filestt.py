"""RTZR's file API as bytes and values: the job's configuration, and the answers about it.

The source is RTZR's public documentation (developers.rtzr.ai, "File STT"). No socket here; what a refused
request means is `bridge.wire.rtzr.refusal`'s affair, and when to ask again the caller's.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.wire.rtzr import RtzrError

_FLAGS = ("use_itn", "use_disfluency_filter", "use_profanity_filter")
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
"""What can stand in a path: RTZR's ids are of these characters."""
_MAX_MS = 1 << 40


class Doubtful(Exception):
    """The file was sent and no answer came back: the job may or may not exist."""


class Status(StrEnum):
    TRANSCRIBING = "transcribing"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance of a file; times in milliseconds from the file's beginning."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """How far a job is; `utterances` only when it is completed."""

    status: Status
    utterances: tuple[Utterance, ...] = field(default=(), repr=False)


def request_config(stream_options: Mapping[str, str]) -> str:
    """The `config` of a job that is to be recognised as the streams are: their options in its words.

    What is not said is the stream's default where the two differ: `domain` CALL, no filter of disfluencies.
    """
    model = stream_options.get("model_name", "sommers_ko")
    name, _, language = model.partition("_")
    config: dict[str, Any] = {
        "model_name": name,
        "language": stream_options.get("language", language or "ko")
        if name == "whisper"
        else language or "ko",
        "domain": "CALL" if stream_options.get("domain", "CALL") == "CALL" else "GENERAL",
        "use_disfluency_filter": False,
    }
    config.update({flag: stream_options[flag] == "true" for flag in _FLAGS if flag in stream_options})
    if keywords := stream_options.get("keywords"):
        config["keywords"] = keywords.split(",")
    return json.dumps(config, ensure_ascii=False)


def parse_created(body: bytes) -> str:
    """The id of the job that a POST made. Raises RtzrError."""
    name = _object(body).get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise RtzrError("the answer to a file has no usable 'id'")
    return name


def parse_state(body: bytes) -> State:
    """The answer about a job. Raises RtzrError; its text holds nothing that was said."""
    answer = _object(body)
    try:
        status = Status(str(answer.get("status")))
    except ValueError:
        raise RtzrError("the answer about a file has no known 'status'") from None
    if status is not Status.COMPLETED:
        return State(status)
    results = answer.get("results")
    utterances = results.get("utterances") if isinstance(results, dict) else None
    if not isinstance(utterances, list):
        raise RtzrError("the answer about a completed file has no list of utterances")
    return State(status, tuple(_utterance(item) for item in utterances))


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise RtzrError("the answer about a file is not JSON") from None
    if not isinstance(answer, dict):
        raise RtzrError("the answer about a file is not an object")
    return answer


def _utterance(item: object) -> Utterance:
    if not isinstance(item, dict) or not isinstance(text := item.get("msg", ""), str):
        raise RtzrError("an utterance of a file is of another kind")
    start = _milliseconds(item.get("start_at", 0))
    # JSON can hold half a surrogate pair, UTF-8 cannot, and every sink writes UTF-8.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Utterance(whole, start, start + _milliseconds(item.get("duration", 0)))


def _milliseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_MS:
        raise RtzrError("a time of an utterance of a file is not a non-negative number")
    return int(value)
