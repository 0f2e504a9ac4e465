"""The PBX's clock: the quickest event tells its offset, whatever the others were delayed by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.pbxclock import PbxClock

UNIX = 1_795_365_649.0


def test_seed_serves_until_something_is_observed() -> None:
    clock = PbxClock(UNIX, 100.0)
    assert clock.call_ms(UNIX, 101.5) == pytest.approx(1500)
    clock.observe(UNIX + 1, 111.0)
    assert clock.call_ms(UNIX, 111.0) == pytest.approx(1000)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_quickest_event_decides(delays: list[float]) -> None:
    clock = PbxClock(0.0, 0.0)
    for index, delay in enumerate(delays):
        clock.observe(UNIX + index, 1000.0 + index + delay)
    assert clock.monotonic(UNIX) == pytest.approx(1000.0 + min(delays), abs=1e-5)


def test_never_before_the_call() -> None:
    assert PbxClock(UNIX, 100.0).call_ms(UNIX + 5, 101.0) == 0.0


def test_pbx_clock_set_back_is_followed_after_two_windows() -> None:
    clock = PbxClock(UNIX, 0.0)
    clock.observe(UNIX, 0.0)
    for now in range(1, 400):
        clock.observe(UNIX - 3600 + now, float(now))
    assert clock.monotonic(UNIX - 3600) == pytest.approx(0.0, abs=1e-5)
