"""RTP packets: every field there and back, every length lie refused, no other exception whatever comes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.rtp import HEADER, Packet, RtpError, build, parse

SHORT, LONG = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
packets = st.builds(
    Packet,
    # 64 to 95 with a marker would be RTCP's packet types (RFC 5761)
    payload_type=st.integers(0, 63) | st.integers(96, 127),
    sequence=SHORT,
    timestamp=LONG,
    ssrc=LONG,
    payload=st.binary(max_size=400),
    marker=st.booleans(),
    csrc=st.lists(LONG, max_size=15).map(tuple),
)
extensions = st.none() | st.tuples(SHORT, st.binary(max_size=10).map(lambda one: one * 4))
PLAIN = Packet(0, 1, 160, 7, b"abc")


@given(packets, extensions, st.integers(0, 255))
def test_what_is_built_is_parsed(packet: Packet, extension: tuple[int, bytes] | None, padding: int) -> None:
    datagram = build(packet, extension=extension, padding=padding)
    assert parse(datagram) == packet
    assert parse(memoryview(bytearray(datagram))) == packet


@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda tail: b"\xb3\x00" + tail))
def test_random_datagrams_raise_only_the_modules_error(datagram: bytes) -> None:
    try:
        packet = parse(datagram)
    except RtpError:
        return
    assert len(packet.payload) <= len(datagram) - HEADER.size


@given(packets, extensions, st.integers(1, 255))
def test_no_cut_reads_beyond_the_datagram(
    packet: Packet, extension: tuple[int, bytes] | None, padding: int
) -> None:
    datagram = build(packet, extension=extension, padding=padding)
    for size in range(min(len(datagram), 120)):
        try:
            assert len(parse(datagram[:size]).payload) <= size
        except RtpError:
            continue


@pytest.mark.parametrize(
    ("datagram", "text"),
    [
        (b"", "datagram of 0 bytes, a header needs 12"),
        (bytes(11), "datagram of 11 bytes, a header needs 12"),
        (bytes(12), "version 0, needed 2"),
        (b"\x80\xc8" + bytes(10), "packet type 200 is RTCP"),
        (b"\x82" + bytes(11) + bytes(4), "2 CSRC need 20 bytes, the datagram has 16"),
        (b"\x90" + bytes(11) + bytes(2), "extension header needs 16 bytes, the datagram has 14"),
        (
            b"\x90" + bytes(11) + struct.pack("!HH", 0, 3) + bytes(8),
            "3 words needs 28 bytes, the datagram has 24",
        ),
        (b"\xa0" + bytes(11) + b"ab\x04", "padding of 4 bytes, needed 1 to 3"),
        (b"\xa0" + bytes(11) + b"ab\x00", "padding of 0 bytes, needed 1 to 3"),
        (b"\xa0" + bytes(11), "padding of 0 bytes, needed 1 to 0"),
    ],
)
def test_the_error_says_what_was_there_and_what_was_needed(datagram: bytes, text: str) -> None:
    with pytest.raises(RtpError, match=text):
        parse(datagram)


def test_the_largest_datagram_is_parsed() -> None:
    packet = Packet(0, 1, 2, 3, bytes(65_507 - HEADER.size))
    assert parse(build(packet)) == packet


def test_the_payload_is_a_copy() -> None:
    buffer = bytearray(build(PLAIN))
    packet = parse(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert packet.payload == b"abc"


@pytest.mark.parametrize(
    "field", [{"sequence": 0x10000}, {"timestamp": -1}, {"ssrc": 1 << 32}, {"csrc": (0,) * 16}]
)
def test_what_does_not_fit_is_not_built(field: dict[str, int]) -> None:
    with pytest.raises(RtpError):
        build(Packet(**{"payload_type": 0, "sequence": 1, "timestamp": 0, "ssrc": 0, "payload": b""} | field))  # type: ignore[arg-type]


def test_an_extension_of_half_words_is_not_built() -> None:
    with pytest.raises(RtpError, match="3 bytes, needed a multiple of 4"):
        build(PLAIN, extension=(1, b"abc"))
    with pytest.raises(RtpError, match="padding 256"):
        build(PLAIN, padding=256)
