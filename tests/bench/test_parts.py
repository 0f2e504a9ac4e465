"""bench/parts.py: every part can be run, beside its floor, and its rows add up."""

import pytest

from bench import parts
from bench.parts import Part


@pytest.mark.parametrize("measure", parts.PARTS, ids=lambda one: str(getattr(one, "__name__", one)))
async def test_each_part_is_measured_beside_its_floor(measure: parts.Measure) -> None:
    part = await measure(3, 2)
    assert part.us > 0
    assert part.floor_us > 0
    assert part.name
    assert part.floor


def test_the_table_has_a_row_for_each_part_and_their_sum() -> None:
    found = [Part("receive", "recv", 4.0, 1.0, 50, 50), Part("send", "send(2)", 6.0, 3.0, 10, 50)]
    outcome = parts.outcome(found)
    assert list(outcome.rows[0]) == [
        "receive", "recv", "4.0", "1.0", "4.0", "0.200", "0.050", "0.200", "0.050",
    ]  # fmt: skip
    assert outcome.rows[-1][5:] == ["0.260", "0.080", "0.500", "0.200"]
    assert [part["ratio"] for part in outcome.data["parts"]] == [4.0, 2.0]
    assert not outcome.missed


async def test_what_makes_the_round_ready_is_not_counted() -> None:
    def slow() -> None:
        sum(range(2_000_000))

    async def nothing() -> None:
        return

    assert await parts.least_us(1, 2, nothing, slow) < await parts.least_us(1, 2, slow)
