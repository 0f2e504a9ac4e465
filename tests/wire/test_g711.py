"""G.711 against its tables' known points, and every codec there and back."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec
from bridge.wire.g711 import (
    G711Error,
    from_pcm,
    halves,
    loudness,
    pcm_to_alaw,
    pcm_to_ulaw,
    peak,
    rms,
    split,
    swap,
    thirds,
    to_pcm,
)


def pcm(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def samples(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 2}h", data)


@pytest.mark.parametrize(
    ("codec", "payload", "expected"),
    [
        (Codec.ULAW, b"\xff\x7f\x80\x00", (0, 0, 32124, -32124)),  # ITU-T G.711 table 2, times 4
        (Codec.ALAW, b"\xd5\x55\xaa\x2a", (8, -8, 32256, -32256)),  # table 1, times 8
    ],
)
def test_known_points_of_the_tables(codec: Codec, payload: bytes, expected: tuple[int, ...]) -> None:
    assert samples(to_pcm(payload, codec)) == expected


@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.ALAW])
def test_g711_comes_back_the_same_from_pcm(codec: Codec) -> None:
    every = bytes(range(256))
    back = from_pcm(to_pcm(every, codec), codec)
    # mu-law has two zeros, and they decode alike
    assert to_pcm(back, codec) == to_pcm(every, codec)
    assert sum(a != b for a, b in zip(every, back, strict=True)) <= 1


@pytest.mark.parametrize("codec", list(Codec))
def test_silence_of_each_codec_is_silent(codec: Codec) -> None:
    assert loudness(codec.silence(20), codec) <= 8
    assert len(to_pcm(codec.silence(20), codec)) == codec.rate * 20 // 1000 * 2


@pytest.mark.parametrize("codec", list(Codec))
@given(st.lists(st.integers(-32_000, 32_000), max_size=50))
def test_a_sample_is_kept_to_a_sixteenth(codec: Codec, values: list[int]) -> None:
    back = samples(to_pcm(from_pcm(pcm(*values), codec), codec))
    assert all(abs(a - b) <= max(abs(a) / 16, 16) for a, b in zip(values, back, strict=True))


def test_channels_come_apart_as_they_went_in() -> None:
    left, right = pcm(0, -1, 32_767, -32_768), pcm(5, 6, -7, 8)
    both = pcm(*[value for pair in zip(samples(left), samples(right), strict=True) for value in pair])
    assert split(both) == (left, right)
    assert split(b"") == (b"", b"")


def test_a_third_of_the_rate_is_the_average_of_three() -> None:
    assert samples(thirds(pcm(3, 30, 300, -32_768, -32_768, -32_768, 32_767, 32_767, 32_767))) == (
        pytest.approx((111, -32_768, 32_767), abs=3)
    )


def test_half_of_the_rate_is_the_average_of_two() -> None:
    found = samples(halves(pcm(3, 30, -32_768, -32_768, 32_767, 32_767)))
    assert found == pytest.approx((16, -32_768, 32_767), abs=2)


@given(st.binary(max_size=99))
def test_swap_is_its_own_inverse(data: bytes) -> None:
    even = data * 2
    assert swap(swap(even)) == even
    assert struct.unpack(f">{len(data)}h", swap(even)) == samples(even)


def test_half_a_sample_is_refused_with_its_size() -> None:
    with pytest.raises(G711Error, match="3 bytes, needed a multiple of 2"):
        swap(b"abc")
    for refuse in (pcm_to_ulaw, pcm_to_alaw, rms, peak, lambda one: to_pcm(one, Codec.SLIN)):
        with pytest.raises(G711Error):
            refuse(b"abc")


def test_rms_of_a_sine() -> None:
    sine = pcm(*(round(10_000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(8000)))
    assert abs(rms(sine) - 10_000 / math.sqrt(2)) < 2
    assert abs(loudness(pcm_to_ulaw(sine), Codec.ULAW) - rms(sine)) < 50
    assert rms(b"") == 0


@given(st.lists(st.integers(-32_768, 32_767), max_size=50))
def test_no_sound_is_louder_than_its_loudest_sample(values: list[int]) -> None:
    assert peak(pcm(*values)) == max(map(abs, values), default=0)
    assert rms(pcm(*values)) <= peak(pcm(*values))
