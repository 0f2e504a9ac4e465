"""Asterisk's AudioSocket: bytes of the TCP stream to messages, and the few messages that go back.

Pure. Decides what is a message and what is garbage; whose connection it is and when audio was spoken is
`net/audiosocket`'s concern. Source: Asterisk's documentation, Configuration > Channel Drivers > AudioSocket,
and res/res_audiosocket.c. A message is

    kind: 1 byte | length: 2 bytes, big-endian | payload

Asterisk writes to a non-blocking socket and does not mend a short write, so the framing can be lost in the
middle of a stream; all that is left then is to notice it, and to end the connection.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bridge.types import Codec

HEADER = struct.Struct("!BH")
HANGUP: Final = 0x00
IDENTITY: Final = 0x01
DIGIT: Final = 0x03
FAILURE: Final = 0xFF
SLIN: Final = 0x10
"""Audio of 8 kHz; until Asterisk 22.7, 20.17 and 23.1 of whatever rate was asked for."""
RATES = {
    SLIN: 8000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000,
    0x15: 44_100, 0x16: 48_000, 0x17: 96_000, 0x18: 192_000,
}  # fmt: skip
"""Kind of audio -> samples a second. All are linear, 16 bit, little-endian, mono."""
KINDS = {rate: kind for kind, rate in RATES.items()}
FRAME_MS = 20
LONGEST_MS = 1000
"""A message that claims to hold more audio is garbage. Asterisk's hold what a codec packs in one."""

_WIDTH = 2
_LONGEST = 0xFFFF
_LENGTHS = {HANGUP: (0, 0), IDENTITY: (16, 16), DIGIT: (1, 1), FAILURE: (0, 1)} | {
    kind: (0, min(rate * _WIDTH * LONGEST_MS // 1000, _LONGEST)) for kind, rate in RATES.items()
}
_LENGTHS[SLIN] = (0, Codec.SLIN16.bytes_per_ms * LONGEST_MS)  # it may be audio of the rate asked for


@dataclass(frozen=True, slots=True)
class Identified:
    """The first message, and the only one of its kind: what was given to the dial string or application."""

    uuid: UUID


@dataclass(frozen=True, slots=True)
class Audio:
    payload: bytes
    """Linear 16-bit little-endian mono samples, whole ones; there may be none."""
    rate: int
    """Samples a second, as labelled. See `is_of`."""

    def is_of(self, codec: Codec) -> bool:
        """Whether this can be the audio of `codec` that was asked for.

        What is labelled 8 kHz is believed to be of any rate: older releases label all audio so.
        """
        return self.rate in (codec.rate, RATES[SLIN])


@dataclass(frozen=True, slots=True)
class Digit:
    """A DTMF key (Asterisk 22.4 and up)."""

    digit: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The sender will say no more. Asterisk closes the connection instead."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Documented, yet sent by no release so far."""

    code: int


Message = Identified | Audio | Digit | HungUp | Failed


class AudioSocketError(ValueError):
    """The bytes are not AudioSocket; the text says what was found and what was needed, never the payload."""

    def __init__(self, text: str, before: Sequence[Message] = ()) -> None:
        super().__init__(text)
        self.before = before
        """The messages that the same bytes held before the fault."""


class Parser:
    """The messages of one connection. It holds less than one message of bytes, 64 KiB at most."""

    __slots__ = ("_fault", "_identified", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._identified = False
        self._fault = ""

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that end in `data`, which may be cut anywhere and is not kept.

        Raises AudioSocketError, and nothing else, at garbage, and ever after: there is no way back into step.
        """
        if self._fault:
            raise AudioSocketError(self._fault)
        held = self._rest
        if not held and (only := self._only(data)) is not None:
            return [only]
        if held:
            held += data
            data = held
        messages: list[Message] = []
        done, fault = self._parse(data, messages)
        if data is held:
            del held[:done]
        else:
            held += data[done:]
        if fault:
            self._fault = fault
            held.clear()
            raise AudioSocketError(fault, messages)
        return messages

    def _only(self, data: bytes | bytearray | memoryview) -> Audio | None:
        """The message of audio that `data` is and nothing else, as nearly always.

        The way of all others, cut short: half the price, for each of fifty a second.
        """
        size = len(data) - HEADER.size
        if size < 0 or not self._identified:
            return None
        kind, length = HEADER.unpack_from(data)
        rate = RATES.get(kind)
        if rate is None or length != size or size % _WIDTH or size > _LENGTHS[kind][1]:
            return None
        return Audio(bytes(data[HEADER.size :]), rate)

    def _parse(self, data: bytes | bytearray | memoryview, messages: list[Message]) -> tuple[int, str]:
        """Appends the whole messages in `data`; returns where the first other one begins, and its fault."""
        start, size = 0, len(data)
        while size - start >= HEADER.size:
            kind, length = HEADER.unpack_from(data, start)
            fault = self._fault_of(kind, length)
            end = start + HEADER.size + length
            if fault or end > size:
                return start, fault
            payload = bytes(data[start + HEADER.size : end])
            if kind == DIGIT and not 0x21 <= payload[0] <= 0x7E:
                return start, f"digit of code {payload[0]}, needed printable ASCII"
            messages.append(_message(kind, payload))
            self._identified = True
            start = end
        return start, ""

    def _fault_of(self, kind: int, length: int) -> str:
        """What is wrong with a header, "" if nothing: garbage is known before its payload is awaited."""
        lengths = _LENGTHS.get(kind)
        if lengths is None:
            return f"message of unknown kind {kind:#04x}"
        if (kind == IDENTITY) == self._identified:
            return (
                "a second UUID" if self._identified else f"first message of kind {kind:#04x}, needed the UUID"
            )
        least, most = lengths
        if not least <= length <= most:
            return f"message of kind {kind:#04x} with {length} bytes, needed {least} to {most}"
        if kind in RATES and length % _WIDTH:
            return f"audio of {length} bytes, needed whole samples of {_WIDTH}"
        return ""


def _message(kind: int, payload: bytes) -> Message:
    rate = RATES.get(kind)
    if rate is not None:
        return Audio(payload, rate)
    if kind == IDENTITY:
        return Identified(UUID(bytes=payload))
    if kind == DIGIT:
        return Digit(payload.decode("ascii"))
    return HungUp() if kind == HANGUP else Failed(payload[0] if payload else 0)


def frame(kind: int, payload: bytes = b"") -> bytes:
    """The message to send. Raises AudioSocketError if the kind or the payload does not fit its header."""
    try:
        return HEADER.pack(kind, len(payload)) + payload
    except struct.error as error:
        raise AudioSocketError(f"a header field does not fit: {error}") from error


def silence(rate: int = RATES[SLIN]) -> bytes:
    """A message of 20 ms of silence, labelled with `rate`, one of RATES.

    Every release understands the one of 8 kHz, those before 22.7 no other: there any other kind ends the
    connection. So this is what a receiver sends that does not know yet how its peer labels audio.
    """
    return frame(KINDS[rate], bytes(_WIDTH * rate * FRAME_MS // 1000))
