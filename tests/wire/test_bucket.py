"""The token bucket: never more than its rate, and never a wait in vain."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.bucket import Bucket


def test_a_burst_and_then_the_rate() -> None:
    bucket = Bucket(rate=10, burst=3)
    assert [bucket.take(5) for _ in range(4)] == [True, True, True, False]
    assert bucket.due_s(5) == 5.1
    assert not bucket.take(5.05)
    assert bucket.take(5.1)
    assert not bucket.take(5.1)


def test_it_fills_to_the_burst_and_no_further() -> None:
    bucket = Bucket(rate=10, burst=3)
    bucket.take(0)
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


@given(
    st.lists(st.floats(0, 5), max_size=50),
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.floats(0, 1e6),
)
def test_never_more_than_its_rate_and_what_is_due_is_there(
    waits: list[float], rate: float, burst: int, start_s: float
) -> None:
    bucket, now_s, taken = Bucket(rate, burst), start_s, 0
    for wait_s in waits:
        now_s += wait_s
        taken += bucket.take(now_s)
        assert taken <= burst + (now_s - start_s) * rate + 0.001
    while not bucket.take(now_s):
        due_s = bucket.due_s(now_s)
        assert due_s > now_s
        now_s = due_s
        assert bucket.take(due_s)
        break
