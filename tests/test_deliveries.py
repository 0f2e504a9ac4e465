"""bridge/deliveries.py: every endpoint gets its events, and a person learns what waits, and may order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bridge import metrics
from bridge.deliveries import Deliveries
from bridge.outbox import Outbox
from bridge.stored import Rejected
from tests.outboxes import A, B, event, ids, opened, started
from tests.test_delivering import QUICK, Receiver, refusing


class Second(Receiver):
    name = B


@asynccontextmanager
async def running(outbox: Outbox, *receivers: Receiver) -> AsyncIterator[Deliveries]:
    rules = {A: None, B: frozenset({"sales"})}
    deliveries = Deliveries(outbox, [(one, rules[one.name]) for one in receivers], QUICK)
    task = asyncio.create_task(deliveries.run())
    try:
        yield deliveries
    finally:
        task.cancel()
        await asyncio.wait([task])


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_each_gets_its_calls_though_another_be_stuck(tmp_path: Path) -> None:
    first, second = Receiver(), Second(10)
    first.answer = refusing("x/1", Rejected("500"))
    async with opened(tmp_path / "o.db") as outbox, running(outbox, first, second) as deliveries:
        await outbox.add([started("x"), started("s", "sales"), event(1, "x"), event(1, "s")])
        await deliveries.finish(0.05)
        assert (first.of("x"), first.of("s")) == ([0], [0, 1])
        assert (second.of("x"), second.of("s")) == ([], [0, 1])
        reports = {one.name: asdict(one) for one in await deliveries.report()}
        assert (reports[A]["waiting"], reports[A]["error"], reports[A]["resting"]) == (1, "500", 1)
        assert (reports[B]["waiting"], reports[B]["state"], reports[B]["sent"]) == (0, "delivering", 2)
        assert deliveries.degraded == ""


async def test_a_person_may_try_again_or_give_up(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answer = refusing("x/0", Rejected("410", gone=True))
    async with opened(tmp_path / "o.db") as outbox, running(outbox, receiver) as deliveries:
        await outbox.add([event(0, "x"), event(1, "x")])
        await deliveries.finish(5)
        (report,) = await deliveries.report()
        assert (report.state, report.waiting, report.error) == ("gone", 2, "410")
        assert report.waiting_s >= 0
        receiver.answer = refusing("x/1", Rejected("410", gone=True))
        assert not deliveries.retry("nobody")
        assert deliveries.retry(A)
        await deliveries.finish(5)
        assert receiver.of("x") == [0]
        assert await deliveries.drop(A) == 1
        assert await ids(outbox) == []


async def test_what_waits_for_one_of_former_days_is_told_and_may_be_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", {B: None}) as outbox:
        await outbox.add([event(0), event(1)])
    async with opened(tmp_path / "o.db") as outbox, running(outbox, Receiver()) as deliveries:
        found = {one.name: (one.state, one.waiting) for one in await deliveries.report()}
        assert found == {A: ("delivering", 0), B: ("unknown", 2)}
        assert await deliveries.drop(B) == 2


async def test_the_metrics_are_told_what_grew(tmp_path: Path) -> None:
    sent = value("rtzr_bridge_deliveries_total", endpoint=A, fate="sent")
    written = value("rtzr_bridge_outbox_total", fate="written")
    receiver = Receiver()
    receiver.answer = refusing("x/1", Rejected("410", gone=True))
    async with opened(tmp_path / "o.db") as outbox, running(outbox, receiver) as deliveries:
        await outbox.add([event(n, "x") for n in range(5)])
        await deliveries.finish(5)
        await deliveries.tick()
        await deliveries.tick()
    assert value("rtzr_bridge_deliveries_total", endpoint=A, fate="sent") - sent == 1
    assert value("rtzr_bridge_outbox_total", fate="written") - written == 5
    assert value("rtzr_bridge_deliveries_waiting", endpoint=A) == 4
    assert value("rtzr_bridge_outbox_degraded") == 0
