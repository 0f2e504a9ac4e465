"""bridge/wire/breaker.py: a PBX that is slow is spared, one that was slow once is not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.breaker import Breaker


def after(*took_s: float) -> Breaker:
    breaker = Breaker()
    for number, one in enumerate(took_s):
        breaker.observe(100.0 + number / 10, one)
    return breaker


def test_several_slow_requests_spare_it_and_one_does_not() -> None:
    assert after(5.0, 0.01, 0.02, 0.01).slow(101.0) == 0
    assert after(5.0, 5.0, 5.0).slow(101.0) == 0, "too few to know"
    assert after(5.0, 5.0, 0.1, 5.0, 3.0).slow(101.0) == 5.0


def test_it_is_tried_again_after_a_while() -> None:
    breaker = after(5.0, 5.0, 5.0, 5.0)
    assert breaker.slow(105.0) == 5.0
    assert breaker.slow(110.4) == 0


def test_a_quick_pbx_after_a_slow_time_is_quick() -> None:
    breaker = after(5.0, 5.0, 5.0, 5.0)
    for _ in range(5):
        breaker.observe(101.0, 0.01)
    assert breaker.slow(101.0) == 0


@given(st.lists(st.floats(0, 100), max_size=100))
def test_it_remembers_little(took_s: list[float]) -> None:
    breaker = after(*took_s)
    assert len(breaker._took) <= 32
    assert breaker.slow(1e9) == 0
    assert not breaker._took
