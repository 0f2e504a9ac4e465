"""bridge/wire/skew.py: clocks are compared to the second, and a header that is none is nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.skew import ahead_s, of_date


@given(st.floats(0, 4e9), st.floats(-1e6, 1e6), st.floats(0, 10))
def test_it_is_right_to_half_a_second_and_half_the_wait(theirs: float, ahead: float, took: float) -> None:
    """Theirs is read somewhere in the middle."""
    shown = float(int(theirs + took / 3))
    found = ahead_s(shown, theirs + ahead, theirs + ahead + took)
    assert abs(found - ahead) <= 0.5 + took / 2 + 1e-3


@pytest.mark.parametrize("header", [None, "", "soon", "0", "Wed, 99 Nov 2026 15:40:48 GMT", "\x00"])
def test_no_date_is_none(header: str | None) -> None:
    assert of_date(header) is None


def test_a_date_is_unix_seconds() -> None:
    assert of_date("Thu, 01 Jan 1970 00:01:00 GMT") == 60
