"""RTZR's file API in the emulator: files heard by the same recogniser, jobs with their states.

Bytes and requests in, answers out. Who may ask and the routes are in `server`; what is heard in `engine`.
Nothing here prints or logs.
"""

import asyncio
import io
import json
import math
import re
import secrets
import wave
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from bridge.emulator.engine import Engine
from bridge.emulator.knobs import Knobs
from bridge.emulator.query import Encoding, StreamQuery

MAX_BODY_BYTES = 256 << 20
MAX_JOBS = 10_000
"""The oldest is forgotten beyond: an emulator runs for days."""
MODELS = ("sommers", "whisper")
DOMAINS = ("GENERAL", "CALL")
_FLAGS = ("use_itn", "use_disfluency_filter", "use_profanity_filter", "use_diarization", "use_word_timestamp")
_KEYWORD = re.compile(r"[가-힣ㄱ-ㅎㅏ-ㅣ ]{1,20}(:[+-]?[0-9](\.[0-9]+)?)?")


class FileError(ValueError):
    """The file is to be refused with 400 H0001; the text is the `msg`."""


@dataclass(frozen=True, slots=True)
class _Job:
    made_at: float
    """The loop's time."""
    failed: bool
    utterances: list[dict[str, Any]] = field(repr=False)


class Files:
    """The jobs of one emulator."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self.created = 0
        self.billed_s = 0.0
        """Seconds of audio of every file."""

    async def post(self, request: Request, knobs: Knobs) -> JSONResponse | None:
        """Makes a job; None where it was made and its maker is not to know (`file_lost_answer`)."""
        if knobs.file_max_jobs and self._at_work(knobs) >= knobs.file_max_jobs:
            return JSONResponse({"code": "A0002", "msg": "Too many concurrent requests"}, 429)
        try:
            body = await _body(request)
            parts = parse_multipart(request.headers.get("content-type", ""), body)
            check_config(parts.get("config"))
            utterances, seconds = await asyncio.to_thread(hear, parts.get("file", b""))
        except FileError as error:
            return JSONResponse({"code": "H0001", "msg": str(error)}, 400)
        name = self._create(utterances, seconds, knobs)
        return None if knobs.file_lost_answer else JSONResponse({"id": name})

    def get(self, name: str, knobs: Knobs) -> JSONResponse:
        job = self._jobs.get(name)
        if job is None:
            return JSONResponse({"code": "H0004", "msg": "not found"}, 404)
        answer: dict[str, Any] = {"id": name, "status": "transcribing"}
        if _is_done(job, knobs):
            answer["status"] = "failed" if job.failed else "completed"
            answer |= {} if job.failed else {"results": {"utterances": job.utterances}}
        return JSONResponse(answer)

    def _create(self, utterances: list[dict[str, Any]], seconds: float, knobs: Knobs) -> str:
        name = secrets.token_urlsafe(16)
        self._jobs[name] = _Job(asyncio.get_running_loop().time(), knobs.file_fail, utterances)
        self.created += 1
        self.billed_s += seconds
        if len(self._jobs) > MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return name

    def _at_work(self, knobs: Knobs) -> int:
        return sum(not _is_done(job, knobs) for job in self._jobs.values())


def _is_done(job: _Job, knobs: Knobs) -> bool:
    return asyncio.get_running_loop().time() - job.made_at >= knobs.file_delay_ms / 1000


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise FileError("file too large")
    return bytes(body)


def parse_multipart(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form by name (RFC 7578). Raises FileError."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise FileError("content type must be multipart/form-data")
    mark = b"\r\n--" + str(boundary).encode()
    _, *parts = (b"\r\n" + body).split(mark)
    if not parts or not parts[-1].startswith(b"--"):
        raise FileError("the form has no end")
    found: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = BytesParser().parsebytes(head.lstrip(b"\r\n")).get_param("name", None, "content-disposition")
        if isinstance(name, str):
            found[name] = content
    return found


def check_config(config: bytes | None) -> None:
    """What RTZR documents of a job's configuration (reference/rtzr.md, 9). Raises FileError."""
    try:
        given = json.loads(config or b"")
    except ValueError:
        raise FileError("config must be JSON") from None
    if not isinstance(given, dict):
        raise FileError("config must be an object")
    if given.get("model_name", "sommers") not in MODELS:
        raise FileError(f"model_name must be one of {', '.join(MODELS)}")
    if given.get("model_name") == "whisper" and not given.get("language"):
        raise FileError("language is required for whisper")
    if given.get("domain", "GENERAL") not in DOMAINS:
        raise FileError(f"domain must be one of {', '.join(DOMAINS)}")
    for flag in _FLAGS:
        if not isinstance(given.get(flag, False), bool):
            raise FileError(f"{flag} must be true or false")
    keywords = given.get("keywords", [])
    if not isinstance(keywords, list) or not all(_is_keyword(item) for item in keywords):
        raise FileError("keywords must be a list of Hangul words")


def _is_keyword(item: object) -> bool:
    return isinstance(item, str) and bool(_KEYWORD.fullmatch(item))


def hear(file: bytes) -> tuple[list[dict[str, Any]], float]:
    """The utterances of a WAV file of 16-bit mono PCM, and its seconds. Raises FileError."""
    try:
        with wave.open(io.BytesIO(file)) as audio:
            width, channels, rate = audio.getsampwidth(), audio.getnchannels(), audio.getframerate()
            pcm = audio.readframes(audio.getnframes())
    except (wave.Error, EOFError):
        raise FileError("file is not a WAV of linear PCM") from None
    if (width, channels) != (2, 1) or not 8000 <= rate <= 48000:
        raise FileError("this emulator hears 16-bit mono of 8000 to 48000 Hz only")
    engine = Engine(StreamQuery(rate, Encoding.LINEAR16), partial_ms=math.inf)
    engine.hear(pcm, 0)
    engine.eos(0)
    finals = [result for result in engine.due(math.inf) if result["final"]]
    return [_utterance(final) for final in finals], len(pcm) / 2 / rate


def _utterance(final: dict[str, Any]) -> dict[str, Any]:
    best = final["alternatives"][0]
    return {"start_at": final["start_at"], "duration": final["duration"], "msg": best["text"], "spk": 0}
