"""The ear against damage that telephone audio takes: laws, noise, lost and doubled packets, any cut."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, WORDS, say, spoken_ms
from bridge.emulator.ear import Ear, Heard

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

PACKET = 320
REPEATS = "일 일 일 확인 확인 이"


def silence(ms: float, rate: int = 8000) -> bytes:
    return bytes(2 * round(ms * rate / 1000))


def listen(pcm: bytes, rate: int = 8000) -> list[Heard]:
    ear = Ear(rate)
    return ear.hear(pcm) + ear.finish()


def text(heard: list[Heard]) -> str:
    return " ".join(thing.text for thing in heard)


def packets(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + PACKET] for at in range(0, len(pcm), PACKET)]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_every_sentence_comes_back_with_its_times(rate: int) -> None:
    for lead_ms, sentence in enumerate(SENTENCES):
        heard = listen(silence(lead_ms, rate) + say(sentence, rate), rate)
        assert text(heard) == sentence
        for index, word in enumerate(heard):
            assert abs(word.start_ms - lead_ms - 260 * index) <= 6
            assert abs(word.duration_ms - 200) <= 6


def test_a_repeated_word_is_told_from_a_long_one() -> None:
    assert text(listen(say("확인 확인 확인"))) == "확인 확인 확인"
    doubled = listen(say("확인") + say("확인"))
    assert text(doubled) == "확인"
    assert doubled[0].duration_ms == pytest.approx(400, abs=10)


@pytest.mark.parametrize("law", ["u", "a"])
def test_g711_changes_nothing(law: str) -> None:
    for sentence in SENTENCES:
        pcm = silence(33) + say(sentence)
        coded = (
            audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)
            if law == "u"
            else audioop.alaw2lin(audioop.lin2alaw(pcm, 2), 2)
        )
        assert text(listen(coded)) == sentence


@pytest.mark.parametrize("gain", [0.05, 0.25, 2.0])
def test_loudness_changes_nothing(gain: float) -> None:
    for sentence in SENTENCES:
        assert text(listen(audioop.mul(say(sentence), 2, gain))) == sentence


def test_noise_of_20_db_changes_nothing() -> None:
    noise = np.random.default_rng(7)
    for sentence in SENTENCES:
        clean = np.frombuffer(silence(200) + say(sentence) + silence(200), "<i2")
        noisy = clean + noise.normal(0, 500, len(clean))
        pcm = noisy.clip(-32768, 32767).astype("<i2").tobytes()
        assert text(listen(audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2))) == sentence


@pytest.mark.parametrize("damage", ["missing", "silent", "doubled", "swapped"])
@pytest.mark.parametrize("lead_ms", [0, 7])
def test_one_damaged_packet_leaves_the_text_and_shows_in_the_times(damage: str, lead_ms: int) -> None:
    whole = packets(silence(lead_ms) + say(REPEATS))
    expected = {"missing": -20, "doubled": 20}.get(damage, 0)
    for at in range(len(whole) - 2):
        after = {
            "missing": [],
            "silent": [bytes(PACKET), whole[at + 1]],
            "doubled": [whole[at], whole[at], whole[at + 1]],
            "swapped": [whole[at + 1], whole[at]],
        }[damage]
        heard = listen(b"".join([*whole[:at], *(after or [whole[at + 1]]), *whole[at + 2 :]]))
        assert text(heard) == REPEATS, at
        end = heard[-1].end_ms - lead_ms - spoken_ms(REPEATS)
        assert abs(end - expected) <= 24, at  # a lost packet of silence changes nothing, or 20 ms


@pytest.mark.parametrize("lead_ms", [0, 7, 13, 300])
def test_a_word_cut_after_90_ms_is_recognised_and_a_shorter_one_is_not(lead_ms: int) -> None:
    for word in WORDS:
        for ms in (90, 140, 180):
            heard = listen(silence(lead_ms) + say(word)[: 16 * ms])
            assert text(heard) == word
            assert abs(heard[0].duration_ms - ms) <= 8
        assert word not in text(listen(silence(lead_ms) + say(word)[: 16 * 75]))


def test_a_voice_that_speaks_no_word_is_one_segment() -> None:
    noise = np.random.default_rng(3).normal(0, 3000, 9600).astype("<i2").tobytes()
    heard = listen(silence(100) + noise + silence(200) + noise[:8000] + silence(400) + say("예약 확인"))
    assert [thing.text for thing in heard] == ["[음성 1.9초]", "예약", "확인"]
    assert abs(heard[0].start_ms - 100) <= 15
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(heard))


def test_ringback_is_a_voice_and_not_a_word() -> None:
    at = np.arange(8000) / 8000
    tones = 5000 * np.sin(2 * np.pi * 440 * at) + 5000 * np.sin(2 * np.pi * 480 * at)
    assert text(listen(tones.astype("<i2").tobytes())) == "[음성 1.0초]"


@pytest.mark.parametrize("rms", [0, 30, 300])
def test_silence_and_comfort_noise_are_nothing(rms: int) -> None:
    noise = np.random.default_rng(5).normal(0, rms, 16000).astype("<i2").tobytes()
    assert listen(noise) == []


@pytest.mark.parametrize("other", ["공", "주문", "오늘"])  # the same row, the same row, neither
def test_a_voice_over_another_is_not_heard_as_either(other: str) -> None:
    assert text(listen(audioop.add(say("예약"), say(other), 2))) == "[음성 0.2초]"


def test_flush_gives_the_word_under_way_once() -> None:
    ear, pcm = Ear(8000), say("예약 확인")
    assert text(ear.hear(pcm[: 16 * 400])) == "예약"
    assert text(ear.flush()) == "확인"
    assert ear.flush() == []
    assert ear.forming() is None
    assert text(ear.hear(pcm[16 * 400 :] + silence(100))) == ""
    assert text(ear.hear(say("확인")) + ear.finish()) == "확인"


def test_flush_leaves_a_word_barely_begun() -> None:
    ear, pcm = Ear(8000), say("예약 확인")
    assert text(ear.hear(pcm[: 16 * 310]) + ear.flush()) == "예약"
    assert text(ear.hear(pcm[16 * 310 :]) + ear.finish()) == "확인"


def test_positions_follow_the_audio() -> None:
    ear = Ear(8000)
    ear.hear(say("예약") + silence(600))
    assert ear.received_ms == 800
    assert 775 <= ear.heard_ms <= 800
    assert ear.active_ms == pytest.approx(200, abs=6)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_it_hears_the_same_however_the_audio_is_cut(data: st.DataObject) -> None:
    noise = np.random.default_rng(1).normal(0, 2500, 4000).astype("<i2").tobytes()
    pcm = silence(11) + say(REPEATS) + noise + silence(350) + say("예약 확인")[:-900] + b"\x07"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pcm)), max_size=12)))
    ear, pieces = Ear(8000), []
    for start, end in pairwise([0, *cuts, len(pcm)]):
        pieces += ear.hear(pcm[start:end])
    assert pieces + ear.finish() == listen(pcm)


def test_it_hears_the_same_byte_by_byte() -> None:
    pcm = silence(5) + say("환불 환불 오") + silence(40)
    ear, heard = Ear(8000), []
    for at in range(len(pcm)):
        heard += ear.hear(pcm[at : at + 1])
    assert heard + ear.finish() == listen(pcm)


@given(st.binary(max_size=4000))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_heard_without_complaint(pcm: bytes) -> None:
    for thing in listen(pcm):
        assert 0 <= thing.start_ms <= thing.end_ms <= len(pcm) / 16 + 1
