"""bench/bill.py on a real Asterisk, and bench/overload.py's judgement of what the admitted suffered."""

import pytest

from bench import overload
from bench.bill import Size, bill, outcome


@pytest.mark.timeout(120)
async def test_a_tap_costs_the_pbx_something(asterisk_installed: None) -> None:
    rows = await bill(Size(calls=4, rounds=1, seconds=2.0), ("ulaw",), lambda _: None)
    (row,) = rows
    assert row["legs"] == 8
    assert 0 < row["untapped_ms_per_leg_s"] < row["tapped_ms_per_leg_s"]
    assert outcome(rows).rows[0][:2] == ["ChanSpy to RTP", "ulaw"]


def test_what_the_admitted_suffer_is_told() -> None:
    alone = {"added_ms_p99": 2.0, "packets_lost": 0, "packets_missing": 0, "legs": 100, "after": 100}
    assert overload.missed(alone, alone) == []
    assert len(overload.missed(alone | {"added_ms_p99": 8.0}, alone)) == 1
    assert len(overload.missed(alone | {"packets_missing": 1}, alone)) == 1
    assert len(overload.missed(alone | {"after": 150}, alone)) == 1
