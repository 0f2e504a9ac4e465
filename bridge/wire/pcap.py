"""Captures of a network in the classic pcap format: bytes in any pieces become UDP datagrams.

The file: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html; the link layers:
https://www.tcpdump.org/linktypes.html. pcapng is another format, and told apart. What a datagram holds is not
known here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1e6),
    b"\xd4\xc3\xb2\xa1": ("<", 1e6),
    b"\xa1\xb2\x3c\x4d": (">", 1e9),
    b"\x4d\x3c\xb2\xa1": ("<", 1e9),
}
"""Byte order, and units of time in a second."""
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_HEADER, _RECORD = 24, 16
_LONGEST = 1 << 18
"""Bytes of a record; tcpdump writes no longer one."""
ETHERNET, RAW, COOKED, IPV4, IPV6, COOKED2 = 1, 101, 113, 228, 229, 276
_RAW_OF_OLD = (12, 14)
"""LINKTYPE_RAW, as some systems wrote it."""
_ETHERTYPE_4, _ETHERTYPE_6, _VLANS = 0x0800, 0x86DD, (0x8100, 0x88A8, 0x9100)
_UDP = 17


class PcapError(ValueError):
    """The bytes are no capture that can be read; the text says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram."""

    at_s: float
    """Unix time of its capture."""
    source: tuple[str, int]
    """Address and port."""
    target: tuple[str, int]
    payload: bytes = field(repr=False)


class Reader:
    """`feed` it the file; `whole` says at the end whether its last record was."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._order = ""
        self._units = 1e6
        self._link = -1
        self.others = 0
        """Packets that are no UDP over IP, or a fragment."""
        self.cut = 0
        """UDP datagrams of which the capture kept a part only: `tcpdump -s 0` keeps all."""

    @property
    def whole(self) -> bool:
        return bool(self._order) and not self._waiting

    def feed(self, data: bytes) -> Iterator[Datagram]:
        """The datagrams that are whole now. Raises PcapError; nothing is to be fed after that."""
        self._waiting += data
        at = 0
        if not self._order:
            if len(self._waiting) < _HEADER:
                self._check_magic()
                return
            self._read_header()
            at = _HEADER
        while (record := self._record(at)) is not None:
            at_s, found, missing, at = record
            datagram = self._datagram(at_s, found, missing)
            if datagram is not None:
                yield datagram
        del self._waiting[:at]

    def _check_magic(self) -> None:
        magic = bytes(self._waiting[:4])
        if magic == _PCAPNG:
            raise PcapError("is pcapng; convert it: tcpdump -r in.pcapng -w out.pcap")
        if len(magic) == len(_PCAPNG) and magic not in _MAGICS:
            raise PcapError("is no pcap file; give one that tcpdump -w has written")

    def _read_header(self) -> None:
        self._check_magic()
        self._order, self._units = _MAGICS[bytes(self._waiting[:4])]
        (link,) = struct.unpack_from(f"{self._order}I", self._waiting, 20)
        self._link = link & 0xFFFF  # above are the length of a checksum, and flags
        known = (ETHERNET, RAW, COOKED, IPV4, IPV6, COOKED2, *_RAW_OF_OLD)
        if self._link not in known:
            raise PcapError(f"has link type {self._link}; capture on an Ethernet interface, or on any")

    def _record(self, at: int) -> tuple[float, bytes, bool, int] | None:
        """When, what, whether some is missing, and where the next begins; None while it is not whole."""
        if len(self._waiting) < at + _RECORD:
            return None
        seconds, part, kept, length = struct.unpack_from(f"{self._order}4I", self._waiting, at)
        if kept > _LONGEST:
            raise PcapError(f"has a record of {kept} bytes, which none is; it is damaged, copy it again")
        end = at + _RECORD + kept
        if len(self._waiting) < end:
            return None
        return seconds + part / self._units, bytes(self._waiting[at + _RECORD : end]), length > kept, end

    def _datagram(self, at_s: float, frame: bytes, missing: bool) -> Datagram | None:
        packet = _network(self._link, frame)
        found = _udp(packet)
        if found is None:
            self.others += 1
            return None
        source, target, body = found
        if len(body) < 8:
            self.cut += missing
            self.others += not missing
            return None
        from_port, to_port, length, _ = struct.unpack_from("!4H", body)
        if length < 8 or length > len(body):
            self.cut += missing
            self.others += not missing
            return None
        return Datagram(at_s, (source, from_port), (target, to_port), body[8:length])


def _network(link: int, frame: bytes) -> bytes:
    """The IP packet in a frame; empty where there is none."""
    if link in (RAW, IPV4, IPV6, *_RAW_OF_OLD):
        return frame
    kind_at, start = {ETHERNET: (12, 14), COOKED: (14, 16), COOKED2: (0, 20)}[link]
    kind = _short(frame, kind_at)
    while kind in _VLANS:
        kind, start = _short(frame, start + 2), start + 4
    return frame[start:] if kind in (_ETHERTYPE_4, _ETHERTYPE_6) else b""


def _short(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big") if len(frame) >= at + 2 else 0


def _udp(packet: bytes) -> tuple[str, str, bytes] | None:
    """Both addresses and the UDP datagram with its header; None for anything else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return _udp_4(packet)
    if version == 6 and len(packet) >= 40:
        return _udp_6(packet)
    return None


def _udp_4(packet: bytes) -> tuple[str, str, bytes] | None:
    start, total = 4 * (packet[0] & 0x0F), _short(packet, 2)
    fragment = _short(packet, 6) & 0x3FFF  # more follow, or it is not the first
    if packet[9] != _UDP or fragment or start < 20 or start > len(packet):
        return None
    body = packet[start:total] if total else packet[start:]  # 0: the network card was to fill it in
    return str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20])), body


def _udp_6(packet: bytes) -> tuple[str, str, bytes] | None:
    """Without extension headers, which RTP never has."""
    if packet[6] != _UDP:
        return None
    body = packet[40 : 40 + _short(packet, 4)]
    return str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40])), body
