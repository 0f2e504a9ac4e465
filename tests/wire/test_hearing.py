"""Results in call time, each told once: repeats after a replay are found by time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import LegId
from bridge.wire.hearing import Hearing
from bridge.wire.rtzr import Result, SpokenWord
from bridge.wire.timemap import TimeMap

LEG = LegId("call", "channel")


def final(*words: tuple[str, int, int], text: str | None = None) -> Result:
    spoken = tuple(SpokenWord(text, start, end, 0.9) for text, start, end in words)
    told = " ".join(word.text for word in spoken) if text is None else text
    return Result(0, spoken[0].start_ms, spoken[-1].end_ms, True, told, spoken)


def replayed(at_ms: float, length_ms: float = 10_000) -> TimeMap:
    """A session that was sent, again, audio from call time `at_ms` on."""
    clocks = TimeMap()
    clocks.append(at_ms, length_ms, again=True)
    return clocks


def fresh(at_ms: float) -> TimeMap:
    clocks = TimeMap()
    clocks.append(at_ms, 10_000)
    return clocks


def test_call_time_for_sentence_and_words() -> None:
    transcript = Hearing(LEG).transcript(final(("예약", 100, 300), ("확인", 360, 560)), fresh(5000))
    assert transcript is not None
    assert (transcript.start_ms, transcript.end_ms) == (5100, 5560)
    assert [(word.text, word.start_ms, word.end_ms) for word in transcript.words] == [
        ("예약", 5100, 5300),
        ("확인", 5360, 5560),
    ]


def test_a_final_that_was_told_before_the_loss_is_a_repeat() -> None:
    hearing = Hearing(LEG)
    assert hearing.transcript(final(("예약", 100, 300)), fresh(0)) is not None
    assert hearing.transcript(final(("예약", 50, 250)), replayed(50)) is None
    assert hearing.repeats == 1


def test_the_same_words_said_once_more_are_none() -> None:
    hearing = Hearing(LEG)
    hearing.transcript(final(("네", 100, 300)), fresh(0))
    again = hearing.transcript(final(("네", 100, 300)), replayed(300))
    assert again is not None
    assert (again.text, again.start_ms) == ("네", 400)


def test_of_a_final_that_begins_in_what_was_told_the_new_words_remain() -> None:
    hearing = Hearing(LEG)
    hearing.transcript(final(("예약", 100, 300)), fresh(0))
    rest = hearing.transcript(
        final(("예약", 0, 200), ("확인", 260, 460), ("부탁", 520, 720), text="예약 확인, 부탁."),
        replayed(100),
    )
    assert rest is not None
    assert (rest.text, rest.start_ms, rest.end_ms) == ("확인 부탁", 360, 820)
    assert hearing.repeats == 1


def test_a_tail_of_what_was_told_is_no_word() -> None:
    hearing = Hearing(LEG)
    hearing.transcript(final(("예약", 100, 300)), fresh(0))
    assert hearing.transcript(final(("약", 0, 90)), replayed(280)) is None


def test_a_final_without_words_is_judged_by_its_end() -> None:
    hearing = Hearing(LEG)
    hearing.transcript(Result(0, 100, 300, True, "예약"), fresh(0))
    assert hearing.transcript(Result(0, 0, 200, True, "예약"), replayed(100)) is None
    assert hearing.transcript(Result(1, 0, 900, True, "예약 확인"), replayed(100)) is not None


def test_where_nothing_is_sent_again_nothing_is_a_repeat() -> None:
    """A tap that was put back has a clock of its own: call times may lie a little before the last ones."""
    hearing = Hearing(LEG)
    hearing.transcript(final(("예약", 100, 300)), fresh(0))
    assert hearing.transcript(final(("확인", 0, 200)), fresh(250)) is not None
    assert hearing.transcript(final(("확인", 0, 200)), fresh(50)) is not None


@pytest.mark.parametrize("text", ["", "예약"])
def test_an_empty_final_is_no_transcript_but_counts(text: str) -> None:
    hearing = Hearing(LEG)
    made = hearing.transcript(Result(0, 0, 2000, True, text), fresh(0))
    assert (made is None) == (not text)
    assert hearing.told_ms == 2000


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.data())
def test_however_often_it_is_cut_each_word_is_told_once(sizes: list[int], data: st.DataObject) -> None:
    """Words of 200 ms with 60 ms between; each session tells finals of so many words, then is cut, and the
    next one is sent everything from some point at or before the first untold word."""
    hearing, told, total = Hearing(LEG), list[str](), 40
    done = 0
    for size in sizes:
        begin = data.draw(st.integers(max(0, done - 3), min(done, total - 1)))
        count = min(total - begin, size)
        words = [(str(begin + i), i * 260, i * 260 + 200) for i in range(count)]
        made = hearing.transcript(final(*words), replayed(begin * 260, 100_000))
        told += made.text.split() if made else []
        done = max(done, begin + count)
    assert told == [str(number) for number in range(done)]
