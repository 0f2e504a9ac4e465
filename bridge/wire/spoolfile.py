"""What the spool writes on disk, as bytes and values: records of audio and marks, WAV files, jobs.

Pure: who writes, when and where is in `bridge.spool.journal` and `bridge.spool.jobs`. A file of records may
be cut at any byte, by a crash or a full disk: what is whole before the cut is read, the rest is not there.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from hashlib import sha256
from typing import Any

from bridge.types import Codec, Frame, LegId, Party, Role
from bridge.wire import g711

_HEAD = struct.Struct("<BII")
"""Kind, size of the body, checksum of both and the body."""
_AT = struct.Struct("<d")
_RANGE = struct.Struct("<dd")
_LONGEST_BODY = 1 << 20
_TOUCHING_MS = 1.0
"""Ranges this near are one: call times are sums of fractions."""
_MOST_SPANS = 1000
_WAV = struct.Struct("<4sI4s4sIHHIIHH4sI")
_LOOK_BACK_MS = 30_000.0
_QUIET_STEP_MS = 20
_QUIET_STEPS = 10


class Kind(IntEnum):
    LEG = 1
    AUDIO = 2
    COVERED = 3
    LOST = 4
    TAKEN = 5
    CLOSED = 6


@dataclass(frozen=True, slots=True)
class LegHead:
    """Whose audio it is."""

    leg: LegId
    party: Party
    codec: Codec
    began: float
    """Unix seconds of call time 0."""
    rule: str | None = None
    """Which chose its call, "" for none; None where that was not written down."""


@dataclass(frozen=True, slots=True)
class Covered:
    """Everything before this call time has been told."""

    call_ms: float


@dataclass(frozen=True, slots=True)
class Lost:
    """This range will not be streamed."""

    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class Taken:
    """This range's audio is in the job."""

    start_ms: float
    end_ms: float
    job: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The leg ended in order: only what was lost is still wanted."""


Record = LegHead | Frame | Covered | Lost | Taken | Closed


def pack(record: Record) -> bytes:
    """The record's bytes, to be appended to a file. Raises ValueError for one of more than a megabyte."""
    kind, body = _body(record)
    if len(body) > _LONGEST_BODY:
        raise ValueError(f"record of {len(body)} bytes")
    return _HEAD.pack(kind, len(body), _checksum(kind, body)) + body


def unpack(data: bytes) -> Iterator[Record]:
    """The records up to the first that is not whole and sound."""
    at = 0
    while at + _HEAD.size <= len(data):
        kind, size, checksum = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        body = data[at : at + size]
        if size > _LONGEST_BODY or len(body) < size or checksum != _checksum(kind, body):
            return
        try:
            record = _record(kind, body)
        except (ValueError, KeyError, TypeError, struct.error):
            return
        yield record
        at += size


def _checksum(kind: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<BI", kind, len(body))))


def _body(record: Record) -> tuple[Kind, bytes]:
    match record:
        case Frame():
            return Kind.AUDIO, _AT.pack(record.at_ms) + record.payload
        case Covered():
            return Kind.COVERED, _AT.pack(record.call_ms)
        case Lost():
            return Kind.LOST, _RANGE.pack(record.start_ms, record.end_ms)
        case Taken():
            return Kind.TAKEN, _RANGE.pack(record.start_ms, record.end_ms) + record.job.encode()
        case Closed():
            return Kind.CLOSED, b""
        case LegHead():
            return Kind.LEG, json.dumps(_leg_as_json(record)).encode()


def _record(kind: int, body: bytes) -> Record:
    """Raises ValueError, KeyError, TypeError and struct.error for a body of another kind."""
    match Kind(kind):
        case Kind.AUDIO:
            return Frame(body[_AT.size :], _AT.unpack_from(body)[0])
        case Kind.COVERED:
            return Covered(*_AT.unpack(body))
        case Kind.LOST:
            return Lost(*_RANGE.unpack(body))
        case Kind.TAKEN:
            start_ms, end_ms = _RANGE.unpack_from(body)
            return Taken(start_ms, end_ms, body[_RANGE.size :].decode())
        case Kind.CLOSED:
            return Closed()
        case Kind.LEG:
            return _leg_of_json(json.loads(body))


def _leg_as_json(head: LegHead) -> dict[str, Any]:
    return {
        "call": head.leg.call,
        "channel": head.leg.channel,
        "party": asdict(head.party),
        "codec": head.codec.label,
        "began": head.began,
    } | ({} if head.rule is None else {"rule": head.rule})


def _leg_of_json(body: dict[str, Any]) -> LegHead:
    party, rule = body["party"], body.get("rule")
    return LegHead(
        LegId(str(body["call"]), str(body["channel"])),
        Party(Role(party["role"]), str(party["number"]), str(party["name"]), str(party.get("channel", ""))),
        Codec.of(body["codec"]),
        float(body["began"]),
        None if rule is None else str(rule),
    )


class Spans:
    """Ranges of call time, in order, none touching another. Bounded: of too many, the last two become one."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def add(self, start_ms: float, end_ms: float) -> None:
        """An empty range, or one that is no range at all, adds nothing."""
        if not start_ms < end_ms:
            return
        apart, start, end = [], start_ms, end_ms
        for s, e in self._spans:
            if e + _TOUCHING_MS < start_ms or end_ms + _TOUCHING_MS < s:
                apart.append((s, e))
            else:
                start, end = min(start, s), max(end, e)
        self._spans = sorted([*apart, (start, end)])
        if len(self._spans) > _MOST_SPANS:
            (start, _), (_, end) = self._spans[-2:]
            self._spans[-2:] = [(start, end)]

    def remove(self, start_ms: float, end_ms: float) -> None:
        """An empty range, or one that is no range at all, removes nothing."""
        if not start_ms < end_ms:
            return
        cut = [(s, min(e, start_ms)) for s, e in self._spans]
        cut += [(max(s, end_ms), e) for s, e in self._spans]
        self._spans = sorted((s, e) for s, e in cut if s < e)

    def copy(self) -> "Spans":
        same = Spans()
        same._spans = list(self._spans)
        return same

    def overlaps(self, start_ms: float, end_ms: float) -> bool:
        return any(s < end_ms and start_ms < e for s, e in self._spans)

    def within(self, start_ms: float, end_ms: float) -> Iterator[tuple[float, float]]:
        """The parts of the ranges that lie in this one."""
        parts = ((max(s, start_ms), min(e, end_ms)) for s, e in self._spans)
        return ((s, e) for s, e in parts if s < e)

    @property
    def start_ms(self) -> float:
        """Where the first begins; 0 for none."""
        return self._spans[0][0] if self._spans else 0.0

    @property
    def end_ms(self) -> float:
        """Where the last ends; 0 for none."""
        return self._spans[-1][1] if self._spans else 0.0

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return iter(tuple(self._spans))

    def __bool__(self) -> bool:
        return bool(self._spans)


@dataclass(slots=True)
class Piece:
    """Audio for one job: 16-bit PCM whose every sample lies where call time says, holes are silence."""

    start_ms: float
    rate: int
    pcm: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def ms(self) -> float:
        return len(self.pcm) / 2 * 1000 / self.rate

    @property
    def end_ms(self) -> float:
        return self.start_ms + self.ms

    def hole_ms(self, at_ms: float) -> float:
        """How far beyond its end this lies; negative for before it."""
        return at_ms - self.end_ms

    def put(self, at_ms: float, pcm: bytes) -> None:
        """Audio that begins at `at_ms`; what is there already is not put twice."""
        hole = round(self.hole_ms(at_ms) * self.rate / 1000)
        if abs(self.hole_ms(at_ms)) <= _TOUCHING_MS:
            hole = 0
        self.pcm += bytes(2 * max(0, hole))
        self.pcm += pcm[2 * max(0, -hole) :]

    def split(self, longest_ms: float) -> "Piece":
        """Cut where it is quietest near its end; what follows is left here, what comes before is returned."""
        cut = 2 * _quietest(bytes(self.pcm), self.rate, min(_LOOK_BACK_MS, longest_ms / 2))
        first = Piece(self.start_ms, self.rate, self.pcm[:cut])
        self.start_ms, self.pcm = first.end_ms, self.pcm[cut:]
        return first


def _quietest(pcm: bytes, rate: int, back_ms: float) -> int:
    """The sample in the middle of the quietest 200 ms of the last `back_ms`."""
    step = rate * _QUIET_STEP_MS // 1000
    total = len(pcm) // 2 // step
    first = max(0, total - int(back_ms) // _QUIET_STEP_MS)
    levels = [g711.rms(pcm[2 * step * n : 2 * step * (n + 1)]) for n in range(first, total)]
    windows = [max(levels[n : n + _QUIET_STEPS]) for n in range(max(1, len(levels) - _QUIET_STEPS + 1))]
    quietest = min(range(len(windows)), key=lambda n: (windows[n], -n))
    return (first + quietest + _QUIET_STEPS // 2) * step


def pieces(
    frames: Iterable[Frame],
    wanted: Spans,
    codec: Codec,
    *,
    hole_ms: float,
    longest_ms: float,
    rest: bool = True,
) -> Iterator[Piece]:
    """The audio of the ranges that are `wanted`, in pieces.

    A hole of more than `hole_ms` is not filled, but parts two pieces; a piece that has grown longer than
    `longest_ms` (a second at least) is cut where it is quietest. Without `rest` the last, which may go on, is
    left out.
    """
    piece: Piece | None = None
    for frame in frames:
        for at_ms, pcm in _cuttings(frame, wanted, codec):
            if piece is not None and piece.hole_ms(at_ms) > hole_ms:
                yield piece
                piece = None
            piece = piece or Piece(at_ms, codec.rate)
            piece.put(at_ms, pcm)
            while piece.ms > max(1000.0, longest_ms):
                yield piece.split(max(1000.0, longest_ms))
    if piece is not None and piece.pcm and rest:
        yield piece


def _cuttings(frame: Frame, wanted: Spans, codec: Codec) -> Iterator[tuple[float, bytes]]:
    """What of a frame is wanted, as PCM, to the sample."""
    whole = len(frame.payload) // codec.width * codec.width
    end_ms = frame.at_ms + codec.ms(whole)
    for start, end in wanted.within(frame.at_ms, end_ms):
        first, last = (round((ms - frame.at_ms) * codec.rate / 1000) * codec.width for ms in (start, end))
        if first < last:
            yield start, g711.to_pcm(frame.payload[first : min(last, whole)], codec)


def wav_header(rate: int, size: int) -> bytes:
    """What stands before `size` bytes of 16-bit mono PCM in a WAV file."""
    return _WAV.pack(b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)


@dataclass(frozen=True, slots=True)
class Job:
    """One file for RTZR and how far it has come; all of it is in the file's sidecar."""

    head: LegHead
    start_ms: int
    end_ms: int
    transcribe_id: str = ""
    """RTZR's id; empty before it is known."""
    sending: bool = False
    """Written before the file is sent: found without an id, the answer was lost."""
    sent: int = 0
    """How often it was sent."""
    failed: int = 0
    """How often RTZR gave it up."""
    not_before: float = 0.0
    """Unix seconds."""

    @property
    def id(self) -> str:
        """Stable, and in the order in which the audio was spoken."""
        leg = sha256(str(self.head.leg).encode()).hexdigest()[:12]
        spoken = round(self.head.began * 1000) + self.start_ms
        return f"{max(0, spoken):015d}-{leg}-{self.start_ms}-{self.end_ms}"

    def change(self, **changed: Any) -> "Job":
        return replace(self, **changed)


def pack_job(job: Job) -> bytes:
    state = {name: getattr(job, name) for name in _JOB_FIELDS}
    return json.dumps({**_leg_as_json(job.head), **state}).encode()


def unpack_job(data: bytes) -> Job:
    """Raises ValueError for what is no job."""
    try:
        body = json.loads(data)
        return Job(_leg_of_json(body), **{name: kind(body[name]) for name, kind in _JOB_FIELDS.items()})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("not the sidecar of a job") from None


_JOB_FIELDS = {
    "start_ms": int,
    "end_ms": int,
    "transcribe_id": str,
    "sending": bool,
    "sent": int,
    "failed": int,
    "not_before": float,
}
