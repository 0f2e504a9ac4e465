"""Seconds to won, as RTZR's price page says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.cost import Cost, Price, Spending, saved_s, won
from bridge.wire.ledger import Ledger

PRICES = (Price(1000, 1000), Price(500, 10_000), Price(400, 25_000), Price(300))
SECONDS = st.floats(0, 1e8)


@pytest.mark.parametrize(
    ("from_h", "hours", "expected"),
    [(0, 1, 1000), (0, 1000, 1e6), (999, 2, 1500), (10_000, 1, 400), (30_000, 2, 600), (0, 0, 0)],
)
def test_the_price_falls_step_by_step(from_h: float, hours: float, expected: float) -> None:
    assert won(PRICES, from_h * 3600, hours * 3600) == pytest.approx(expected)


@given(SECONDS, SECONDS, SECONDS)
def test_in_one_or_in_two_it_costs_the_same(from_s: float, first: float, second: float) -> None:
    parts = won(PRICES, from_s, first) + won(PRICES, from_s + first, second)
    assert parts == pytest.approx(won(PRICES, from_s, first + second), abs=1e-3)


def test_what_the_gate_saved_is_what_would_have_been_billed_more() -> None:
    assert saved_s(Ledger(sent=60_000, saved=30_000, billed_s=60)) == 30
    assert saved_s(Ledger(sent=2_000, saved=5_000, billed_s=10)) == 0, "ten seconds are billed anyway"
    assert saved_s(Ledger(sent=2_000, saved=9_000, billed_s=10)) == 1


def test_days_and_months_begin_anew() -> None:
    book = Spending(PRICES)
    hour = Ledger(sent=3_600_000, billed_s=3600)
    assert book.add(hour, "2026-11-29").won == 1000
    book.add(hour, "2026-11-29")
    assert book.today.won == 2000
    book.add(hour, "2026-11-30")
    assert (book.today.won, book.month_s) == (1000, 3 * 3600)
    book.add(hour, "2026-12-01")
    assert (book.today.won, book.month_s) == (1000, 3600)


def test_json_is_rounded() -> None:
    assert Cost(10.04, 2.788, 0, 0).as_json() == {
        "billed_s": 10.0,
        "won": 2.79,
        "saved_s": 0,
        "saved_won": 0,
    }
