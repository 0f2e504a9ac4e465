"""RTP packets (RFC 3550 section 5.1): bytes to values and back.

Only the shape of one datagram lives here. Order is `reorder`'s, time is `timeline`'s, and what a payload
type means is `receiver`'s concern.
"""

import struct
from typing import NamedTuple

VERSION = 2
HEADER = struct.Struct("!BBHII")
#  0                   1                   2                   3
#  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
# |V=2|P|X|  CC   |M|     PT      |       sequence number         |
# |                           timestamp                           |
# |           synchronization source (SSRC) identifier            |
_SIZE = HEADER.size
_PADDING = 0x20
_EXTENSION = 0x10
_CSRC_COUNT = 0x0F
_MARKER = 0x80
PLAIN = VERSION << 6  # no padding, no extension, no CSRC: all that Asterisk's UnicastRTP ever sends
_RTCP_FROM, _RTCP_TO = 192, 224  # RFC 5761 section 4: a second byte in here is an RTCP packet type

Buffer = bytes | bytearray | memoryview


class RtpError(ValueError):
    """The datagram is not an RTP packet; the text says what was found and what was needed."""


class Packet(NamedTuple):
    """One RTP packet. A tuple, not a dataclass: made for each one that arrives, and three times as fast."""

    payload_type: int
    sequence: int
    """16 bits, wraps."""
    timestamp: int
    """32 bits, wraps; in samples."""
    ssrc: int
    payload: bytes
    """Without the padding; a copy, so the datagram's buffer may be used again."""
    marker: bool = False
    csrc: tuple[int, ...] = ()


def parse(datagram: Buffer) -> Packet:
    """The packet in `datagram`. Raises RtpError, and nothing else, for any other bytes."""
    size = len(datagram)
    if size < _SIZE:
        raise RtpError(f"datagram of {size} bytes, a header needs {_SIZE}")
    flags, second, sequence, timestamp, ssrc = HEADER.unpack_from(datagram)
    if flags != PLAIN and flags >> 6 != VERSION:
        raise RtpError(f"version {flags >> 6}, needed {VERSION}")
    if _RTCP_FROM <= second < _RTCP_TO:
        raise RtpError(f"packet type {second} is RTCP, RTP needs less than {_RTCP_FROM} or {_RTCP_TO} and up")
    start, end, csrc = (_SIZE, size, ()) if flags == PLAIN else _bounds(datagram, flags)
    payload = bytes(datagram[start:end])
    return Packet(second & 0x7F, sequence, timestamp, ssrc, payload, second >= _MARKER, csrc)


def _bounds(datagram: Buffer, flags: int) -> tuple[int, int, tuple[int, ...]]:
    """Where the payload starts and ends, and the contributing sources before it."""
    count = flags & _CSRC_COUNT
    start = HEADER.size + 4 * count
    if start > len(datagram):
        raise RtpError(f"{count} CSRC need {start} bytes, the datagram has {len(datagram)}")
    csrc = struct.unpack_from(f"!{count}I", datagram, HEADER.size)
    if flags & _EXTENSION:
        start = _after_extension(datagram, start)
    return start, len(datagram) - _padding(datagram, start, flags), csrc


def _after_extension(datagram: Buffer, start: int) -> int:
    """Where the header extension that begins at `start` ends (RFC 3550 section 5.3.1)."""
    if start + 4 > len(datagram):
        raise RtpError(f"extension header needs {start + 4} bytes, the datagram has {len(datagram)}")
    _, words = struct.unpack_from("!HH", datagram, start)
    end = int(start + 4 + 4 * words)
    if end > len(datagram):
        raise RtpError(f"extension of {words} words needs {end} bytes, the datagram has {len(datagram)}")
    return end


def _padding(datagram: Buffer, start: int, flags: int) -> int:
    """How many bytes of padding end the datagram; the last byte counts itself."""
    if not flags & _PADDING:
        return 0
    room = len(datagram) - start
    padding = datagram[-1] if room else 0
    if not 1 <= padding <= room:
        raise RtpError(f"padding of {padding} bytes, needed 1 to {room}")
    return padding


def build(packet: Packet, *, extension: tuple[int, bytes] | None = None, padding: int = 0) -> bytes:
    """The datagram of `packet`; `extension` is (profile, body of whole 32-bit words). Raises RtpError."""
    if len(packet.csrc) > _CSRC_COUNT or not 0 <= padding <= 255:
        raise RtpError(f"{len(packet.csrc)} CSRC of at most {_CSRC_COUNT}, padding {padding} of at most 255")
    flags = PLAIN | len(packet.csrc) | (_EXTENSION if extension else 0) | (_PADDING if padding else 0)
    second = packet.payload_type | (_MARKER if packet.marker else 0)
    try:
        parts = [HEADER.pack(flags, second, packet.sequence, packet.timestamp, packet.ssrc)]
        parts.append(struct.pack(f"!{len(packet.csrc)}I", *packet.csrc))
    except struct.error as error:
        raise RtpError(f"a header field does not fit: {error}") from error
    if extension:
        profile, body = extension
        if len(body) % 4:
            raise RtpError(f"extension of {len(body)} bytes, needed a multiple of 4")
        parts.append(struct.pack("!HH", profile, len(body) // 4) + body)
    parts.append(packet.payload)
    if padding:
        parts.append(bytes(padding - 1) + bytes([padding]))
    return b"".join(parts)
