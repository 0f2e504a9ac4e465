"""The reorder buffer: order, and every packet and every missing number counted exactly once."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.fates import RtpCounters
from bridge.wire.reorder import BEHIND, Reorder

WRAP = 1 << 16


def push(buffer: Reorder[int], number: int, now_ms: float = 0) -> list[int]:
    return buffer.push(number % WRAP, number, now_ms)


def test_packets_in_order_pass_at_once_through_three_wraps() -> None:
    buffer: Reorder[int] = Reorder()
    for number in range(65_000, 65_000 + 3 * WRAP):
        assert push(buffer, number, number * 20) == [number]
        assert buffer.release_at_ms is None
    assert buffer.counters == RtpCounters()


def test_a_swapped_pair_is_put_in_order_over_the_wrap() -> None:
    buffer: Reorder[int] = Reorder()
    assert push(buffer, WRAP - 1) == [WRAP - 1]
    assert push(buffer, WRAP + 1, 5) == []
    assert buffer.release_at_ms == 65
    assert push(buffer, WRAP, 6) == [WRAP, WRAP + 1]
    assert buffer.counters == RtpCounters(reordered=1)
    assert len(buffer) == 0


def test_a_gap_is_given_up_after_the_depth_and_the_latecomer_is_late_once() -> None:
    buffer: Reorder[int] = Reorder(depth_ms=60)
    push(buffer, 10)
    assert push(buffer, 13, 20) == []
    assert buffer.release(79.9) == []
    assert buffer.release(80) == [13]
    assert buffer.counters == RtpCounters(lost=2)
    assert push(buffer, 12, 90) == []
    assert push(buffer, 12, 91) == []
    assert buffer.counters == RtpCounters(lost=2, late=1, duplicated=1)


def test_each_gap_waits_for_itself() -> None:
    buffer: Reorder[int] = Reorder(depth_ms=60)
    push(buffer, 1)
    push(buffer, 3, 10)
    push(buffer, 5, 50)
    assert buffer.release(70) == [3]
    assert buffer.release_at_ms == 110
    assert push(buffer, 4, 80) == [4, 5]


def test_a_full_buffer_gives_the_gap_up() -> None:
    buffer: Reorder[int] = Reorder(capacity=4)
    push(buffer, 0)
    assert [push(buffer, number) for number in (2, 3, 4, 5)] == [[], [], [], []]
    assert push(buffer, 6) == [2, 3, 4, 5, 6]
    assert buffer.counters.lost == 1


def test_duplicates_of_passed_and_of_held_packets() -> None:
    buffer: Reorder[int] = Reorder()
    push(buffer, 7)
    push(buffer, 7)
    push(buffer, 9)
    push(buffer, 9)
    assert buffer.counters.duplicated == 2
    assert buffer.flush() == [9]


def test_a_source_that_starts_again_elsewhere_is_followed_without_loss() -> None:
    buffer: Reorder[int] = Reorder(depth_ms=60)
    push(buffer, 100, 0)
    assert [push(buffer, 30_100 + n, 20 * (n + 1)) for n in range(3)] == [[], [], []]
    assert buffer.release(80) == [30_100, 30_101, 30_102]
    assert push(buffer, 30_103, 81) == [30_103]
    assert buffer.counters == RtpCounters(resynced=1)


def test_a_source_that_starts_again_further_back() -> None:
    buffer: Reorder[int] = Reorder(depth_ms=60)
    push(buffer, 5000, 0)
    push(buffer, 4001, 20)
    push(buffer, 4000, 21)
    assert buffer.release(80) == [4000, 4001]
    assert buffer.counters == RtpCounters(resynced=1, reordered=0)


def test_a_stray_is_dropped_when_the_line_goes_on() -> None:
    buffer: Reorder[int] = Reorder()
    push(buffer, 1, 0)
    push(buffer, 40_000, 10)
    push(buffer, 40_000, 11)
    assert push(buffer, 2, 20) == [2]
    assert buffer.release(1000) == []
    assert buffer.counters == RtpCounters(strayed=1, duplicated=1)


def test_a_long_outage_is_a_gap_not_a_restart() -> None:
    buffer: Reorder[int] = Reorder()
    push(buffer, 0, 0)
    push(buffer, 500, 10_000)
    assert buffer.release(10_060) == [500]
    assert buffer.counters == RtpCounters(lost=499)


def test_what_is_held_comes_out_at_the_end() -> None:
    buffer: Reorder[int] = Reorder()
    push(buffer, 1)
    push(buffer, 3)
    push(buffer, 30_000)
    assert len(buffer) == 2
    assert buffer.flush() == [3, 30_000]
    assert len(buffer) == 0
    assert buffer.counters == RtpCounters(lost=1, resynced=1)


def test_strays_are_bounded() -> None:
    buffer: Reorder[int] = Reorder(capacity=8)
    push(buffer, 0)
    random = Random(1)
    for _ in range(2000):
        buffer.push(random.randrange(WRAP), 0, 0)
        assert len(buffer) <= 17


def test_three_wraps_with_ten_percent_doubled_and_ten_percent_swapped_five_deep() -> None:
    """M6: nothing lost, nothing twice, in order."""
    random = Random(6)
    order = list(range(3 * WRAP))
    for index in range(10, len(order) - 6, 10):
        order.insert(index + 5, order.pop(index))
    arrivals = [number for number in order for _ in range(1 + (random.random() < 0.1))]
    buffer: Reorder[int] = Reorder(depth_ms=120)
    out = [
        passed
        for index, number in enumerate(arrivals)
        for passed in push(buffer, number + 60_000, index * 18)
    ]
    assert out == [number + 60_000 for number in range(len(order))]
    assert buffer.counters.duplicated == len(arrivals) - len(order)
    assert buffer.counters.lost == buffer.counters.late == 0


@given(
    st.integers(0, WRAP - 1),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 40)), max_size=60),
    st.sampled_from([0, 20, 60]),
)
def test_every_packet_has_one_fate_and_every_number_one(
    start: int, arrivals: list[tuple[int, float]], depth_ms: float
) -> None:
    """Any arrivals near the line: passed in order without repeats, and the sums agree."""
    buffer: Reorder[int] = Reorder(depth_ms)
    now_ms, out = 0.0, []
    out += push(buffer, start, now_ms)
    for offset, pause_ms in arrivals:
        now_ms += pause_ms
        out += buffer.release(now_ms)
        out += push(buffer, start + offset, now_ms)
        due_ms = buffer.release_at_ms
        assert due_ms is None or now_ms <= due_ms <= now_ms + depth_ms or depth_ms == 0
    out += buffer.flush()
    counters = buffer.counters
    assert out == sorted(set(out))
    assert 1 + len(arrivals) == len(out) + counters.duplicated + counters.late
    assert out[-1] - start + 1 == len(out) + counters.lost
    arrived = {start, *(start + offset for offset, _ in arrivals)}
    assert set(out) <= arrived
    assert counters.lost >= out[-1] - start + 1 - len(arrived)


@given(st.lists(st.tuples(st.integers(0, WRAP - 1), st.floats(0, 200)), max_size=200))
def test_any_numbers_at_all_are_accounted_for(arrivals: list[tuple[int, float]]) -> None:
    buffer: Reorder[int] = Reorder(capacity=8)
    now_ms, passed = 0.0, 0
    for number, pause_ms in arrivals:
        now_ms += pause_ms
        passed += len(buffer.release(now_ms))
        passed += len(buffer.push(number, number, now_ms))
        assert len(buffer) <= 17
    passed += len(buffer.flush())
    counters = buffer.counters
    assert len(arrivals) == passed + counters.duplicated + counters.late + counters.strayed


def test_farther_back_than_behind_is_another_line() -> None:
    buffer: Reorder[int] = Reorder()
    push(buffer, 1000)
    push(buffer, 1001 - BEHIND)
    assert len(buffer) == 0
    push(buffer, 1000 - BEHIND)
    assert len(buffer) == 1
