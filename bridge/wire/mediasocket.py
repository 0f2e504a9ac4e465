"""Asterisk's chan_websocket as values: its text messages read, commands written, its audio made into frames.

Pure, but for what a `MediaStream` remembers of its leg. The WebSockets are in `bridge.net.mediasocket`; who
asked for the audio and where it goes is not known here. Sources: channels/chan_websocket.c and
chan_websocket_doc.xml of Asterisk 22; recorded messages in tests/captures/asterisk/mediasocket.jsonl.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from bridge.types import Codec, Frame
from bridge.wire.arrival import Arrival

SUBPROTOCOL = "media"
LONGEST_TEXT = 65_535
"""Bytes of a message, of Asterisk's own limit."""
LONGEST_COMMAND = 128
"""Bytes. Asterisk drops a longer text with no more than a line in its log (MAX_TEXT_MESSAGE_LEN)."""
LONGEST_MS = 1000
"""A message that claims to hold more audio is malformed."""

_LONGEST_FIELD = 4096
_LONGEST_NUMBER = 1 << 20
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class MediaSocketError(ValueError):
    """A message that is not chan_websocket's, or a command that Asterisk would drop."""


@dataclass(frozen=True, slots=True)
class MediaStart:
    """The first message of a connection; audio follows."""

    connection_id: str = field(repr=False)
    """Where we connect it is the secret of the URL, where Asterisk does, the section of its configuration."""
    channel: str
    channel_id: str
    """The channel's unique id; empty before Asterisk 22.7."""
    format: str
    optimal_frame_size: int
    """Bytes; 0 for codecs that Asterisk hands through as they come."""
    ptime: int
    """Milliseconds of audio a message; 0 where Asterisk does not tell."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All of the channel's, in JSON only; the dialplan decides what is in them."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A key of a telephone was let go."""

    digit: str = field(repr=False)
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Xoff:
    """Asterisk's queue of what we sent is nearly full."""

    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Xon:
    """We may send again."""

    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Asterisk could not do what we commanded (ERROR)."""

    text: str
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """Any other event, of this version or one to come."""

    name: str


Message = MediaStart | Digit | Xoff | Xon | Failed | Other


def parse(text: str) -> Message:
    """One text message, as JSON (`f(json)`) or in the plain spelling. Raises MediaSocketError."""
    if len(text) > LONGEST_TEXT:
        raise MediaSocketError(f"message of {len(text)} characters, the longest is {LONGEST_TEXT}")
    named, told = _json(text) if text.startswith("{") else _plain(text)
    if not isinstance(named, str) or not _NAME.fullmatch(named):
        raise MediaSocketError("message without the name of an event")
    return _read(named, told)


def _read(name: str, told: Mapping[str, Any]) -> Message:
    match name:
        case "MEDIA_START":
            return _start(told)
        case "DTMF_END":
            return Digit(_text(told, "digit"), _text(told, "channel_id", ""))
        case "MEDIA_XOFF":
            return Xoff(_text(told, "channel_id", ""))
        case "MEDIA_XON":
            return Xon(_text(told, "channel_id", ""))
        case "ERROR":
            return Failed(_text(told, "error_text", ""), _text(told, "channel_id", ""))
    return Other(name)


def _start(told: Mapping[str, Any]) -> MediaStart:
    return MediaStart(
        connection_id=_text(told, "connection_id", ""),
        channel=_text(told, "channel", ""),
        channel_id=_text(told, "channel_id", ""),
        format=_text(told, "format"),
        optimal_frame_size=_number(told, "optimal_frame_size"),
        ptime=_number(told, "ptime"),
        variables=_variables(told.get("channel_variables")),
    )


def _json(text: str) -> tuple[object, Mapping[str, Any]]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise MediaSocketError("message that is not JSON") from None
    if not isinstance(told, dict):
        raise MediaSocketError("message that is no JSON object")
    return told.get("event"), told


def _plain(text: str) -> tuple[str, Mapping[str, str]]:
    """`NAME key:value key:value`; a value may hold spaces if no word of it looks like a key."""
    name, _, rest = text.partition(" ")
    told: dict[str, str] = {}
    rest, marked, error = rest.partition("error_text:")
    key = ""
    for word in rest.split():
        before, colon, after = word.partition(":")
        if colon:
            key = before
            told[key] = after
        elif key:
            told[key] += f" {word}"
    if marked:
        told["error_text"] = error.strip()
    return name.strip(), told


def _text(told: Mapping[str, Any], name: str, missing: str | None = None) -> str:
    value = told.get(name, missing)
    if not isinstance(value, str):
        raise MediaSocketError(f"{name} is missing or no text")
    if len(value) > _LONGEST_FIELD:
        raise MediaSocketError(f"{name} of {len(value)} characters, the longest is {_LONGEST_FIELD}")
    return value


def _number(told: Mapping[str, Any], name: str) -> int:
    """A number that JSON gives as such and the plain spelling in digits; 0 where there is none."""
    value = told.get(name, 0)
    if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _LONGEST_NUMBER:
        raise MediaSocketError(f"{name} is no number up to {_LONGEST_NUMBER}")
    return value


def _variables(value: object) -> dict[str, str]:
    """What the dialplan has set; what is too long for us is left out, for it is not what we came for."""
    if not isinstance(value, dict):
        return {}
    return {
        name: text for name, text in value.items() if isinstance(text, str) and len(text) <= _LONGEST_FIELD
    }


def command(name: str, **told: str) -> str:
    """A command with its fields, in JSON, for a connection with `f(json)`. Raises MediaSocketError."""
    if not _NAME.fullmatch(name):
        raise MediaSocketError("command without a name")
    text = json.dumps({"command": name, **told}, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode(errors="replace"))
    if size > LONGEST_COMMAND:
        raise MediaSocketError(f"command of {size} bytes, the longest is {LONGEST_COMMAND}")
    return text


@dataclass(slots=True)
class MediaCounters:
    """What became of one leg's messages: received = accepted + malformed."""

    received: int = 0
    """Binary messages."""
    accepted: int = 0
    """Became a frame."""
    malformed: int = 0
    """No whole samples, too much, or not announced in the leg's codec."""

    unread: int = 0
    """Text messages that are not chan_websocket's. From here on: not fates of audio."""
    failed: int = 0
    """Errors that Asterisk reported."""
    undelivered: int = 0
    """Frames that whoever they were for refused."""
    replaced: int = 0
    """Connections that another one of the same leg took the place of; what they still bring is not read."""
    broken: int = 0
    """Connections that ended for a breach of the WebSocket protocol, such as a message too big."""


MEDIA_FATES: tuple[str, ...] = tuple(item.name for item in fields(MediaCounters))
numbers = attrgetter(*MEDIA_FATES)
"""The counters as a tuple, in the order of `MEDIA_FATES`."""


class MediaStream:
    """One leg's messages become its frames, in call time: milliseconds; `now_ms` never goes back."""

    __slots__ = ("_arrival", "_bytes_per_ms", "_codec", "_longest", "_width", "announced", "counters")

    def __init__(self, codec: Codec) -> None:
        self.counters = MediaCounters()
        self.announced = False
        """Whether audio in the leg's codec was announced on this connection."""
        self._codec = codec
        # Asked for every message: an attribute is a tenth of the price of a property of an enum.
        self._bytes_per_ms = codec.bytes_per_ms
        self._longest = LONGEST_MS * codec.bytes_per_ms
        self._width = codec.width
        self._arrival = Arrival()

    def restart(self) -> None:
        """Another connection follows, and announces itself. Frames still do not overlap."""
        self.announced = False

    def audio(self, data: bytes | bytearray | memoryview, now_ms: float, behind: int = 0) -> Frame | None:
        """The frame of a binary message that arrived at `now_ms`, with `behind` bytes of audio after it; None
        if it is malformed.

        Linear samples come as Asterisk's host has them (`webchan_write` copies its frame): little-endian on
        all we know, unlike RTP's.
        """
        self.counters.received += 1
        size = len(data)
        if not self.announced or not 0 < size <= self._longest or size % self._width:
            self.counters.malformed += 1
            return None
        self.counters.accepted += 1
        spoken_ms = now_ms - behind / self._bytes_per_ms
        return Frame(bytes(data), self._arrival.place(size / self._bytes_per_ms, spoken_ms))

    def text(self, text: str) -> Message | None:
        """Takes a text message, and gives what it says; None if it cannot be read."""
        try:
            message = parse(text)
        except MediaSocketError:
            self.counters.unread += 1
            return None
        if isinstance(message, MediaStart):
            self.announced = message.format == self._codec.label
        elif isinstance(message, Failed):
            self.counters.failed += 1
        return message
