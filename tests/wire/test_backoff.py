"""Full jitter: between nothing and a bound that doubles up to the cap."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.backoff import full_jitter, session_retry_s


def test_bound_doubles_up_to_the_cap() -> None:
    assert [full_jitter(attempt, 0.25, 3, 1.0) for attempt in range(6)] == [0.25, 0.5, 1, 2, 3, 3]
    assert full_jitter(5, 0.25, 3, 0.0) == 0


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_never_over_the_cap(attempt: int, random01: float) -> None:
    assert 0 <= full_jitter(attempt, 0.25, 30, random01) < 30


def test_after_hang_up_the_time_for_tries_is_short() -> None:
    assert [session_retry_s(9, last=last, random01=1.0) for last in (False, True)] == [10, 2]
