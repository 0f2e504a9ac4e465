"""bridge/wire/pcap.py: every link layer and byte order, cut at every byte, and whatever else may be there."""

import random
import struct

import pytest

from bridge.wire.pcap import COOKED, COOKED2, ETHERNET, IPV4, RAW, Datagram, PcapError, Reader
from tests.scale import scaled

SOURCE, TARGET = ("192.0.2.1", 4000), ("198.51.100.7", 40000)
SOURCE_6, TARGET_6 = ("2001:db8::1", 4000), ("2001:db8::2", 40000)


def udp(payload: bytes, length: int | None = None) -> bytes:
    return struct.pack("!4H", 4000, 40000, 8 + len(payload) if length is None else length, 0) + payload


def ipv4(body: bytes, *, protocol: int = 17, fragment: int = 0, options: bytes = b"") -> bytes:
    first = 0x45 + len(options) // 4
    total = 20 + len(options) + len(body)
    head = struct.pack("!BBHHHBBH", first, 0, total, 1, fragment, 64, protocol, 0)
    return head + bytes([192, 0, 2, 1, 198, 51, 100, 7]) + options + body


def ipv6(body: bytes, following: int = 17) -> bytes:
    addresses = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")
    return struct.pack("!IHBB", 6 << 28, len(body), following, 64) + addresses + body


def ethernet(packet: bytes, *tags: int, kind: int = 0x0800) -> bytes:
    marks = b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return bytes(12) + marks + struct.pack("!H", kind) + packet


def record(frame: bytes, order: str = "<", part: int = 500_000, kept: int | None = None) -> bytes:
    kept = len(frame) if kept is None else kept
    return struct.pack(f"{order}4I", 1000, part, kept, len(frame)) + frame[:kept]


def header(link: int, magic: int = 0xA1B2C3D4, order: str = "<") -> bytes:
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)


def read(data: bytes, size: int = 1 << 20) -> tuple[list[Datagram], Reader]:
    reader = Reader()
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    return found, reader


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (ETHERNET, ethernet(ipv4(udp(b"hello")))),
        (ETHERNET, ethernet(ipv4(udp(b"hello"))) + bytes(18)),  # filled up to the shortest frame
        (ETHERNET, ethernet(ipv4(udp(b"hello")), 0x8100)),
        (ETHERNET, ethernet(ipv4(udp(b"hello")), 0x88A8, 0x8100)),
        (ETHERNET, ethernet(ipv4(udp(b"hello"), options=bytes(4)))),
        (COOKED, bytes(14) + b"\x08\x00" + ipv4(udp(b"hello"))),
        (COOKED2, b"\x08\x00" + bytes(18) + ipv4(udp(b"hello"))),
        (RAW, ipv4(udp(b"hello"))),
        (IPV4, ipv4(udp(b"hello"))),
        (12, ipv4(udp(b"hello"))),
    ],
)
def test_a_datagram_is_found_behind_every_link_layer(link: int, frame: bytes) -> None:
    found, reader = read(header(link) + record(frame))
    assert found == [Datagram(1000.5, SOURCE, TARGET, b"hello")]
    assert (reader.whole, reader.others, reader.cut) == (True, 0, 0)


def test_and_over_ipv6() -> None:
    frame = ethernet(ipv6(udp(b"hello")), kind=0x86DD)
    assert read(header(ETHERNET) + record(frame))[0] == [Datagram(1000.5, SOURCE_6, TARGET_6, b"hello")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "part"), [(0xA1B2C3D4, 250_000), (0xA1B23C4D, 250_000_000)])
def test_both_byte_orders_and_both_clocks(order: str, magic: int, part: int) -> None:
    data = header(RAW, magic, order) + record(ipv4(udp(b"x")), order, part)
    assert [one.at_s for one in read(data)[0]] == [1000.25]


def test_what_is_no_whole_udp_is_counted_and_left_out() -> None:
    frames = [
        ethernet(b"", kind=0x0806),
        ethernet(ipv4(udp(b"x"), protocol=6)),
        ethernet(ipv4(udp(b"x"), fragment=0x2000)),
        ethernet(ipv4(udp(b"x"), fragment=5)),
        ethernet(ipv4(udp(b"x", length=7))),
        ethernet(ipv4(udp(b"x", length=900))),
        ethernet(ipv6(udp(b"x"), following=44), kind=0x86DD),
        ethernet(ipv4(b"")),
        b"",
    ]
    data = header(ETHERNET) + b"".join(record(frame) for frame in frames)
    found, reader = read(data + record(ethernet(ipv4(udp(b"last")))))
    assert ([one.payload for one in found], reader.others, reader.cut) == ([b"last"], len(frames), 0)


def test_a_capture_that_kept_the_beginnings_only_says_so() -> None:
    frame = ethernet(ipv4(udp(bytes(160))))
    found, reader = read(header(ETHERNET) + record(frame, kept=68))
    assert (found, reader.cut) == ([], 1)


def test_cut_at_every_byte_it_is_the_same() -> None:
    frames = [ethernet(ipv4(udp(bytes([n]) * n))) for n in range(1, 20)]
    data = header(ETHERNET) + b"".join(record(frame) for frame in frames)
    whole, _ = read(data)
    assert len(whole) == len(frames)
    for size in (1, 2, 3, 7, 24, 40):
        assert read(data, size)[0] == whole
    for end in range(len(data)):
        found, reader = read(data[:end])
        assert found == whole[: len(found)]
        assert reader.whole == (end >= 24 and end in _ends(frames))


def _ends(frames: list[bytes]) -> set[int]:
    ends, at = {24}, 24
    for frame in frames:
        at += 16 + len(frame)
        ends.add(at)
    return ends


def test_other_files_are_told_apart_with_the_mend() -> None:
    for data, mend in (
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "tcpdump -r in.pcapng -w out.pcap"),
        (b"RIFF" + bytes(40), "is no pcap file"),
        (header(105), "has link type 105"),
        (header(RAW) + struct.pack("<4I", 0, 0, 1 << 30, 1 << 30), "it is damaged"),
    ):
        for size in (1, 1000):
            with pytest.raises(PcapError, match=mend):
                read(data, size)


def test_noise_never_does_more_than_that() -> None:
    source = random.Random(8)
    good = header(ETHERNET) + b"".join(record(ethernet(ipv4(udp(bytes(n))))) for n in range(40))
    for _ in range(scaled(20_000, 1000)):
        data = bytearray(good)
        for _ in range(source.randrange(1, 20)):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            found, reader = read(bytes(data), source.choice((61, 4096)))
        except PcapError:
            continue
        assert len(found) + reader.others + reader.cut <= 40 + len(data) // 16
