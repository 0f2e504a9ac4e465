"""bench/deliveries.py: a short run measures all four ways, and what falls short of the target is said."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from bench import deliveries
from bench.deliveries import Paced, Size
from bench.hook import Hook
from tests.bench.test_benches import Counted


async def test_a_short_run_measures_every_way(redis_installed: None) -> None:
    size, advance, cores = (
        Size(paced_s=0.2, batched=300, single=100, redis=300),
        Counted(),
        len(os.sched_getaffinity(0)),
    )
    found = await deliveries.run(advance, size)
    assert advance.done == size.steps
    assert set(found.data) >= {
        "events_per_s",
        "single_posts_per_s",
        "redis_per_s",
        "final_to_receiver_ms_p50",
        "final_to_receiver_ms_p99",
    }
    assert all(value is not None for value in found.data.values())
    assert 0 < found.data["final_to_receiver_ms_p50"] <= found.data["final_to_receiver_ms_p99"]
    assert len(os.sched_getaffinity(0)) == cores, "what follows has all of them again"


@pytest.mark.parametrize(
    ("batched", "late_s", "missed"),
    [
        (2000, 1.0, []),
        (1999, 0.0, ["1999 events/s in batches, of 2000"]),
        (9000, 1.3, ["at 2000 events/s the last came 1.3 s late"]),
    ],
)
def test_what_falls_short_is_said(batched: float, late_s: float, missed: list[str]) -> None:
    found = deliveries.outcome(Paced([3.0, 1.0, 2.0], late_s, 0.5), batched, 10, None)
    assert found.missed == missed
    assert (found.data["final_to_receiver_ms_p50"], found.data["redis_per_s"]) == (2.0, None)


async def test_a_loop_that_stands_still_makes_finals_late(tmp_path: Path) -> None:
    async def stall() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.4)  # noqa: ASYNC251 - this is what it is about

    async with Hook() as hook:
        stalling = asyncio.create_task(stall())
        paced = await deliveries._Bench(tmp_path, lambda _: None).paced(hook, 0.5)
        await stalling
    assert max(paced.took_ms) > 300, "made when the loop went on, and due before"
