"""From timestamps to call time: what a source's clock does, and where its frames must land."""

from collections.abc import Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.arrival import AHEAD_MS, BACK
from bridge.wire.timeline import JUMP_MS, SETTLE_MS, TORN_MS, Timeline
from tests.scale import scaled
from tests.wire.test_arrival import arrivals

WRAP = 1 << 32


class Source:
    """Sends 20 ms packets at 8 kHz; the test says when they arrive."""

    def __init__(self, timestamp: int = 0) -> None:
        self.line = Timeline(8000)
        self.timestamp = timestamp

    def send(self, arrived_ms: float, *, marker: bool = False) -> float:
        at_ms = self.line.place(self.timestamp % WRAP, 20, marker, arrived_ms)
        self.timestamp += 160
        return at_ms

    def pause(self, ms: float) -> None:
        self.timestamp += round(ms * 8)

    def talk(self, arrivals: Iterable[float]) -> list[float]:
        return [self.send(arrived_ms) for arrived_ms in arrivals]


def test_the_line_starts_where_the_first_packet_arrives_and_jitter_does_not_move_it() -> None:
    source = Source(timestamp=WRAP - 160)
    assert source.talk([1000, 1049, 1049, 1061, 1120, 1100.5]) == [1000, 1020, 1040, 1060, 1080, 1100]


@pytest.mark.parametrize("marker", [True, False])
def test_a_silent_pause_that_the_timestamps_tell_maps_to_call_time(marker: bool) -> None:
    source = Source()
    source.talk([0, 20])
    source.pause(2000)
    assert source.send(2041, marker=marker) == 2040
    assert source.line.counters.jumps == 0


def test_a_burst_after_a_stall_keeps_its_times() -> None:
    source = Source()
    source.talk(range(0, 100, 20))
    burst = source.talk([1500 + n * 0.1 for n in range(70)])
    assert burst == [100 + 20 * n for n in range(70)]
    assert source.talk([1500.0, 1520.0]) == [1500, 1520]
    assert source.line.counters.jumps == 0


def stalled(stall_ms: float, batch_ms: float, pause_ms: float = 0) -> tuple[Source, list[float], list[float]]:
    """Speech for a second, then the bridge reads nothing for `stall_ms`; a pause with its marker falls in it.

    What waited is read 32 packets at a time, a batch every `batch_ms`; then speech and one more pause with a
    marker. The call times that came of it, and the true ones.
    """
    source, placed, truth = Source(), list[float](), list[float]()
    spoken, read_ms = [20.0 * n for n in range(50 + round(stall_ms / 40))], 1000 + stall_ms
    spoken += [spoken[-1] + 20 + pause_ms + 20 * n for n in range(round(stall_ms / 40) + 150)]
    spoken += [spoken[-1] + 1020 + 20 * n for n in range(50)]
    waited = 0
    for before, at_ms in zip([-20.0, *spoken], spoken, strict=False):
        source.pause(at_ms - before - 20)
        arrived_ms = at_ms
        if at_ms >= 1000:
            arrived_ms = max(at_ms, read_ms + waited // 32 * batch_ms)
            waited += arrived_ms > at_ms
        placed.append(source.send(arrived_ms, marker=at_ms - before > 30))
        truth.append(at_ms)
    return source, placed, truth


@pytest.mark.parametrize("pause_ms", [0, 200, 700, 5000])
@pytest.mark.parametrize("batch_ms", [0, 5, 60, 150])
@pytest.mark.parametrize("stall_ms", [250, 1000, 8000])
def test_what_waited_while_the_bridge_stood_still_keeps_its_times(
    stall_ms: float, batch_ms: float, pause_ms: float
) -> None:
    source, placed, truth = stalled(stall_ms, batch_ms, pause_ms)
    assert placed == pytest.approx(truth, abs=40)
    assert placed[-50:] == pytest.approx(truth[-50:], abs=11)
    assert source.line.counters.jumps == 0


def test_a_marker_first_in_the_lump_keeps_its_time() -> None:
    source = Source()
    source.talk(range(0, 1000, 20))
    source.pause(500)
    assert source.send(9000, marker=True) == 1500
    assert source.talk([9000 + n / 10 for n in range(374)])[-1] == 8980
    assert source.talk([9000, 9020]) == [9000, 9020]


def test_timestamps_that_stood_still_for_part_of_a_pause_are_put_right_soon_after_the_marker() -> None:
    source, random = Source(), Random(1)
    source.talk(range(0, 1000, 20))
    source.pause(500)
    placed = [source.send(9000, marker=True)]
    placed += source.talk(9000 + 20 * n + random.random() * 60 for n in range(1, 50))
    assert placed[-1] == pytest.approx(9980, abs=60)
    assert source.line.counters.jumps == 1


def test_timestamps_that_stood_still_in_a_pause_are_put_right_at_the_marker() -> None:
    source = Source()
    source.talk([0, 20])
    assert source.send(3000, marker=True) == 3000
    assert source.send(3020) == 3020
    assert source.line.counters.jumps == 1


def test_timestamps_that_stood_still_without_a_marker_are_put_right_soon() -> None:
    source = Source()
    source.talk([0, 20])
    placed = source.talk(range(3000, 3200, 20))
    assert placed[0] == 40
    assert placed[SETTLE_MS // 20 :] == [3100, 3120, 3140, 3160, 3180]
    assert source.line.counters.jumps == 1


@pytest.mark.parametrize("leap", [WRAP // 2 - 400, 1_000_000, 10 * 8000, -10 * 8000, -1_000_000, -WRAP // 3])
def test_a_clock_that_leaps_is_followed_from_that_packet_on(leap: int) -> None:
    source = Source()
    source.talk([0, 20])
    source.timestamp += leap
    assert source.talk([45, 60, 85]) == [45, 65, 85]
    assert source.line.counters.jumps == 1


def test_a_first_packet_that_was_delayed_is_made_good_in_the_next_pause() -> None:
    source = Source()
    # Three packets were held up on their way: the last was in time, so the line was 40 ms too late. That is
    # too little to draw back for, so it shows only after the next pause.
    assert source.talk([50] * 3) == [50, 70, 90]
    source.pause(1000)
    assert source.send(1070) == 1070
    assert source.line.counters.jumps == 0


def test_first_packets_that_were_delayed_are_drawn_back() -> None:
    source = Source()
    assert source.talk([150] * 8) == pytest.approx([150, 170, 190, 210, 228, 246, 264, 282])
    placed = source.talk(range(160, 2160, 20))
    assert placed[-1] == pytest.approx(2140 + AHEAD_MS - 10, abs=10)
    assert source.line.counters.jumps == 0


def test_frames_swallowed_in_speech_are_made_good_in_the_next_pause() -> None:
    """The capture's case: nothing arrives for 100 ms, and the timestamps do not say so."""
    source = Source()
    source.talk(range(0, 400, 20))
    source.talk(range(500, 900, 20))
    source.pause(2000)
    assert source.send(2900) == 2900
    assert source.line.counters.slips == 1


def test_unbroken_speech_is_not_torn_before_it_is_far_behind() -> None:
    source = Source()
    source.talk(range(0, 400, 20))
    late = TORN_MS - 20
    steady = source.talk(range(400 + late, 4400 + late, 20))
    assert steady == list(range(400, 4400, 20))
    placed = source.talk(range(4400 + late + 60, 6400 + late + 60, 20))
    assert placed[-1] == 6400 + late + 60 - 20
    assert source.line.counters.slips == 1


@pytest.mark.parametrize("ppm", [200, -200, 28])
def test_four_hours_of_drift(ppm: float) -> None:
    """M13. Unbroken talk for minutes, with pauses: never farther off than a word is torn, never a jump."""
    source, random = Source(), Random(13)
    hours = scaled(4 * 3600_000, 600_000)
    now_ms, worst = 0.0, 0.0
    while now_ms < hours:
        for _ in range(1500):
            worst = max(worst, abs(source.send(now_ms + random.random() * 15) - now_ms))
            now_ms += 20 * (1 + ppm / 1e6)
        source.pause(700)
        now_ms += 700 * (1 + ppm / 1e6)
    assert worst < 40
    assert source.line.counters.jumps == 0


def test_a_slow_source_that_never_pauses_is_followed() -> None:
    source = Source()
    placed = [source.send(n * 20.004) - n * 20.004 for n in range(60_000)]
    assert min(placed) > -TORN_MS - 5
    assert source.line.counters.jumps == 0
    assert source.line.counters.slips == 1


@pytest.mark.parametrize("trickle", [6, 8])
@pytest.mark.parametrize("stall_ms", [300.0, 600, 1024, 3000])
def test_a_sender_that_stood_still_is_soon_right_again(stall_ms: float, trickle: int) -> None:
    """Some of what was held back comes no faster than it was said, and the line jumps; then all the rest."""
    source = Source()
    source.talk(range(0, 2000, 20))
    source.talk(2000 + stall_ms + 20 * n for n in range(trickle))
    now_ms = 2000 + stall_ms + 20 * trickle
    source.talk([now_ms] * (round(now_ms - source.timestamp / 8) // 20))
    spoken = [source.timestamp / 8 + 20 * n for n in range(3000)]
    off = [at_ms - said_ms for at_ms, said_ms in zip(source.talk(spoken), spoken, strict=True)]
    assert min(off) >= -TORN_MS
    assert max(off) <= stall_ms
    assert max(off[round(stall_ms / BACK / 20) :]) <= AHEAD_MS + 1e-6
    assert min(after - before for before, after in pairwise(off)) >= -BACK * 20 - 1e-6


def test_a_fast_source_that_never_pauses_is_followed() -> None:
    source = Source()
    placed = [source.send(n * 19.99) - n * 19.99 for n in range(60_000)]
    assert max(placed) <= AHEAD_MS + 0.1
    assert source.line.counters.jumps == 0


@given(
    st.lists(st.tuples(st.floats(500, 15_000), st.floats(0, 1500)), max_size=4),
    st.lists(st.floats(0, 50), min_size=1, max_size=9),
    st.sampled_from([500.0, 0, -500]),
)
def test_after_whatever_stalls_a_source_that_never_pauses_is_right_again(
    stalls: list[tuple[float, float]], jitter: list[float], ppm: float
) -> None:
    spoken = [20.0 * n * (1 - ppm / 1e6) for n in range(2000)]
    came = arrivals(spoken, stalls, jitter)
    source = Source()
    placed = source.talk(came)
    assert all(after > before for before, after in pairwise(placed))
    recovered = max((began + length for began, length in stalls), default=0.0)
    recovered += sum(length for _, length in stalls) / BACK
    calm = [at - said for at, said in zip(placed, spoken, strict=True) if said > recovered]
    assert max(calm, default=0.0) <= AHEAD_MS + max(jitter) + 21


def test_another_source_is_placed_by_its_arrival_and_does_not_overlap() -> None:
    source = Source()
    source.talk([0, 20])
    source.line.restart()
    source.timestamp = 99
    assert source.talk([30, 60]) == [40, 60]
    assert source.line.counters.jumps == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, WRAP - 1) | st.integers(0, 3000),
            st.sampled_from([10.0, 20, 5.5, 60]),
            st.booleans(),
            st.floats(0, 3000),
        ),
        max_size=80,
    )
)
def test_whatever_comes_frames_hardly_overlap_nor_run_away(
    arrivals: list[tuple[int, float, bool, float]],
) -> None:
    line, now_ms, end_ms, audio_ms = Timeline(8000), 0.0, 0.0, 0.0
    for timestamp, duration_ms, marker, pause_ms in arrivals:
        now_ms += pause_ms
        at_ms = line.place(timestamp, duration_ms, marker, now_ms)
        assert at_ms >= end_ms - BACK * duration_ms - 1e-6
        # Ahead of the clock only by audio that came too fast.
        assert at_ms <= now_ms + audio_ms + 1e-6
        end_ms = at_ms + duration_ms
        audio_ms += duration_ms
    assert line.counters.jumps <= len(arrivals)
    assert JUMP_MS > TORN_MS
