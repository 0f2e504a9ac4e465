"""What the daemon and its workers say to each other, as values and as bytes.

Messages are the bridge's own nouns, pickled, each behind its length: both ends are one program in one
version, and nobody else holds an end of the socket pair. What a message sets going is not decided here.
"""

import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.types import CallId, Codec, Event, LegId, NewLeg, Party, Token, Transport
from bridge.wire.ledger import LegReport
from bridge.wire.watched import LegSnapshot, Note

_LENGTH = struct.Struct("!I")
LONGEST = 64 << 20
"""Bytes of one message; the longest real one is a report."""


class LinkError(ValueError):
    """The bytes are not what the other end of our own socket pair would send."""


# Both ways: a question, its answer, and that the answer is not wanted any more.


@dataclass(frozen=True, slots=True)
class Ask:
    number: int
    question: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    value: Any = field(default=None, repr=False)
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Withdraw:
    number: int


# Down, to a worker.


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: who the worker is, and the configuration, without its secrets."""

    worker: int
    config: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """Asked; the answer is None, once it can hear legs."""


@dataclass(frozen=True, slots=True)
class Weigh:
    """Asked; the answer is None, if it could take this configuration, without secrets; nothing is taken."""

    config: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Adopt:
    """Calls that begin from now on are heard by this configuration, without secrets."""

    config: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Begin:
    new: NewLeg


@dataclass(frozen=True, slots=True)
class OpenInlet:
    """Asked; the answer is its place, or NoInlet."""

    leg: LegId
    transport: Transport
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Lock:
    """Asked; the answer is None, or NoInlet."""

    leg: LegId
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Asked; the answer is None, or NoInlet."""

    leg: LegId
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InletOver:
    """Asked; the answer comes when its stream has ended by itself: whether in order."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class CloseInlet:
    """Asked; the answer is None, once it is read empty."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Prepare:
    leg: LegId


@dataclass(frozen=True, slots=True)
class Know:
    leg: LegId
    party: Party


@dataclass(frozen=True, slots=True)
class Answered:
    leg: LegId
    at_ms: float


@dataclass(frozen=True, slots=True)
class Flaw:
    leg: LegId
    reason: str


@dataclass(frozen=True, slots=True)
class Mix:
    host: LegId
    guest: LegId


@dataclass(frozen=True, slots=True)
class Pair:
    host: LegId
    guest: LegId


@dataclass(frozen=True, slots=True)
class Pause:
    """As `Desks.pause`."""

    call: CallId
    paused: bool


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more will come from the PBX for this leg."""

    leg: LegId
    cause: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End this leg now, whatever is under way."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Dial:
    """Asked: open the session that `WantSession` with this number wants; Refused or Unreachable if not."""

    session: int


@dataclass(frozen=True, slots=True)
class Evict:
    session: int


# Up, from a worker.


@dataclass(frozen=True, slots=True)
class Told:
    event: Event = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg's coroutine is over; all its events were told before."""

    leg: LegId
    report: LegReport


@dataclass(frozen=True, slots=True)
class WantToken:
    """Asked; the answer is a Token, Refused or Unreachable. `leg` is for the log."""

    refused: Token | None = None
    leg: str = ""


@dataclass(frozen=True, slots=True)
class WantSession:
    """Asked; the answer is None once a `Dial` was answered well. `since_s` is of the monotonic clock."""

    session: int
    codec: Codec
    priority: int
    since_s: float | None
    instead_of: int | None


@dataclass(frozen=True, slots=True)
class Leave:
    """The session is closed, and its channel free."""

    session: int
    failed_at_once: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How a worker does, a few times a second; `fates` and `audio` (milliseconds) are what has grown since
    the last."""

    cpu_s: float
    lag_ms: float
    sessions_open: int
    sessions_opened: int
    fates: dict[str, int]
    audio: dict[str, float] = field(default_factory=dict)
    backlog_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshots:
    """How the worker's legs stand, once a second."""

    legs: tuple[LegSnapshot, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Noted:
    """Something of interest happened to a leg."""

    note: Note = field(repr=False)


def encode(message: Any) -> bytes:
    """A message as it goes over the pair."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in any pieces become messages."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are whole now. Raises LinkError; nothing is to be fed after that."""
        self._waiting += data
        start = 0
        while (end := self._end(start)) is not None:
            body = bytes(self._waiting[start + _LENGTH.size : end])
            start = end
            yield _message(body)
        del self._waiting[:start]

    def _end(self, start: int) -> int | None:
        if len(self._waiting) < start + _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._waiting, start)
        if length > LONGEST:
            raise LinkError(f"message of {length} bytes, the longest is {LONGEST}")
        end: int = start + _LENGTH.size + length
        return end if end <= len(self._waiting) else None


def sendable(error: Exception) -> Exception:
    """The error, if the other end would read it as it is; else one that names it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - just made
    except Exception:  # as below
        return LinkError(f"{type(error).__name__}: {error}")
    return error


def _message(body: bytes) -> Any:
    try:
        return pickle.loads(body)  # noqa: S301 - from our own process, see above
    except Exception as error:  # pickle raises nearly anything
        raise LinkError(f"message not read: {type(error).__name__}") from None
