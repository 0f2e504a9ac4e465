"""bridge/wire/audiostream.py: samples whole however they are cut, two channels apart, and a wrong rate."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Frame
from bridge.wire import g711
from bridge.wire.arrival import BACK_MS
from bridge.wire.audiostream import (
    AUDIOSTREAM_FATES,
    FRAME_MS,
    LONGEST,
    MOST_TEXTS,
    TEXTS_PER_S,
    AudioStream,
    Mismatch,
    numbers,
)

CAPTURES = Path(__file__).parents[1] / "captures" / "freeswitch"
LINEAR = (Codec.SLIN, Codec.SLIN16, Codec.SLIN24)


def audio_of(frames: Iterable[Frame]) -> bytes:
    return b"".join(frame.payload for frame in frames)


def recorded(name: str) -> list[dict[str, Any]]:
    """The messages of a recording's first connection, without their audio: `t` and `wire_len`."""
    (path,) = CAPTURES.glob(f"{name}-*.jsonl")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["src"] == "ws" and line["conn"] == 1 and line["dir"] == "c2s"]


def played(stream: AudioStream, name: str) -> list[Frame]:
    """The frames of a recording's audio, by its sizes and times."""
    frames = list[Frame]()
    for line in recorded(name):
        if line["op"] == "binary":
            frames += stream.audio([bytes(line["wire_len"])], 1000 * line["t"])[0]
        elif line["op"] == "text":
            assert stream.text(1000 * line["t"])
    return frames


def cut(pcm: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`pcm` in messages of these sizes, and one of the rest."""
    messages = list[bytes]()
    for size in sizes:
        messages.append(pcm[:size])
        pcm = pcm[size:]
    return [message for message in (*messages, pcm) if message]


def assert_in_order(frames: Sequence[Frame], codec: Codec) -> None:
    assert all(0 < len(frame.payload) <= FRAME_MS * codec.bytes_per_ms for frame in frames)
    for one, after in pairwise(frames):
        assert after.at_ms >= one.at_ms + codec.ms(len(one.payload)) - BACK_MS - 0.001
        assert after.at_ms > one.at_ms - BACK_MS


@given(
    st.sampled_from(LINEAR),
    st.binary(max_size=3000),
    st.lists(st.integers(1, 700), max_size=12),
    st.lists(st.integers(1, 4), max_size=12),
)
def test_however_mono_is_cut_its_samples_are_the_same(
    codec: Codec, pcm: bytes, sizes: list[int], wakes: list[int]
) -> None:
    """Into messages, and messages into what arrives together."""
    stream, frames, now_ms = AudioStream(codec), list[Frame](), 500.0
    messages = cut(pcm, sizes)
    for wake in (*wakes, len(messages)):
        together, messages = messages[:wake], messages[wake:]
        own, other = stream.audio(together, now_ms)
        frames += own
        assert other == []
        now_ms += 7
    whole = len(pcm) // 2 * 2
    assert audio_of(frames) == pcm[:whole]
    assert_in_order(frames, codec)
    stream.restart()
    assert stream.counters.halved == len(pcm) % 2
    assert stream.counters.received == stream.counters.accepted == len(cut(pcm, sizes))


@given(st.sampled_from(LINEAR), st.lists(st.binary(min_size=4, max_size=4)), st.lists(st.integers(1, 700)))
def test_however_stereo_is_cut_its_channels_stay_apart(
    codec: Codec, pairs: list[bytes], sizes: list[int]
) -> None:
    stream, own, other = AudioStream(codec, 2), list[Frame](), list[Frame]()
    for number, message in enumerate(cut(b"".join(pairs), sizes)):
        one, two = stream.audio([message], 500.0 + 7 * number)
        assert [frame.at_ms for frame in one] == [frame.at_ms for frame in two]
        own += one
        other += two
    assert audio_of(own) == b"".join(pair[:2] for pair in pairs)
    assert audio_of(other) == b"".join(pair[2:] for pair in pairs)
    assert_in_order(own, codec)


def test_the_first_channel_of_a_recorded_stereo_stream_is_the_callers() -> None:
    """440 Hz of the caller, whose leg was streamed, and 1000 Hz of the callee, which is again the same after
    each 8 samples. Of a message its first 16 pairs are kept."""
    stream = AudioStream(Codec.SLIN, 2)
    heads = [bytes.fromhex(line["head_hex"]) for line in recorded("mas-04") if "head_hex" in line][3:]
    assert len(heads) > 20
    for number, head in enumerate(heads):
        own, other = stream.audio([head], 20.0 * number)
        assert not repeats(audio_of(own))
        assert repeats(audio_of(other))


def repeats(pcm: bytes) -> bool:
    """Whether the second eight samples are the first, but for what G.711 made of them."""
    samples = memoryview(pcm).cast("h")
    return all(abs(samples[at] - samples[at + 8]) < 600 for at in range(8))


@pytest.mark.parametrize(
    ("name", "codec", "channels", "audio_ms"),
    [
        ("mas-01", Codec.SLIN, 1, 4000),
        ("mas-06", Codec.SLIN, 1, 4000),  # 100 ms a message
        ("mas-07", Codec.SLIN16, 2, 3000),  # 200 ms
        ("mas-33", Codec.SLIN, 1, 3000),  # 30 ms
        ("mas-36", Codec.SLIN24, 1, 3020),
        ("mas-11", Codec.SLIN, 1, 3020),  # 0.6 s piled up, in many messages, text after audio
        ("fork-jambonz-09", Codec.SLIN, 1, 3020),  # 0.6 s piled up, in one message
        ("fork-jambonz-02", Codec.SLIN16, 2, 3020),
        ("call-30", Codec.SLIN, 1, 4080),  # on hold for 3.5 s
        ("mas102-03", Codec.SLIN16, 2, 3000),
    ],
)
def test_recorded_streams_are_whole_and_their_rate_is_right(
    name: str, codec: Codec, channels: int, audio_ms: float
) -> None:
    stream = AudioStream(codec, channels)
    frames = played(stream, name)
    assert codec.ms(len(audio_of(frames))) == audio_ms
    assert_in_order(frames, codec)
    assert stream.mismatch is None
    assert stream.counters.received == stream.counters.accepted


def test_a_hold_is_a_hole() -> None:
    frames = played(AudioStream(Codec.SLIN), "call-30")
    holes = [after.at_ms - one.at_ms - 20 for one, after in pairwise(frames) if after.at_ms - one.at_ms > 21]
    assert holes == [pytest.approx(3500, abs=150)]


def test_what_piled_up_is_of_the_time_before() -> None:
    """In one message as from mod_audio_fork, or in many that arrive together: it ends now."""
    for messages in ([bytes(9920)], [bytes(320)] * 31):
        frames, _ = AudioStream(Codec.SLIN).audio(messages, 1000.0)
        assert [frame.at_ms for frame in frames] == [380.0 + 20 * number for number in range(31)]


def test_five_seconds_of_stereo_at_24_khz_pass_in_one_message_and_not_a_byte_more() -> None:
    stream = AudioStream(Codec.SLIN24, 2)
    own, other = stream.audio([bytes(LONGEST)], 5000.0)
    assert len(own) == len(other) == 250
    assert (own[0].at_ms, own[-1].at_ms) == (0.0, 4980.0)
    assert stream.audio([bytes(LONGEST + 4), bytes(1920)], 5020.0)[0] == [Frame(bytes(960), 5000.0)]
    assert (stream.counters.accepted, stream.counters.malformed) == (2, 1)


def test_fill_is_audio() -> None:
    frames, _ = AudioStream(Codec.SLIN).audio([b"\xff" * 320], 20.0)
    assert frames == [Frame(b"\xff" * 320, 0.0)]
    assert g711.peak(frames[0].payload) == 1


def test_an_empty_message_is_the_last_of_its_connection() -> None:
    stream = AudioStream(Codec.SLIN)
    frames, _ = stream.audio([bytes(320), b""], 20.0)
    assert len(frames) == 1
    closes = [stream.over]
    stream.restart()
    assert [*closes, stream.over] == [True, False]
    assert dict(zip(AUDIOSTREAM_FATES, numbers(stream.counters), strict=True)) == dict.fromkeys(
        AUDIOSTREAM_FATES, 0
    ) | {"received": 2, "accepted": 1, "finished": 1}


def test_half_a_sample_is_not_carried_to_the_next_connection() -> None:
    stream = AudioStream(Codec.SLIN)
    assert stream.audio([b"abc"], 20.0)[0][0].payload == b"ab"
    stream.restart()
    assert stream.audio([b"defg"], 40.0)[0][0].payload == b"defg"
    assert stream.counters.halved == 1


def test_a_flood_of_texts_is_one_too_many() -> None:
    stream = AudioStream(Codec.SLIN)
    assert all(stream.text(0.0) for _ in range(MOST_TEXTS))
    assert not stream.text(0.0)
    assert stream.text(1000 / TEXTS_PER_S)
    assert (stream.counters.texts, stream.counters.flooded) == (MOST_TEXTS + 2, 1)


@pytest.mark.parametrize(("codec", "channels"), [(Codec.ULAW, 1), (Codec.SLIN, 3), (Codec.SLIN, 0)])
def test_what_no_stream_can_be_is_told(codec: Codec, channels: int) -> None:
    with pytest.raises(ValueError, match=codec.label):
        AudioStream(codec, channels)


# The rate.


def paced(
    stream: AudioStream, size: int, every_ms: float, count: int, *, at_ms: float = 0.0, lag: int = 0
) -> float:
    """Messages of `size` bytes; of each 500 the last `lag` pile up. Gives when the next is due."""
    waiting = 0
    for number in range(count):
        waiting += 1
        if number % 500 >= 500 - lag and number < count - 1:
            continue
        for _ in range(waiting):
            stream.audio([bytes(size)], at_ms + every_ms * (number + 1))
        waiting = 0
    return at_ms + every_ms * count


@pytest.mark.parametrize(
    ("codec", "channels", "size", "every_ms", "measured"),
    [
        (Codec.SLIN, 1, 640, 20, 32_000),  # started as stereo, or at 16 kHz
        (Codec.SLIN, 2, 320, 20, 16_000),  # started as mono
        (Codec.SLIN16, 1, 320, 20, 16_000),
        (Codec.SLIN24, 1, 640, 20, 32_000),
        (Codec.SLIN16, 1, 1600, 100, 16_000),
        (Codec.SLIN16, 1, 3200, 200, 16_000),
    ],
)
def test_another_rate_is_told_once(
    codec: Codec, channels: int, size: int, every_ms: float, measured: int
) -> None:
    stream = AudioStream(codec, channels)
    paced(stream, size, every_ms, round(12_000 / every_ms))
    assert stream.mismatch == Mismatch(1000 * codec.bytes_per_ms * channels, measured)
    assert stream.counters.mismatched == 1


def test_it_takes_three_seconds_to_tell() -> None:
    stream = AudioStream(Codec.SLIN)
    paced(stream, 640, 20, 100)
    assert stream.mismatch is None
    paced(stream, 640, 20, 50, at_ms=2000)
    assert stream.mismatch is not None


@pytest.mark.parametrize("lag", [0, 10, 20, 50, 100])
def test_a_network_that_stutters_is_no_other_rate(lag: int) -> None:
    stream = AudioStream(Codec.SLIN)
    paced(stream, 320, 20, 3000, lag=lag)
    assert stream.mismatch is None


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2000)), min_size=1, max_size=40))
def test_neither_bursts_nor_holds_are_another_rate(turns: list[tuple[int, int]]) -> None:
    """Audio that was kept back comes at once: never more than was said in the meantime."""
    stream, now_ms = AudioStream(Codec.SLIN), 0.0
    for kept, hold_ms in turns:
        now_ms += 20 * kept + hold_ms
        for _ in range(kept):
            stream.audio([bytes(320)], now_ms)
        now_ms = paced(stream, 320, 20, 60, at_ms=now_ms)
    assert stream.mismatch is None


def test_every_connection_is_judged_anew() -> None:
    stream = AudioStream(Codec.SLIN)
    end_ms = paced(stream, 320, 20, 300)
    stream.restart()
    paced(stream, 640, 20, 300, at_ms=end_ms)
    assert stream.mismatch == Mismatch(16_000, 32_000)
