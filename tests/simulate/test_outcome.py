"""bridge/simulate/outcome.py: which words are missing, what was lost, and the shares of the latencies."""

from bridge.simulate.outcome import CallOutcome, LegOutcome, Outcome
from bridge.types import GapReason
from bridge.wire.ledger import Ledger, LegReport

BOOK = frozenset({"일", "이", "삼"})


def test_words_are_missing_or_doubled_and_voices_are_neither() -> None:
    leg = LegOutcome("caller", ["일 이 이", "[음성 1.2초]"])
    leg.compare(["일", "이", "삼", "삼"], BOOK)
    assert (leg.missing, leg.doubled, leg.words) == (2, 1, 3)


def test_a_call_has_failed_if_words_audio_or_a_leg_is_not_complete() -> None:
    whole = CallOutcome("1", "x", [LegOutcome("caller", ["일"], [10])])
    missing = CallOutcome("2", "x", [LegOutcome("caller", [], [], missing=1)])
    lost = CallOutcome(
        "3", "x", [LegOutcome("caller", report=LegReport(Ledger(lost={GapReason.RING: 40.4})))]
    )
    partial = CallOutcome("4", "x", [LegOutcome("caller", report=LegReport(reasons=["not tapped"]))])
    assert [call.failed for call in (whole, missing, lost, partial)] == [False, True, True, True]
    told = Outcome([whole, lost], emulated=True).as_json()
    assert (told["verdict"], told["partial"], told["lost"], told["lost_ms"]) == (
        "partial",
        1,
        {"ring": 40},
        40,
    )
    assert Outcome([whole], emulated=True).failed is False


def test_of_a_hundred_latencies_the_99th_is_shown() -> None:
    leg = LegOutcome("caller", latencies_ms=list(range(100, 0, -1)))
    told = CallOutcome("1", "x", [leg]).as_json()
    assert (told["latency_p50_ms"], told["latency_p99_ms"]) == (50, 99)
    assert CallOutcome("1", "x", [LegOutcome("caller")]).as_json()["latency_p99_ms"] is None
