"""bench/truth.py: packets are known again wherever they lie, no ear hears a mark, no wrong word passes."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.truth import PACKET, Mark, Said, mark, marks, ranges, unfolded, words_wrong
from bridge.emulator.codebook import WORDS, say
from bridge.emulator.engine import Engine
from bridge.emulator.query import parse
from bridge.types import Codec, Frame
from bridge.wire import g711
from bridge.wire.gate import Audio, Gate, GateSettings

SILENCE = Codec.ULAW.silence(20)


@given(
    st.lists(
        st.tuples(st.binary(min_size=PACKET, max_size=PACKET), st.integers(0, 65535), st.integers(0, 65535)),
        max_size=5,
    ),
    st.integers(0, 400),
)
def test_packets_are_found_at_any_place_and_in_any_audio(
    packets: list[tuple[bytes, int, int]], filled: int
) -> None:
    filling = b"\xff" * filled
    stream = filling.join(mark(*packet) for packet in packets)
    step = PACKET + filled
    assert list(marks(stream)) == [
        Mark(leg, number, at * step + PACKET) for at, (_, leg, number) in enumerate(packets)
    ]


def test_a_packet_that_is_torn_is_not_found() -> None:
    packet = mark(SILENCE, 7, 8)
    assert list(marks(packet[:-1])) == []
    assert list(marks(packet[1:])) == []
    assert list(marks(packet[:100] + packet)) == [Mark(7, 8, 100 + PACKET)]


def test_only_whole_packets_are_marked() -> None:
    with pytest.raises(ValueError, match="159 bytes"):
        mark(SILENCE[1:], 0, 0)


def test_no_ear_and_no_gate_hears_the_marks() -> None:
    said = " ".join(WORDS[::5])
    audio = Codec.ULAW.silence(400) + g711.pcm_to_ulaw(say(said)) + Codec.ULAW.silence(400)
    plain = [audio[at : at + PACKET] for at in range(0, len(audio), PACKET)]
    marked = [mark(packet, 65535, number) for number, packet in enumerate(plain)]
    assert heard(marked) == heard(plain) == [said]
    assert voiced(marked) == voiced(plain)


def heard(packets: Sequence[bytes]) -> list[str]:
    engine = Engine(parse([("sample_rate", "8000"), ("encoding", "MULAW")]))
    for packet in packets:
        engine.hear(packet, 0.0)
    engine.eos(0.0)
    return [result["alternatives"][0]["text"] for result in engine.due(1e9) if result["final"]]


def voiced(packets: Sequence[bytes]) -> list[bool]:
    gate = Gate(GateSettings(), Codec.ULAW)
    actions = gate.feed([Frame(packet, 20.0 * n) for n, packet in enumerate(packets)], 20.0 * len(packets))
    return [action.voiced for action in actions if isinstance(action, Audio)]


@given(st.sets(st.integers(0, 50)))
def test_ranges_hold_the_same_numbers(numbers: set[int]) -> None:
    found = ranges(numbers)
    assert unfolded(found) == numbers
    assert all(one[1] + 1 < other[0] for one, other in pairwise(found))


SAID = [Said(text, 260.0 * n, 260.0 * n + 200) for n, text in enumerate(("가", "나", "다", "라"))]


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        ("가 나 다 라", 0),
        ("가 다 라", 1),
        ("가 나 나 다 라", 1),
        ("가 다 나 라", 2),
        ("", 4),
        ("가 나 마 라 라", 2),
    ],
)
def test_each_wrong_word_counts_once(heard: str, wrong: int) -> None:
    assert words_wrong(SAID, heard.split()) == wrong


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        ("가 라", 0),
        ("가 나 다 라", 0),
        ("가 [음성] 라", 0),
        ("가 나 라", 0),
        ("가", 1),
        ("라", 1),
        ("가 라 라 라 라", 1),
    ],
)
def test_words_that_a_gap_touches_may_be_anything_but_the_others_not(heard: str, wrong: int) -> None:
    assert words_wrong(SAID, heard.split(), [(400, 600)]) == wrong
