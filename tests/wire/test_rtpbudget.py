"""bridge/wire/rtpbudget.py: what is left of the PBX's RTP ports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.rtpbudget import RtpBudget, read


@pytest.mark.parametrize(
    ("first", "last", "pairs"),
    [(10_000, 20_000, 5000), (20_000, 20_039, 20), (20_001, 20_040, 19), (20_000, 20_000, 0), (5, 4, 0)],
)
def test_a_pair_begins_even(first: int, last: int, pairs: int) -> None:
    assert RtpBudget.of(first, last).pairs == pairs


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_taps_never_take_the_last_ports(pairs: int, channels: int, taps: int) -> None:
    budget = RtpBudget(pairs)
    room = budget.room(channels, taps)
    assert room >= 0
    assert room == 0 or channels + taps + room + budget.spare == pairs
    assert budget.spare >= 4


@pytest.mark.parametrize(
    ("first", "last", "known"),
    [
        ("10000", "20000", (10_000, 20_000)),
        ("1024", "65535", (1024, 65535)),
        ("", "", None),
        ("20000", "10000", None),
        ("1023", "2000", None),
        ("10000", "65536", None),
        ("١٠٠٠٠", "20000", None),
        ("10000", "9" * 5000, None),
    ],
)
def test_what_rtp_conf_says_is_a_range_or_nothing(
    first: str, last: str, known: tuple[int, int] | None
) -> None:
    assert read(first, last) == known
