"""The nouns that every part of the bridge shares, and the events that leave it.

Values only: frozen, slotted, no behaviour beyond arithmetic on themselves. Nothing here does I/O or
reads a clock. Times named `*_ms` are call time: milliseconds since the call's first channel was created.
"""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

CallId = str
"""The linkedid (Asterisk) or A-leg uuid (FreeSWITCH) at first sight; it never changes."""


class Codec(Enum):
    """What a leg's audio is encoded in, from the PBX to RTZR."""

    ULAW = ("ulaw", "MULAW", 8000, 1, b"\xff")
    ALAW = ("alaw", "ALAW", 8000, 1, b"\xd5")
    SLIN = ("slin", "LINEAR16", 8000, 2, b"\x00\x00")
    SLIN16 = ("slin16", "LINEAR16", 16000, 2, b"\x00\x00")
    SLIN24 = ("slin24", "LINEAR16", 24000, 2, b"\x00\x00")

    def __init__(self, label: str, rtzr: str, rate: int, width: int, silent: bytes) -> None:
        self.label = label
        """Asterisk's format name."""
        self.rtzr = rtzr
        """RTZR's `encoding`."""
        self.rate = rate
        """Samples a second."""
        self.width = width
        """Bytes a sample."""
        self.silent = silent
        """One sample of silence."""

    @classmethod
    def of(cls, label: str) -> "Codec":
        """The codec with Asterisk's format name `label`. Raises KeyError."""
        return _CODECS[label]

    @property
    def bytes_per_ms(self) -> int:
        return self.rate * self.width // 1000

    def ms(self, size: int) -> float:
        """How long `size` bytes of this codec play, in milliseconds."""
        return size / self.bytes_per_ms

    def silence(self, ms: float) -> bytes:
        """Silence of `ms` milliseconds, to the nearest sample."""
        return self.silent * round(ms * self.rate / 1000)


_CODECS = {codec.label: codec for codec in Codec}


class Transport(StrEnum):
    """How a tap's audio comes from the PBX to us."""

    RTP = "rtp"
    WEBSOCKET = "websocket"
    """Asterisk's chan_websocket; we connect to its HTTP server."""
    WEBSOCKET_CLIENT = "websocket_client"
    """The same; Asterisk connects to us, as its websocket_client.conf says."""
    AUDIOSOCKET = "audiosocket"
    """Asterisk connects to us."""
    AUDIOSTREAM = "audiostream"
    """A media module of FreeSWITCH connects to us."""
    AUDIOSTREAM_STEREO = "audiostream_stereo"
    """The same, with a second party on a second channel."""


@dataclass(frozen=True, slots=True)
class LegId:
    """One party's channel in one call."""

    call: CallId
    channel: str
    """The PBX's unique id of the channel."""

    def __str__(self) -> str:
        return f"{self.call}/{self.channel}"


class Role(StrEnum):
    CALLER = "caller"
    CALLEE = "callee"


@dataclass(frozen=True, slots=True)
class Party:
    """Who speaks on a leg; it may change during the leg's life."""

    role: Role
    number: str = ""
    name: str = ""
    channel: str = ""
    """The channel by name, such as PJSIP/1002-0000002a."""


@dataclass(frozen=True, slots=True)
class NewLeg:
    """A leg that is to be heard, as whoever hears it has to know it."""

    leg: LegId
    party: Party
    origin_s: float
    """When the call's first channel was created, on this machine's monotonic clock."""
    flaws: tuple[str, ...] = ()
    """What is missing already, in a word or two each."""
    rule: str = ""
    """The rule whose settings hold for its call; none for those of the whole configuration."""
    codec: Codec | None = None
    """What its audio comes in; None for the configuration's."""
    paused: bool = False
    """Whether nothing of it is to leave the host, until its call is resumed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Audio as it came from the PBX: G.711 as received, linear PCM little-endian."""

    payload: bytes
    at_ms: float
    """Call time of the first sample."""


@dataclass(frozen=True, slots=True)
class Token:
    """An RTZR access token. Its value never reaches a log or an exception."""

    value: str = field(repr=False)
    expires_at: float
    """Unix seconds."""

    def usable(self, now: float, margin_s: float) -> bool:
        """Whether it is still good `margin_s` seconds after `now`."""
        return now + margin_s < self.expires_at


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What RTZR made of an utterance, in call time."""

    leg: LegId
    text: str = field(repr=False)
    start_ms: int
    end_ms: int
    final: bool
    words: tuple[Word, ...] = field(default=(), repr=False)


class GapReason(StrEnum):
    """Why audio that arrived was not heard by RTZR."""

    RING = "ring"
    """It was older than what a leg may keep, and RTZR still away."""
    REFUSED = "refused"
    """RTZR refused the leg for good."""
    EVICTED = "evicted"
    """As `ring`, while a leg of higher priority had this one's channel."""
    DRAIN = "drain"
    """The call was over, and so was the time for the rest."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio that arrived and that RTZR will not hear."""

    leg: LegId
    start_ms: int
    end_ms: int
    ms: int
    """How much audio; less than from `start_ms` to `end_ms` where the PBX sent nothing in between."""
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvents 1.0 envelope; `id` is given once, when it is made, so a receiver can drop repeats."""

    id: str
    type: str
    subject: CallId
    time: str
    data: dict[str, Any] = field(repr=False)
    source: str = "rtzr-bridge"
    rule: str | None = None
    """Of what comes late, the rule that chose its call, "" for none; of all else None, for there the call's
    first event says it. Who is told depends on it; nobody is told it."""

    def as_json(self) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "data": self.data,
        }
