"""The ledger: sums that close, and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import GapReason
from bridge.wire.ledger import Ledger

MS = st.floats(0, 1e7)
LOST = st.dictionaries(st.sampled_from(GapReason), MS)


def ledger(sent: float, withheld: float, lost: dict[GapReason, float]) -> Ledger:
    made = Ledger(arrived=sent + withheld + sum(lost.values()), sent=sent, withheld=withheld)
    for reason, ms in lost.items():
        made.lose(ms, reason)
    return made


@given(MS, MS, LOST, st.floats(-1e6, 1e6))
def test_it_closes_only_when_everything_has_a_fate(
    sent: float, withheld: float, lost: dict[GapReason, float], missing: float
) -> None:
    whole = ledger(sent, withheld, lost)
    assert whole.closes()
    whole.arrived += missing
    assert whole.closes() == (abs(missing) <= 1) or abs(abs(missing) - 1) < 1e-6


@given(st.lists(st.tuples(MS, MS, LOST), max_size=5))
def test_sums_of_ledgers_that_close_close(legs: list[tuple[float, float, dict[GapReason, float]]]) -> None:
    total = Ledger()
    for leg in legs:
        total.add(ledger(*leg))
    assert total.closes()
    assert total.lost_ms == pytest.approx(sum(sum(lost.values()) for _, _, lost in legs))


def test_nothing_lost_is_no_reason() -> None:
    empty = Ledger()
    empty.lose(0.0, GapReason.DRAIN)
    assert empty.lost == {}
    assert empty.closes()


def test_silence_made_by_us_is_no_audio_that_arrived() -> None:
    assert Ledger(arrived=100, sent=100, filled=5000).closes()


def test_json_is_whole_milliseconds() -> None:
    one = ledger(100.4, 20.0, {GapReason.RING: 1.6, GapReason.DRAIN: 2.0})
    one.filled = 3.3
    assert one.as_json() == {
        "arrived_ms": 124,
        "sent_ms": 100,
        "withheld_ms": 20,
        "filled_ms": 3,
        "lost_ms": 4,
        "lost": {"ring": 2, "drain": 2},
    }
