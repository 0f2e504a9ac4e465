"""bridge/wire/intake.py: every message of audio has one fate, and frames have their call time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Frame
from bridge.wire.audiosocket import Audio, Digit, Message
from bridge.wire.intake import FATES, KEPT_BYTES, KEPT_MESSAGES, Intake, Kept, numbers


def voice(number: int, rate: int = 8000, ms: int = 20) -> Audio:
    return Audio(bytes([number, 1]) * (rate * ms // 1000), rate)


def test_a_message_becomes_a_frame_that_has_just_ended() -> None:
    assert Intake(Codec.SLIN).push([voice(5)], 1000) == [Frame(voice(5).payload, 980)]


def test_what_comes_in_a_lump_was_spoken_one_after_the_other() -> None:
    intake = Intake(Codec.SLIN16)
    frames = intake.push([voice(1, 16000), Digit("5"), voice(2, 16000, 40)], 1000)
    assert [frame.at_ms for frame in frames] == [940, 960]
    assert [frame.at_ms for frame in intake.push([voice(3, 16000)], 1100)] == [1000]
    assert [frame.at_ms for frame in intake.push([voice(3, 16000)], 5000)] == [4980]


def test_audio_of_another_rate_and_of_no_length_is_counted_and_not_delivered() -> None:
    intake = Intake(Codec.SLIN)
    messages: list[Message] = [voice(1, 16000), Audio(b"", 8000), Digit("#"), voice(2), Audio(b"", 16000)]
    assert [frame.payload[0] for frame in intake.push(messages, 1000)] == [2]
    assert dict(zip(FATES, numbers(intake.counters), strict=True)) == {
        "received": 4,
        "accepted": 1,
        "malformed": 1,
        "empty": 2,
        "digits": 1,
        "lost": 0,
    }


def test_what_older_releases_label_8_khz_has_the_rate_that_was_asked_for() -> None:
    intake = Intake(Codec.SLIN16)
    assert intake.push([Audio(bytes(640), 8000)], 1000)[0].at_ms == 980
    assert intake.push([Audio(bytes(640), 8000)], 1020)[0].at_ms == 1000


@given(st.lists(st.lists(st.builds(voice, st.integers(0, 255), st.sampled_from([8000, 16000])), max_size=5)))
def test_the_books_are_balanced(lots: list[list[Message]]) -> None:
    intake, delivered = Intake(Codec.SLIN), 0
    for number, lot in enumerate(lots):
        delivered += len(intake.push(lot, 1000 + 50 * number))
    counters = intake.counters
    assert counters.received == counters.accepted + counters.malformed + counters.empty
    assert delivered == counters.accepted


@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.ALAW])
def test_a_codec_that_would_be_labelled_wrong_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match=f"carries slin or slin16, not {codec.label}"):
        Intake(codec)


def test_what_is_kept_comes_back_as_it_arrived() -> None:
    kept = Kept()
    kept.push([voice(1), Digit("1"), voice(2)], 10.0)
    kept.push([Digit("2")], 10.5)
    kept.push([voice(3)], 11.0)
    assert kept.lots() == [(10.0, [voice(1), voice(2)]), (11.0, [voice(3)])]


@pytest.mark.parametrize(("ms", "left"), [(40, KEPT_BYTES // 1280), (1, KEPT_MESSAGES)])
def test_the_oldest_goes_when_more_comes_than_is_kept(ms: int, left: int) -> None:
    kept = Kept()
    for number in range(250):
        kept.push([voice(number, 16000, ms)], number)
    assert kept.overrun == 250 - left
    assert [at_s for at_s, _ in kept.lots()] == list(range(250 - left, 250))
