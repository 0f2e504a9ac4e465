"""The code book's words and sentences as sound; hearing them again is tested with the ear."""

from itertools import pairwise

import numpy as np
import pytest
import webrtcvad

from bridge.emulator.codebook import (
    GAP_MS,
    HIGH_HZ,
    LOW_HZ,
    SENTENCES,
    TONE_PEAK,
    WORD_MS,
    WORDS,
    CodebookError,
    say,
    spoken_ms,
)


def test_the_book_holds_64_words_each_with_its_own_pair_in_the_telephone_band() -> None:
    assert len(set(WORDS)) == 64
    assert len(set(LOW_HZ)) == len(set(HIGH_HZ)) == 8
    assert all(300 < hz < 3400 for hz in (*LOW_HZ, *HIGH_HZ))
    assert WORD_MS >= 120
    assert GAP_MS >= 40


def test_tones_lie_far_enough_apart_for_a_20_ms_window() -> None:
    for group in (sorted(LOW_HZ), sorted(HIGH_HZ)):
        assert all(above - below >= 70 for below, above in pairwise(group))


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [("일", 697, 1209), ("오", 770, 1336), ("구", 852, 1477), ("공", 941, 1336), ("별표", 941, 1209)],
)
def test_a_telephone_key_is_its_digits_word(word: str, low: int, high: int) -> None:
    index = WORDS.index(word)
    assert (LOW_HZ[index // 8], HIGH_HZ[index % 8]) == (low, high)


def test_sentences_are_of_4_to_12_words_and_use_the_whole_book() -> None:
    assert len(set(SENTENCES)) >= 24
    assert {4 <= len(sentence.split()) <= 12 for sentence in SENTENCES} <= {True}
    assert set(" ".join(SENTENCES).split()) == set(WORDS)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_speech_lasts_as_long_as_told(rate: int) -> None:
    text = "예약 확인 확인 부탁드립니다"
    assert spoken_ms(text) == 4 * WORD_MS + 3 * GAP_MS
    assert len(say(text, rate)) == spoken_ms(text) * rate // 1000 * 2


def test_nothing_said_is_no_sound() -> None:
    assert (say(""), spoken_ms("")) == (b"", 0)


@pytest.mark.parametrize("call", [say, spoken_ms])
def test_an_unknown_word_is_named(call: type) -> None:
    with pytest.raises(CodebookError, match="고양이"):
        call("예약 고양이 확인")


def test_words_begin_and_end_softly_and_never_clip() -> None:
    for word in WORDS:
        samples = np.frombuffer(say(word), "<i2").astype(int)
        assert abs(samples).max() <= 2 * TONE_PEAK
        assert abs(samples[:4]).max() < 500
        assert abs(samples[-4:]).max() < 500


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_webrtc_vad_takes_every_word_for_speech(mode: int) -> None:
    for word in WORDS:
        vad = webrtcvad.Vad(mode)
        pcm = bytes(16 * 400) + say(word)
        frames = [pcm[at : at + 320] for at in range(0, len(pcm), 320)]
        voiced = [vad.is_speech(frame, 8000) for frame in frames]
        assert sum(voiced[20:]) >= 9, word


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_webrtc_vad_hears_a_sentence_through_and_then_the_silence(mode: int) -> None:
    vad = webrtcvad.Vad(mode)
    for sentence in SENTENCES:
        pcm = say(sentence) + bytes(16 * 600)
        voiced = [vad.is_speech(pcm[at : at + 320], 8000) for at in range(0, len(pcm) - 319, 320)]
        end = spoken_ms(sentence) // 20
        assert all(voiced[1:end])
        assert not any(voiced[end + 10 :])
