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


@pytest.mark.parametrize("ahead_s", [-240.0, 300.0])
def test_pbx_clock_that_was_set_is_followed_at_once(ahead_s: float) -> None:
    clock = PbxClock(UNIX, 0.0)
    clock.observe(UNIX + 1, 1.0)
    clock.observe(UNIX + ahead_s + 2, 2.0)
    assert clock.call_ms(UNIX + ahead_s + 2, 2.0) == 0.0
    clock.observe(UNIX + 3, 3.0)  # and set again
    assert clock.call_ms(UNIX + 3, 3.0) == pytest.approx(0.0, abs=1e-3)


def test_events_that_come_very_late_do_no_lasting_harm() -> None:
    clock = PbxClock(UNIX, 0.0)
    for stamp in range(60):  # all at once, after a minute without a line
        clock.observe(UNIX + stamp, 60.0)
    assert clock.call_ms(UNIX, 60.0) == pytest.approx(59_000)


@pytest.mark.parametrize("ahead_s", [-240.0, -3.0, 3.0, 300.0])
def test_what_the_pbxs_clock_shows_at_a_connect_tells_its_offset_within_half_a_second(ahead_s: float) -> None:
    clock = PbxClock(UNIX, 0.0)
    clock.observe(UNIX, 0.0)
    for shown_ms in (0, 999):
        clock.shows(UNIX + ahead_s + 100, 100.0 + shown_ms / 1000)
        assert abs(clock.call_ms(UNIX + ahead_s + 97, 100.0 + shown_ms / 1000) - 3500) <= 500 + 1
        clock = PbxClock(UNIX, 0.0)


@pytest.mark.parametrize("into_ms", [0, 500, 999])
def test_whole_seconds_that_agree_with_what_is_known_change_nothing(into_ms: int) -> None:
    clock = PbxClock(UNIX, 0.0)
    clock.shows(UNIX + 10, 10.0 + into_ms / 1000)
    assert clock.monotonic(UNIX) == pytest.approx(0.0, abs=1e-5)
