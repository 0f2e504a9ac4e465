"""The pace of a backlog."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.pace import Pace


@given(st.floats(1, 10), st.lists(st.floats(0, 1000), min_size=1, max_size=50))
def test_never_faster_than_the_rate_but_for_one_burst(rate: float, pauses: list[float]) -> None:
    pace, now, sent = Pace(rate, 500), 1000.0, 0.0
    for pause in pauses:
        now += pause
        pace.refill(now)
        assert pace.ms <= 500
        sent, pace.ms = sent + pace.ms, 0.0
    assert sent <= 500 + rate * (now - 1000) + 1e-6


def test_a_burst_is_there_from_the_start_and_debt_is_paid_back() -> None:
    pace = Pace(2, 500)
    pace.refill(0)
    assert pace.ms == 500
    pace.ms -= 700
    pace.refill(50)
    assert pace.ms == -100
    pace.refill(200)
    assert pace.ms == 200
