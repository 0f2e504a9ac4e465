"""bridge/wire/mediasocket.py: what a real Asterisk said in both spellings, whatever may come, and audio."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Frame
from bridge.wire import mediasocket
from bridge.wire.mediasocket import (
    LONGEST_COMMAND,
    LONGEST_TEXT,
    MEDIA_FATES,
    Digit,
    Failed,
    MediaSocketError,
    MediaStart,
    MediaStream,
    Message,
    Other,
    Xoff,
    Xon,
    command,
    numbers,
    parse,
)

CAPTURE = Path(__file__).parents[1] / "captures" / "asterisk" / "mediasocket.jsonl"


RECORDED = (Codec.ULAW, Codec.ALAW, Codec.SLIN, Codec.SLIN16)
LINES: list[dict[str, Any]] = list(map(json.loads, CAPTURE.read_text(encoding="utf-8").splitlines()))


def recorded(connection: str) -> list[dict[str, Any]]:
    return [line for line in LINES if line["connection"] == connection]


def texts(connection: str) -> list[Message]:
    return [parse(line["text"]) for line in recorded(connection) if "text" in line]


@pytest.mark.parametrize("codec", RECORDED)
def test_what_asterisk_says_in_json(codec: Codec) -> None:
    start, status, failed, digit = texts(f"fetched {codec.label} f(json) in")
    assert isinstance(start, MediaStart)
    assert start.channel_id == f"heard-INCOMING-{codec.label}"
    assert start.channel.startswith("WebSocket/INCOMING/0x")
    assert (start.format, start.optimal_frame_size, start.ptime) == (
        codec.label,
        20 * codec.bytes_per_ms,
        20,
    )
    assert start.variables["MEDIA_WEBSOCKET_CONNECTION_ID"] == start.connection_id
    assert status == Other("STATUS")
    assert failed == Failed("Unable to parse JSON command", start.channel_id)
    assert digit == Digit("5", start.channel_id)


def test_what_asterisk_says_in_plain_words() -> None:
    start, status, failed, drained, digit = texts("fetched ulaw plain both")
    assert isinstance(start, MediaStart)
    assert (start.channel_id, start.format, start.optimal_frame_size, start.ptime) == (
        "heard-INCOMING-ulaw",
        "ulaw",
        160,
        20,
    )
    assert start.variables == {}
    assert (status, drained) == (Other("STATUS"), Other("QUEUE_DRAINED"))
    assert failed == Failed("SET_MEDIA_DIRECTION only supports JSON format.", "heard-INCOMING-ulaw")
    assert digit == Digit("5", "heard-INCOMING-ulaw")


def test_where_asterisk_connects_the_path_and_not_the_connection_id_tells_legs_apart() -> None:
    lines = recorded("brought slin16 f(json) in")
    start = parse(lines[1]["text"])
    assert lines[0]["path"] == "/media?leg=a-key.of_16.letters"
    assert isinstance(start, MediaStart)
    assert start.connection_id == "rtzr-bridge"


@pytest.mark.parametrize("codec", RECORDED)
def test_recorded_audio_becomes_frames(codec: Codec) -> None:
    lines = recorded(f"fetched {codec.label} f(json) in")
    stream = MediaStream(codec)
    frames: list[Frame | None] = []
    for line in lines:
        if "text" in line:
            stream.text(line["text"])
        elif "hex" in line:
            frames.append(stream.audio(bytes.fromhex(line["hex"]), 1000 + 20 * len(frames)))
    assert [frame.at_ms for frame in frames if frame] == [980, 1000]
    assert all(codec.ms(len(frame.payload)) == 20 for frame in frames if frame)
    assert stream.counters.failed == 1
    assert all(codec.ms(size) <= 20 for size in lines[-1]["sizes"])
    assert lines[-1]["closed"] == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"event":"MEDIA_XOFF","channel_id":"c"}', Xoff("c")),
        ("MEDIA_XOFF", Xoff()),
        ('{"event":"MEDIA_XON","channel_id":"c"}', Xon("c")),
        ("MEDIA_XON channel_id:c", Xon("c")),
        ("MEDIA_MARK_PROCESSED 17", Other("MEDIA_MARK_PROCESSED")),
        ('{"event":"OF_TOMORROW","x":[1,{}]}', Other("OF_TOMORROW")),
        ("ERROR channel_id:c error_text:no: such thing", Failed("no: such thing", "c")),
        ("MEDIA_START channel:a b c format:ulaw", MediaStart("", "a b c", "", "ulaw", 0, 0)),
        (
            '{"event":"MEDIA_START","format":"ulaw","channel_variables":{"a":"b","c":1,"d":null}}',
            MediaStart("", "", "", "ulaw", 0, 0, {"a": "b"}),
        ),
    ],
)
def test_other_messages(text: str, message: Message) -> None:
    assert parse(text) == message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "without the name"),
        ("hello there", "without the name"),
        ("A" * 65, "without the name"),
        ("{}", "without the name"),
        ('{"event":["MEDIA_START"]}', "without the name"),
        ("{", "not JSON"),
        ('{"a":' * 60_00, "not JSON"),
        ('{"event":"MEDIA_START"}', "format is missing"),
        ('{"event":"MEDIA_START","format":7}', "format is missing or no text"),
        ('{"event":"MEDIA_START","format":"ulaw","ptime":true}', "ptime is no number"),
        ('{"event":"MEDIA_START","format":"ulaw","ptime":-1}', "ptime is no number"),
        ("MEDIA_START format:ulaw ptime:²", "ptime is no number"),
        ("MEDIA_START format:ulaw optimal_frame_size:9999999999999", "optimal_frame_size is no number"),
        ("DTMF_END", "digit is missing"),
        (f"DTMF_END digit:{'1' * 4097}", "digit of 4097 characters, the longest is 4096"),
        ("X" * (LONGEST_TEXT + 1), "65536 characters, the longest is 65535"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, complaint: str) -> None:
    with pytest.raises(MediaSocketError, match=complaint):
        parse(text)


def test_a_variable_that_is_too_long_costs_no_leg() -> None:
    start = {"event": "MEDIA_START", "format": "ulaw", "channel_variables": {"a": "b" * 5000, "c": "d"}}
    message = parse(json.dumps(start))
    assert isinstance(message, MediaStart)
    assert message.variables == {"c": "d"}


def test_neither_secret_nor_variables_show() -> None:
    message = MediaStart("secret-id", "c", "i", "ulaw", 160, 20, {"PIN": "1234"})
    assert "secret-id" not in repr(message)
    assert "1234" not in repr(message)
    assert "5" not in repr(Digit("5", "c"))


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(["MEDIA_START", "DTMF_END", "MEDIA_XOFF", "MEDIA_XON", "ERROR", "STATUS", "x"])
_fields = ["channel_id", "format", "digit", "ptime", "optimal_frame_size", "channel_variables", "error_text"]


@given(
    st.text()
    | st.builds(str.join, st.just(" "), st.lists(_names | st.text(max_size=10), max_size=6))
    | st.dictionaries(st.sampled_from([*_fields, "event"]), _json_values | _names).map(json.dumps)
    | st.builds(
        lambda name, told: json.dumps({**told, "event": name}),
        _names,
        st.dictionaries(st.sampled_from(_fields), _json_values),
    )
)
def test_whatever_comes_is_a_message_or_one_error(text: str) -> None:
    try:
        message = parse(text)
    except MediaSocketError:
        return
    assert isinstance(message, MediaStart | Digit | Xoff | Xon | Failed | Other)


@given(st.sampled_from([line["text"] for line in LINES if "text" in line]), st.data())
def test_a_damaged_message_is_no_surprise(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    parts = st.sampled_from([text[:at], text[at:], text[:at] + data.draw(st.text(max_size=3)) + text[at:]])
    try:
        parse(data.draw(parts))
    except MediaSocketError:
        return


def test_commands_are_short_json() -> None:
    assert command("HANGUP") == '{"command":"HANGUP"}'
    assert json.loads(command("SET_MEDIA_DIRECTION", direction="in")) == {
        "command": "SET_MEDIA_DIRECTION",
        "direction": "in",
    }
    room = LONGEST_COMMAND - len(command("MARK_MEDIA", correlation_id=""))
    assert len(command("MARK_MEDIA", correlation_id="x" * room)) == LONGEST_COMMAND
    with pytest.raises(MediaSocketError, match="129 bytes, the longest is 128"):
        command("MARK_MEDIA", correlation_id="x" * (room + 1))
    with pytest.raises(MediaSocketError, match="the longest is 128"):
        command("MARK_MEDIA", correlation_id="가" * (room // 2))
    with pytest.raises(MediaSocketError, match="without a name"):
        command("hang up")


START = '{{"event":"MEDIA_START","format":"{}"}}'


def started(codec: Codec) -> MediaStream:
    stream = MediaStream(codec)
    assert isinstance(stream.text(START.format(codec.label)), MediaStart)
    return stream


def test_audio_counts_only_once_it_was_announced_in_the_legs_codec() -> None:
    stream = MediaStream(Codec.ULAW)
    assert stream.audio(b"a" * 160, 0) is None
    stream.text(START.format("alaw"))
    assert stream.audio(b"a" * 160, 20) is None
    stream.text(START.format("ulaw"))
    assert stream.audio(b"a" * 160, 40) is not None
    stream.restart()
    assert stream.audio(b"a" * 160, 60) is None
    counters = stream.counters
    assert (counters.received, counters.accepted, counters.malformed) == (4, 1, 3)


@pytest.mark.parametrize(
    ("codec", "size", "good"),
    [
        (Codec.ULAW, 1, True),
        (Codec.ULAW, 138, True),
        (Codec.ULAW, 8000, True),
        (Codec.ULAW, 8001, False),
        (Codec.ALAW, 0, False),
        (Codec.SLIN, 276, True),
        (Codec.SLIN, 277, False),
        (Codec.SLIN16, 32_000, True),
        (Codec.SLIN16, 32_002, False),
    ],
)
def test_audio_is_whole_samples_and_not_too_many(codec: Codec, size: int, good: bool) -> None:
    stream = started(codec)
    assert (stream.audio(bytes(size), 5000) is not None) == good
    assert dict(zip(MEDIA_FATES, numbers(stream.counters), strict=True))["malformed"] == (not good)


def test_frames_are_placed_by_their_arrival_and_do_not_overlap() -> None:
    stream = started(Codec.SLIN)
    came = [(1000, 320), (1150, 320), (1150, 320), (1600, 276)]  # a lump after a stall, then a pause
    frames = [stream.audio(bytearray(size), at_ms) for at_ms, size in came]
    assert [frame.at_ms for frame in frames if frame] == [980, 1000, 1020, 1600 - 17.25]
    assert all(type(frame.payload) is bytes for frame in frames if frame)


def test_what_a_stall_held_back_and_came_at_once_keeps_its_times() -> None:
    stream = started(Codec.SLIN)
    stream.audio(bytes(320), 1000)
    frames = [stream.audio(bytes(320), 1600, behind) for behind in range(29 * 320, -1, -320)]
    assert [frame.at_ms for frame in frames if frame] == list(range(1000, 1600, 20))


def test_texts_are_counted_where_they_tell_of_trouble() -> None:
    stream = started(Codec.ULAW)
    assert stream.text("what?") is None
    assert stream.text("DTMF_END digit:5") == Digit("5")
    assert stream.text('{"event":"ERROR","error_text":"no"}') == Failed("no")
    assert (stream.counters.unread, stream.counters.failed) == (1, 1)
    assert stream.announced


@given(st.sampled_from(list(Codec)), st.lists(st.binary(max_size=400) | st.text(max_size=40)))
def test_every_binary_message_has_one_fate(codec: Codec, messages: list[bytes | str]) -> None:
    stream = mediasocket.MediaStream(codec)
    stream.text(START.format(codec.label))
    frames = 0
    for at, message in enumerate(messages):
        if isinstance(message, str):
            stream.text(message)
        else:
            frames += stream.audio(message, at * 20.0) is not None
    counters = stream.counters
    assert counters.received == sum(isinstance(message, bytes) for message in messages)
    assert counters.received == counters.accepted + counters.malformed
    assert counters.accepted == frames
