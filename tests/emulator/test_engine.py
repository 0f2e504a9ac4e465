"""Utterances and their times, with the clock as an argument."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.engine import Engine, Result
from bridge.emulator.query import Encoding, StreamQuery

FIRST, SECOND = SENTENCES[0], SENTENCES[3]
FOREVER = 1e12


def engine(
    speed: float = 1000.0, recognition_ms: float = 0, partial_ms: float = 200, **given_: Any
) -> Engine:
    query = StreamQuery(8000, Encoding.LINEAR16, **given_)
    return Engine(query, speed=speed, recognition_ms=recognition_ms, partial_ms=partial_ms)


def silence(ms: float) -> bytes:
    return bytes(2 * round(8 * ms))


def finals(results: list[Result]) -> list[Result]:
    return [result for result in results if result["final"]]


def texts(results: list[Result]) -> list[str]:
    return [result["alternatives"][0]["text"] for result in finals(results)]


def play(heard: Engine, pcm: bytes, now_ms: float = 0.0) -> float:
    """Sends `pcm` in packets of 20 ms in real time; the time after it."""
    for at in range(0, len(pcm), 320):
        now_ms += 20
        heard.hear(pcm[at : at + 320], now_ms)
    return now_ms


def test_silence_of_epd_time_ends_an_utterance() -> None:
    heard = engine(epd_time=0.5)
    play(heard, silence(200) + say(FIRST) + silence(480))
    assert finals(heard.due(FOREVER)) == []
    play(heard, silence(60))
    assert texts(heard.due(FOREVER)) == [FIRST]


def test_a_longer_epd_time_waits_longer() -> None:
    heard = engine(epd_time=1.0)
    play(heard, say(FIRST) + silence(800) + say(SECOND) + silence(1100))
    assert texts(heard.due(FOREVER)) == [f"{FIRST} {SECOND}"]


def test_a_final_has_words_with_their_times() -> None:
    heard = engine()
    play(heard, silence(300) + say("예약 확인 확인") + silence(600))
    final = finals(heard.due(FOREVER))[0]
    words = final["alternatives"][0]["words"]
    assert (final["seq"], final["final"]) == (0, True)
    assert final["start_at"] == pytest.approx(300, abs=6)
    assert final["duration"] == pytest.approx(spoken_ms("예약 확인 확인"), abs=6)
    assert [word["text"] for word in words] == ["예약|", "확인|", "확인"]
    assert [word["start_at"] for word in words] == pytest.approx([0, 260, 520], abs=6)
    assert [word["duration"] for word in words] == pytest.approx([200] * 3, abs=6)
    assert all(0.9 < word["confidence"] <= 1 for word in words)
    assert all(isinstance(final[name], int) for name in ("seq", "start_at", "duration"))


def test_partials_grow_at_their_cadence_and_carry_no_duration_and_no_words() -> None:
    heard = engine(partial_ms=200)
    play(heard, silence(100) + say(FIRST) + silence(600))
    results = heard.due(FOREVER)
    partials = results[:-1]
    assert all((p["seq"], p["duration"], p["final"]) == (0, 0, False) for p in partials)
    assert all("words" not in p["alternatives"][0] for p in partials)
    shown = [p["alternatives"][0]["text"] for p in partials]
    assert len(shown) == len(set(shown)) >= 3
    assert all(FIRST.startswith(text) for text in shown)
    assert results[-1]["final"]


def test_finalize_closes_at_once_and_only_once() -> None:
    heard = engine()
    heard.finalize(0)
    now = play(heard, silence(100) + say(FIRST))
    heard.finalize(now)
    assert texts(heard.due(now + 1)) == [FIRST]
    heard.finalize(now)
    play(heard, silence(1000), now)
    heard.finalize(now + 1000)
    assert heard.due(FOREVER) == []


def test_a_word_under_way_at_finalize_is_given_once() -> None:
    heard, pcm = engine(), say("예약 확인")
    now = play(heard, pcm[: 16 * 380])
    heard.finalize(now)
    play(heard, pcm[16 * 380 :] + silence(600), now)
    assert texts(heard.due(FOREVER)) == ["예약 확인"]


def test_eos_gives_what_is_left_and_ends() -> None:
    heard = engine()
    now = play(heard, silence(100) + say(FIRST)[: -16 * 60])
    heard.eos(now)
    before, results, after = heard.drained, heard.due(FOREVER), heard.drained
    assert (before, texts(results), after) == (False, [FIRST], True)
    heard.hear(say(SECOND) + silence(600), now)
    heard.finalize(now)
    heard.eos(now)
    assert heard.next_due_ms is None


def test_seq_counts_utterances_and_start_at_is_of_the_connection() -> None:
    heard = engine()
    play(heard, say(FIRST) + silence(1000) + say(SECOND) + silence(600))
    first, second = finals(heard.due(FOREVER))
    assert (first["seq"], second["seq"]) == (0, 1)
    assert first["start_at"] == pytest.approx(0, abs=6)
    assert second["start_at"] == pytest.approx(spoken_ms(FIRST) + 1000, abs=6)


def test_long_speech_is_split_between_words_and_loses_none() -> None:
    heard, speech = engine(max_utter_duration=2), " ".join(SENTENCES[:5])
    play(heard, say(speech) + silence(600))
    got = finals(heard.due(FOREVER))
    assert " ".join(texts(got)) == speech
    assert len(got) > 2
    assert all(final["duration"] <= 2300 for final in got)


def test_a_long_voice_is_split_too() -> None:
    noise = np.random.default_rng(2).normal(0, 3000, 8 * 2500).astype("<i2").tobytes()
    heard = engine(max_utter_duration=1)
    play(heard, noise + silence(600))
    assert texts(heard.due(FOREVER))[:2] == ["[음성 1.0초]", "[음성 1.0초]"]


def test_punctuation_is_a_full_stop_in_the_text_only() -> None:
    heard = engine(use_punctuation=True)
    play(heard, say("예약 확인") + silence(600))
    best = finals(heard.due(FOREVER))[0]["alternatives"][0]
    assert best["text"] == "예약 확인."
    assert [word["text"] for word in best["words"]] == ["예약|", "확인"]


def test_a_lump_waits_its_turn() -> None:
    heard = engine(speed=5.0, recognition_ms=150)
    speech = say(FIRST)
    heard.hear(speech, 1000)
    heard.finalize(1000)
    due = 1000 + spoken_ms(FIRST) / 5 + 150
    assert finals(heard.due(due - 1)) == []
    assert texts(heard.due(due + 1)) == [FIRST]


def test_a_second_lump_waits_for_the_first() -> None:
    heard = engine(speed=5.0)
    heard.hear(say(FIRST) + silence(600), 0)
    heard.hear(say(SECOND), 0)
    heard.finalize(0)
    whole = spoken_ms(FIRST) + 600 + spoken_ms(SECOND)
    assert texts(heard.due((spoken_ms(FIRST) + 540) / 5)) == [FIRST]
    assert texts(heard.due(whole / 5 - 1)) == []
    assert texts(heard.due(whole / 5 + 1)) == [SECOND]


def test_in_real_time_recognition_is_all_that_finalize_waits_for() -> None:
    heard = engine(speed=5.0, recognition_ms=150)
    now = play(heard, say(FIRST) + silence(240))
    heard.finalize(now)
    assert finals(heard.due(now + 149)) == []
    assert texts(heard.due(now + 155)) == [FIRST]


def test_results_never_overtake_each_other() -> None:
    heard = engine(recognition_ms=3000)
    now = play(heard, say(FIRST))
    heard.finalize(now)
    play(heard, say(SECOND), now)
    results = heard.due(FOREVER)
    order = [(result["seq"], result["final"]) for result in results]
    assert order == sorted(order)
    assert (0, True) in order
    assert (1, False) in order


def test_g711_counts_its_own_bytes() -> None:
    heard = Engine(StreamQuery(8000, Encoding.MULAW))
    heard.hear(b"\xff" * 16000, 0)
    assert heard.received_s == 2.0


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40))
@settings(max_examples=20, deadline=None)
def test_finals_are_the_same_however_the_audio_is_cut(sizes: list[int]) -> None:
    pcm = silence(90) + say(FIRST) + silence(700) + say("확인 확인") + silence(700) + say(SECOND)
    cut, whole, at, turn = engine(), engine(), 0, 0
    while at < len(pcm):
        size = sizes[turn % len(sizes)]
        cut.hear(pcm[at : at + size], 0)
        at, turn = at + size, turn + 1
    whole.hear(pcm, 0)
    for heard in (cut, whole):
        heard.eos(0)
    assert finals(cut.due(FOREVER)) == finals(whole.due(FOREVER))
