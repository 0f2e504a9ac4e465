"""The ledger: sums that close, and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import GapReason
from bridge.wire.ledger import Ledger

MS = st.floats(0, 1e7)
LOST = st.dictionaries(st.sampled_from(GapReason), MS)


def ledger(sent: float, withheld: float, lost: dict[GapReason, float]) -> Ledger:
    made = Ledger(arrived=sent + withheld + sum(lost.values()), sent=sent, sent_first=sent, withheld=withheld)
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
    other = ledger(sent, withheld, lost)
    other.sent += missing
    assert other.closes() == whole.closes()


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
    assert Ledger(arrived=100, sent=5350, sent_first=100, filled=5000, keepalive=200, replayed=50).closes()


def test_what_was_sent_in_vain_moves_and_both_books_still_close() -> None:
    one = Ledger(arrived=100, sent=100, sent_first=100)
    one.unsend(40)
    one.lose(40, GapReason.RING)
    assert one.closes()
    assert (one.sent_first, one.replayed, one.lost_ms) == (60, 40, 40)


@pytest.mark.parametrize(("sent_ms", "billed_s"), [(0, 10), (9_990, 10), (10_020, 10.02), (3_600_000, 3600)])
def test_every_session_is_billed_ten_seconds_at_least(sent_ms: float, billed_s: float) -> None:
    one = Ledger()
    one.bill(sent_ms)
    one.bill(0)
    assert one.billed_s == pytest.approx(billed_s + 10)


def test_json_is_whole_milliseconds() -> None:
    one = ledger(100.4, 20.0, {GapReason.RING: 1.6, GapReason.DRAIN: 2.0})
    one.filled = 3.3
    assert one.as_json() == {
        "arrived_ms": 124,
        "sent_ms": 100,
        "sent_first_ms": 100,
        "replayed_ms": 0,
        "filled_ms": 3,
        "keepalive_ms": 0,
        "mixed_ms": 0,
        "withheld_ms": 20,
        "paused_ms": 0,
        "lost_ms": 4,
        "lost": {"ring": 2, "drain": 2},
        "saved_ms": 0,
        "covered_ms": 0,
        "billed_s": 0.0,
        "sessions": 0,
        "reconnects": 0,
    }
