"""bridge/delivery/deliveries.py: endpoints get their events, a person learns what waits, and may order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bridge import metrics
from bridge.delivery.deliveries import Deliveries
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Rejected
from tests.delivery.test_delivering import Receiver, refusing
from tests.outboxes import QUICK, A, B, event, ids, killed, opened, started
from tests.scale import scaled


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


_KILLED = """
import asyncio, random, structlog, sys
from pathlib import Path
from bridge.delivery.deliveries import Deliveries
from bridge.sinks.outbox import OutboxSink
from bridge.outbox.stored import Unreachable
from tests.outboxes import QUICK, A, B, event, opened

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(60))  # the pipe is the receivers'

class Printing:
    def __init__(self, name, batch):
        self.name, self.batch = name, batch

    async def send(self, events):
        await asyncio.sleep(random.choice([0, 0.001]))
        if random.random() < 0.1:
            raise Unreachable("away")
        for one in events:
            print("-", self.name, one.id, flush=True)
        if random.random() < 0.1:
            raise Unreachable("the answer was lost")

async def main(life):
    async with opened(Path(sys.argv[1])) as outbox, asyncio.TaskGroup() as tasks:
        deliveries = Deliveries(outbox, [(Printing(A, 1), None), (Printing(B, 20), None)], QUICK)
        tasks.create_task(deliveries.run())
        for n in range(0, 10**9, 3):
            for call in "xyz":
                if await outbox.add([event(n + m, life + call) for m in range(3)]):
                    print("+", life + call, n + 2, flush=True)

asyncio.run(main(sys.argv[2]))
"""


async def test_kills_cost_no_receiver_anything_that_was_committed(tmp_path: Path) -> None:
    """The receivers are pipes of the process that is killed: what it wrote to them they have."""
    added: dict[str, int] = {}
    has: dict[tuple[str, str], list[int]] = {}
    for life in range(scaled(200, 5)):
        for sign, name, what in killed(_KILLED, tmp_path / "o.db", life, 1 + life * 37 % 400):
            if sign == "+":
                added[name] = int(what)
            else:
                call, number = what.split("/")
                has.setdefault((name, call), []).append(int(number))
    async with opened(tmp_path / "o.db") as outbox:
        for name in (A, B):
            for one in await outbox.waiting(name, 10**6):
                has.setdefault((name, one.call), []).append(int(one.id.split("/")[1]))
        assert outbox.counters.moved_aside == 0
    for call, last in added.items():
        for name in (A, B):
            once = list(dict.fromkeys(has[name, call]))
            assert once == list(range(len(once))), "in order, and none left out"
            assert len(once) > last, "all that were committed"
