"""bridge/wire/arrival.py: audio without a time of its own follows on itself, holes stay holes, and what a
stall has put ahead of the clock comes back to it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.arrival import AHEAD_MS, BACK, BACK_MS, GAP_MS, LATE_MS, ON, STALL_MS, Arrival

FRAME = 20.0
Stall = tuple[float, float]
"""When a sender stops, and for how long."""

stalls = st.lists(st.tuples(st.floats(500, 20_000), st.floats(0, 1500)), max_size=4)


def arrivals(spoken: Sequence[float], stalls: Sequence[Stall], jitter: Sequence[float]) -> list[float]:
    """When frames arrive whole that begin at `spoken`: in order, those of a stall in a lump after it."""
    came, last = [], 0.0
    for number, at in enumerate(spoken):
        sent = at + FRAME
        for began, length in sorted(stalls):
            if began <= sent < began + length:
                sent = began + length
        last = max(last, sent + jitter[number % len(jitter)])
        came.append(last)
    return came


def ahead(spoken: Sequence[float], came: Sequence[float]) -> list[float]:
    """How far after its true time each frame is placed."""
    arrival = Arrival()
    return [arrival.place(FRAME, now_ms) - at_ms for at_ms, now_ms in zip(spoken, came, strict=True)]


def test_audio_follows_on_itself_however_late_it_comes() -> None:
    arrival = Arrival()
    placed = [arrival.place(20, now) for now in (120, 135, 165, 240, 240, 241)]
    assert placed == [100, 120, 140, 160, 180, 200]


def test_a_hole_stays_a_hole() -> None:
    arrival = Arrival()
    assert arrival.place(20, 1000) == 980
    assert arrival.place(20, 6000) == 5980
    assert arrival.place(20, 6020) == 6000


@pytest.mark.parametrize("stall_ms", [320.0, 600, 1024, 3000])
def test_what_a_stall_put_ahead_of_the_clock_comes_back_to_it_soon(stall_ms: float) -> None:
    spoken = [FRAME * n for n in range(3000)]
    off = ahead(spoken, arrivals(spoken, [(5000, stall_ms)], [0.0]))
    assert max(off) <= stall_ms
    recovered = round((5000 + stall_ms + stall_ms / BACK) / FRAME)
    assert max(off[recovered:]) <= AHEAD_MS + 1e-6
    assert min(off) > -1e-6


@pytest.mark.parametrize("every_ms", [1000, 4000, 20_000])
@pytest.mark.parametrize("stall_ms", [350, 600, 900])
def test_of_a_source_that_never_pauses_only_the_first_stall_tears_a_word(
    every_ms: int, stall_ms: int
) -> None:
    spoken = [FRAME * n for n in range(6 * every_ms // 20 + 1000)]
    off = ahead(spoken, arrivals(spoken, [(2000 + every_ms * n, stall_ms) for n in range(6)], [0.0]))
    assert sum(after - before > 1 for before, after in pairwise(off)) == 1
    assert max(off[-250:]) <= AHEAD_MS + 1


def test_a_source_that_stood_still_may_be_silent_too() -> None:
    """Of the first of its pauses that is short the line learns so after a moment, and then it knows."""
    spoken = [FRAME * n for n in range(1000)]
    came = arrivals(spoken, [(2000, 600)], [0.0])
    for pause_ms in (1000, 800, 5000, 400):
        first = spoken[-1] + FRAME + pause_ms
        spoken += [first + FRAME * n for n in range(200)]
        came += [first + FRAME * (n + 1) for n in range(200)]
    off = ahead(spoken, came)
    assert off[1000:1008] == pytest.approx([AHEAD_MS - 1000] * 8, abs=AHEAD_MS)
    assert off[1008:] == pytest.approx([0] * 792)


def test_lumps_that_come_all_the_time_are_placed_without_a_seam() -> None:
    spoken = [FRAME * n for n in range(3000)]
    off = ahead(spoken, [200 * (at // 200) + 200 for at in spoken])
    assert {round(after - before, 6) for before, after in pairwise(off[1000:])} == {0}
    assert max(off[1000:]) <= AHEAD_MS + 1e-6


@pytest.mark.parametrize("ppm", [500, -500, 20])
@pytest.mark.parametrize("jitter", [[0.0], [0, 30, 5, 70]], ids=["even", "jitter"])
def test_a_clock_that_is_off_is_followed_for_an_hour_without_a_hole(ppm: float, jitter: list[float]) -> None:
    spoken = [FRAME * n * (1 - ppm / 1e6) for n in range(180_000)]
    off = ahead(spoken, [at + FRAME + jitter[n % len(jitter)] for n, at in enumerate(spoken)])
    assert max(off) <= AHEAD_MS + max(jitter) + 0.1
    assert min(off) >= -LATE_MS - 0.1
    steps = [after - before for before, after in pairwise(off)]
    assert max(steps) < 0.1


@given(stalls, st.lists(st.floats(0, 50), min_size=1, max_size=9), st.sampled_from([500.0, 0, -500]))
def test_after_whatever_stalls_a_source_that_never_pauses_is_right_again(
    stalls: list[Stall], jitter: list[float], ppm: float
) -> None:
    calm_ms = max((began + length for began, length in stalls), default=0.0)
    spoken = [FRAME * n * (1 - ppm / 1e6) for n in range(2400)]
    off = ahead(spoken, arrivals(spoken, stalls, jitter))
    placed = [at + shift for at, shift in zip(spoken, off, strict=True)]
    assert all(after > before for before, after in pairwise(placed))
    recovered = calm_ms + sum(length for _, length in stalls) / BACK
    calm = [shift for at, shift in zip(spoken, off, strict=True) if at > recovered]
    assert max(calm, default=0.0) <= AHEAD_MS + max(jitter) + 1
    steps = [after - before for before, after in pairwise(off)]
    assert sum(step > 0.1 for step in steps) <= len(stalls)
    assert min(steps) >= -BACK * FRAME - 0.1


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(1000, 9000)), min_size=1, max_size=9),
    st.lists(st.floats(0, 50), min_size=1, max_size=9),
)
def test_a_word_after_a_real_pause_is_where_it_arrived_and_in_one_piece(
    words: list[tuple[int, float]], jitter: list[float]
) -> None:
    arrival, now_ms = Arrival(), 1000.0
    for frames, pause_ms in words:
        first_ms = arrival.place(FRAME, now_ms)
        assert first_ms == now_ms - FRAME
        for number in range(1, frames):
            came_ms = now_ms + FRAME * number + jitter[number % len(jitter)]
            assert arrival.place(FRAME, came_ms) == pytest.approx(first_ms + FRAME * number)
        now_ms += FRAME * frames + pause_ms


@given(st.lists(st.tuples(st.floats(BACK_MS, 100), st.floats(0, 2000)), min_size=1))
def test_audio_hardly_overlaps_and_never_lags(pieces: list[tuple[float, float]]) -> None:
    arrival, now, last, end = Arrival(), 0.0, -1e9, -1e9
    for length, wait in pieces:
        now += wait
        at = arrival.place(length, now)
        assert at >= end - min(BACK * length, BACK_MS) - 1e-6
        assert at >= last
        assert at > now - length - max(GAP_MS, STALL_MS) - 1e-6
        last, end = at, at + length
    assert 0 < ON < BACK < 1
