"""What was said, and what RTZR was really told: every packet carries its number in bits that no ear hears.

The lowest bit of a mu-law byte is far below the quietest voice. A packet's first bytes carry a sync word, its
leg and its number in it, its last ones a check, so that it is known again wherever in a stream it lies whole.
Pure.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

_SYNC = bytes(int(bit) for bit in f"{0xB2D5A37:028b}")
_NUMBER = 16
"""Bits of a leg, of a packet's number, and of the check."""
PACKET = 160
"""Bytes of a packet: 20 ms of mu-law."""
PACKET_MS = 20

Range = tuple[int, int]
"""From the first packet to the last, both included."""


def mark(payload: bytes, leg: int, number: int) -> bytes:
    """A mu-law packet with its leg and number (0 to 65535) in it. Raises ValueError for another size."""
    if len(payload) != PACKET:
        raise ValueError(f"{len(payload)} bytes, a packet has {PACKET}")
    first, last = _SYNC + _bits(leg) + _bits(number), _bits(_check(leg, number))
    middle = payload[len(first) : PACKET - len(last)]
    return _with(first, payload[: len(first)]) + middle + _with(last, payload[PACKET - len(last) :])


def _bits(value: int) -> bytes:
    return bytes(int(bit) for bit in f"{value:0{_NUMBER}b}")


def _with(bits: bytes, payload: bytes) -> bytes:
    return bytes(byte & 0xFE | bit for byte, bit in zip(payload, bits, strict=True))


@dataclass(frozen=True, slots=True)
class Mark:
    leg: int
    number: int
    end: int
    """Bytes of the stream up to the packet's end."""


def marks(stream: bytes | bytearray) -> Iterator[Mark]:
    """The marked packets that lie whole in a stream, in its order."""
    bits = (np.frombuffer(stream, np.uint8) & 1).tobytes()
    at = bits.find(_SYNC)
    while 0 <= at <= len(bits) - PACKET:
        leg, number = (_value(bits, at + len(_SYNC) + _NUMBER * field) for field in (0, 1))
        if _value(bits, at + PACKET - _NUMBER) == _check(leg, number):
            yield Mark(leg, number, at + PACKET)
            at += PACKET - 1
        at = bits.find(_SYNC, at + 1)


def _value(bits: bytes, at: int) -> int:
    return int("".join(map(str, bits[at : at + _NUMBER])), 2)


def _check(leg: int, number: int) -> int:
    return zlib.crc32(leg.to_bytes(2) + number.to_bytes(2)) & 0xFFFF


def ranges(numbers: Iterable[int]) -> list[Range]:
    """The same numbers, once each, as ranges in order."""
    found: list[Range] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def unfolded(found: Iterable[Sequence[int]]) -> set[int]:
    """The numbers of `ranges`."""
    return {number for first, last in found for number in range(first, last + 1)}


@dataclass(frozen=True, slots=True)
class Said:
    """A word, and its call time in milliseconds."""

    text: str = field(repr=False)
    start_ms: float
    end_ms: float

    def touches(self, gaps: Iterable[tuple[float, float]]) -> bool:
        """Whether a part of it lies in a gap."""
        return any(self.start_ms < end and start < self.end_ms for start, end in gaps)


def words_wrong(said: Sequence[Said], heard: Sequence[str], gaps: Sequence[tuple[float, float]] = ()) -> int:
    """How many words came back wrong, are missing or are too many: the edits from one to the other.

    A word that a gap touches may be missing, or be there, or be something else in its place.
    """
    row = list(range(len(heard) + 1))
    for word in said:
        free = word.touches(gaps)
        left, row = row, [row[0] + (not free)]
        for column, text in enumerate(heard, 1):
            changed = left[column - 1] + (text != word.text and not free)
            row.append(min(changed, left[column] + (not free), row[-1] + 1))
    return row[-1]
