"""What is told of a leg that lives, for whoever watches: how it stands, and what has just happened to it.

Values, and how loud a second of audio is. Nothing waits for who watches; what is shown is
`bridge.watching`'s.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import log10
from typing import Any

from bridge.types import CallId, Codec, LegId
from bridge.wire import g711

FAINTEST_DB = -96.0
"""Of digital silence: 16 bits hold nothing fainter."""
_FULL = 32768


class LegState(StrEnum):
    """What a leg does with its audio now."""

    WAITING = "waiting"
    """There is nothing to be sent: it rings, or nobody has spoken yet."""
    CONNECTING = "connecting"
    STREAMING = "streaming"
    RECONNECTING = "reconnecting"
    PAUSED = "paused"
    DRAINING = "draining"
    """The party has hung up; the last words are awaited."""
    ENDED = "ended"


class NoteKind(StrEnum):
    """Whose doing it was."""

    PBX = "pbx"
    PACKETS = "packets"
    UTTERANCE = "utterance"
    SESSION = "session"
    GAP = "gap"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened in a call."""

    call: CallId
    leg: str | None
    """`str(LegId)`; None: to all of the call."""
    at_ms: int
    kind: NoteKind
    what: str = field(repr=False)
    """A short phrase for a person."""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


Tell = Callable[[Note], None]
"""Where notes go. It never waits."""


def unheard(_note: Note) -> None:
    """Where nobody watches."""


@dataclass(frozen=True, slots=True)
class LegSnapshot:
    """A leg at one moment; sums are milliseconds of audio since its process began to hear it."""

    leg: LegId
    state: LegState
    mode: str
    """Of the gate."""
    level_db: float | None
    """Of what came since the last snapshot, the last second at most, against full scale; None: nothing."""
    arrived_ms: int = 0
    sent_ms: int = 0
    """What arrived and went out, once each."""
    lost_ms: int = 0
    paused_ms: int = 0
    waiting_ms: int = 0
    """What came and was not sent yet."""
    sessions: int = 0
    packets: Mapping[str, int] = field(default_factory=dict)
    """By fate; those that never happened are left out."""


def level_db(payloads: Iterable[bytes], codec: Codec) -> float | None:
    """How loud they are together, in dB of full scale (the RMS of a full sine is -3); None for nothing.

    A second takes some 20 microseconds. Raises `g711.G711Error` for half a sample.
    """
    payload = b"".join(payloads)
    if not payload:
        return None
    loudness = g711.loudness(payload, codec)
    return round(20 * log10(loudness / _FULL), 1) if loudness else FAINTEST_DB
