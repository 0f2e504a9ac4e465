"""When and as what a packet was sent, written into its audio so softly that no ear and no VAD notices.

The first 28 samples of a packet carry three bits each, at amplitudes far below line noise: a sign that it is
a stamp, the sender's clock in microseconds, the packet's number and its leg. Arithmetic on bytes only.
"""

from typing import NamedTuple

from bridge.types import Codec

_BITS = 12
_SPAN = 1 << _BITS
_SIGN = 0o5274
_GROUPS = 7
SAMPLES = 4 * _GROUPS
CLOCK_SPAN_US = 1 << (3 * _BITS)
"""The clock begins anew after so many microseconds: 19 hours."""
NUMBERS = _SPAN
"""Packets are numbered up to this, and begin anew."""


class Stamp(NamedTuple):
    at_us: int
    """Modulo `CLOCK_SPAN_US`."""
    number: int
    leg: int


class Stamps:
    """Stamps for one codec. A packet on the network has linear samples the other way round than a frame."""

    def __init__(self, codec: Codec) -> None:
        self.size = SAMPLES * codec.width
        """Bytes of a stamp."""
        group = 4 * codec.width
        wire, frame = _symbols(codec)
        self._spelt = [_group(value, wire) for value in range(_SPAN)]
        self._read = {_group(value, frame): value for value in range(_SPAN)}
        self._places = [slice(at, at + group) for at in range(0, self.size, group)]

    def write(self, at_us: int, number: int, leg: int) -> bytes:
        """A stamp as it goes over the network."""
        spelt = self._spelt
        return b"".join(
            (
                spelt[_SIGN],
                spelt[at_us >> 24 & 0xFFF],
                spelt[at_us >> 12 & 0xFFF],
                spelt[at_us & 0xFFF],
                spelt[number & 0xFFF],
                spelt[leg >> 12 & 0xFFF],
                spelt[leg & 0xFFF],
            )
        )

    def read(self, start: bytes) -> Stamp | None:
        """The stamp at the start of a packet's audio, as frames carry it; None if there is none."""
        values = [self._read.get(start[place], -1) for place in self._places]
        if values[0] != _SIGN or min(values) < 0:
            return None
        _, high, middle, low, number, leg_high, leg_low = values
        return Stamp(high << 24 | middle << 12 | low, number, leg_high << 12 | leg_low)


def _symbols(codec: Codec) -> tuple[list[bytes], list[bytes]]:
    """The eight softest samples, on the network and in a frame."""
    if codec.width == 1:
        soft = [bytes([codec.silent[0] ^ value]) for value in range(8)]
        return soft, soft
    return [value.to_bytes(2, "big") for value in range(8)], [
        value.to_bytes(2, "little") for value in range(8)
    ]


def _group(value: int, symbols: list[bytes]) -> bytes:
    return b"".join(symbols[value >> shift & 7] for shift in (9, 6, 3, 0))
