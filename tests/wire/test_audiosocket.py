"""bridge/wire/audiosocket.py: messages cut anywhere, and nothing but AudioSocketError for the rest."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec
from bridge.wire.audiosocket import (
    DIGIT,
    FAILURE,
    HANGUP,
    IDENTITY,
    KINDS,
    RATES,
    SLIN,
    Audio,
    AudioSocketError,
    Digit,
    Failed,
    HungUp,
    Identified,
    Message,
    Parser,
    frame,
    silence,
)

KEY = UUID("4b1f6a3e-3a59-4c11-93a2-5a5d0c0c7d10")
HELLO = bytes.fromhex("010010") + KEY.bytes

audio = st.builds(
    Audio, st.integers(0, 400).map(lambda samples: bytes([7, 1]) * samples), st.sampled_from(sorted(KINDS))
)
digits = st.builds(Digit, st.sampled_from("0123456789*#ABCD"))
said = st.lists(
    st.one_of(audio, digits, st.just(HungUp()), st.builds(Failed, st.integers(0, 255))), max_size=6
)


def written(message: Message) -> bytes:
    match message:
        case Identified(uuid):
            return frame(IDENTITY, uuid.bytes)
        case Audio(payload, rate):
            return frame(KINDS[rate], payload)
        case Digit(digit):
            return frame(DIGIT, digit.encode())
        case HungUp():
            return frame(HANGUP)
        case Failed(code):
            return frame(FAILURE, bytes([code]))


def test_the_examples_of_the_documentation() -> None:
    parser = Parser()
    stream = HELLO + bytes.fromhex("100140") + bytes(320) + bytes.fromhex("120280") + bytes(640)
    stream += bytes.fromhex("03000135") + bytes.fromhex("000000") + bytes.fromhex("ff000104")
    assert parser.feed(stream) == [
        Identified(KEY),
        Audio(bytes(320), 8000),
        Audio(bytes(640), 16000),
        Digit("5"),
        HungUp(),
        Failed(4),
    ]


def test_every_kind_of_audio_has_its_rate() -> None:
    parser = Parser()
    parser.feed(HELLO)
    found = parser.feed(b"".join(frame(kind, b"ab") for kind in range(0x10, 0x19)))
    rates = [8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000]
    assert found == [Audio(b"ab", rate) for rate in rates]


def test_audio_labelled_8_khz_may_be_of_the_rate_that_was_asked_for() -> None:
    assert Audio(b"", 8000).is_of(Codec.SLIN)
    assert Audio(b"", 8000).is_of(Codec.SLIN16)
    assert Audio(b"", 16000).is_of(Codec.SLIN16)
    assert not Audio(b"", 16000).is_of(Codec.SLIN)
    assert not Audio(b"", 48000).is_of(Codec.SLIN16)


def test_cut_in_two_at_every_byte() -> None:
    messages: list[Message] = [
        Identified(KEY),
        Audio(bytes(range(40)), 8000),
        Digit("#"),
        Audio(bytes(80), 16000),
        HungUp(),
    ]
    stream = b"".join(written(message) for message in messages)
    for cut in range(len(stream) + 1):
        parser = Parser()
        assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == messages


@given(said, st.data())
def test_what_is_written_is_read_however_it_is_cut(messages: list[Message], data: st.DataObject) -> None:
    stream = HELLO + b"".join(written(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parser, found = Parser(), list[Message]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(memoryview(stream)[start:end])
    assert found == [Identified(KEY), *messages]


def feed_all(parser: Parser, stream: bytes, step: int) -> None:
    for start in range(0, len(stream), step):
        parser.feed(stream[start : start + step])


@pytest.mark.parametrize(
    ("garbage", "fault"),
    [
        (HELLO + b"\x02\x00\x00", "unknown kind 0x02"),
        (HELLO + b"\x19\x00\x00", "unknown kind 0x19"),
        (HELLO + HELLO, "a second UUID"),
        (silence(), "first message of kind 0x10, needed the UUID"),
        (b"\x00\x00\x00", "first message of kind 0x00, needed the UUID"),
        (b"\x01\x00\x0f" + bytes(15), "kind 0x01 with 15 bytes, needed 16 to 16"),
        (b"\x01\x00\x24" + str(KEY).encode(), "kind 0x01 with 36 bytes, needed 16 to 16"),
        (HELLO + b"\x10\x00\x03abc", "audio of 3 bytes, needed whole samples of 2"),
        (HELLO + b"\x10\x7d\x02", "kind 0x10 with 32002 bytes, needed 0 to 32000"),
        (HELLO + b"\x03\x00\x02ab", "kind 0x03 with 2 bytes, needed 1 to 1"),
        (HELLO + b"\x03\x00\x01\xc3", "digit of code 195, needed printable ASCII"),
        (HELLO + b"\x00\x00\x01a", "kind 0x00 with 1 bytes, needed 0 to 0"),
        (b"GET / HTTP/1.1\r\n\r\n", "unknown kind 0x47"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_garbage_is_named_and_there_is_no_way_back(garbage: bytes, fault: str, step: int) -> None:
    parser = Parser()
    with pytest.raises(AudioSocketError, match=fault):
        feed_all(parser, garbage, step)
    with pytest.raises(AudioSocketError, match=fault) as again:
        parser.feed(silence())
    assert again.value.before == ()


def test_garbage_is_known_before_its_payload_is_there() -> None:
    parser = Parser()
    parser.feed(HELLO)
    with pytest.raises(AudioSocketError, match="second UUID"):
        parser.feed(b"\x01\x00\x10")


def test_what_came_before_the_garbage_is_not_lost() -> None:
    with pytest.raises(AudioSocketError) as error:
        Parser().feed(HELLO + silence() + b"\x77\x00\x00")
    assert list(error.value.before) == [Identified(KEY), Audio(bytes(320), 8000)]


def test_a_lost_frame_of_a_short_write_is_noticed() -> None:
    """Half of a frame went missing: it swallows the next one's header, and samples become a header."""
    parser = Parser()
    parser.feed(HELLO)
    voice = frame(SLIN, bytes([0x77, 0x20]) * 160)
    with pytest.raises(AudioSocketError, match="unknown kind"):
        parser.feed(voice + voice[:100] + voice + voice)


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_any_bytes_are_messages_or_the_error(pieces: list[bytes], greeted: bool) -> None:
    parser = Parser()
    if greeted:
        parser.feed(HELLO)
    try:
        for piece in pieces:
            parser.feed(piece)
    except AudioSocketError as error:
        assert str(error)  # noqa: PT017 - there may be none


def test_no_more_is_held_than_one_message() -> None:
    parser = Parser()
    parser.feed(HELLO)
    endless = frame(0x18, bytes(65534)) * 3
    for start in range(0, len(endless), 4001):
        parser.feed(endless[start : start + 4001])
        assert len(parser._rest) <= 65537


def test_silence_is_20_ms_of_its_kind() -> None:
    assert silence() == b"\x10\x01\x40" + bytes(320)
    assert silence(16000) == b"\x12\x02\x80" + bytes(640)
    for rate in RATES.values():
        (one,) = _identified().feed(silence(rate))
        assert isinstance(one, Audio)
        assert (one.rate, len(one.payload)) == (rate, rate // 50 * 2)


def _identified() -> Parser:
    parser = Parser()
    parser.feed(HELLO)
    return parser


@pytest.mark.parametrize(("kind", "size"), [(256, 0), (-1, 0), (SLIN, 65536)])
def test_what_fits_no_header_is_refused(kind: int, size: int) -> None:
    with pytest.raises(AudioSocketError, match="does not fit"):
        frame(kind, bytes(size))
