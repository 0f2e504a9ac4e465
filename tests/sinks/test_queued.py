"""bridge/sinks/queued.py: order kept, the oldest dropped, a failing write told once, nobody held up."""

import asyncio
import threading
from collections.abc import Sequence

from structlog.testing import capture_logs

from bridge.sinks.queued import BlockingSink
from bridge.types import Event


def event(number: int) -> Event:
    return Event(str(number), "rtzr.gap", "call", "now", {})


class ListSink(BlockingSink):
    """Keeps the ids of what was written; fails on those in `bad`."""

    def __init__(self, bound: int = 100, bad: Sequence[str] = ()) -> None:
        super().__init__(bound)
        self.ids: list[str] = []
        self.bad = bad

    def write(self, events: Sequence[Event]) -> bool:
        ids = [event.id for event in events]
        if set(ids) & set(self.bad):
            raise OSError(28, "No space left on device")
        self.ids += ids
        return True


async def test_all_that_was_delivered_is_written_in_order_before_it_ends() -> None:
    sink = ListSink()
    running = asyncio.create_task(sink.run())
    for number in range(50):
        sink.deliver(event(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    sink.close()
    await running
    assert sink.ids == [str(number) for number in range(50)]
    assert (sink.delivered, sink.dropped, sink.failed) == (50, 0, 0)


async def test_the_oldest_go_when_it_cannot_keep_up() -> None:
    sink = ListSink(bound=3)
    for number in range(5):
        sink.deliver(event(number))
    sink.close()
    await sink.run()
    assert sink.ids == ["2", "3", "4"]
    assert (sink.delivered, sink.dropped) == (3, 2)


async def one_by_one(sink: ListSink, numbers: Sequence[int]) -> None:
    """Deliver events so that each is a batch of its own."""
    running = asyncio.create_task(sink.run())
    for number in numbers:
        seen = sink.delivered + sink.failed
        sink.deliver(event(number))
        async with asyncio.timeout(5):
            while sink.delivered + sink.failed == seen:  # noqa: ASYNC110 - a sink tells nobody
                await asyncio.sleep(0)
    sink.close()
    await running


async def test_a_write_that_fails_is_told_once_counted_and_no_end() -> None:
    sink = ListSink(bad=["1", "2", "3"])
    with capture_logs() as logs:
        await one_by_one(sink, range(5))
    assert sink.ids == ["0", "4"]
    assert (sink.delivered, sink.failed) == (2, 3)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("events not written", "error"),
        ("events written again", "info"),
    ]
    assert logs[0]["reason"] == "No space left on device"


async def test_a_writer_that_stands_still_holds_up_nobody() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Stuck(ListSink):
        def write(self, events: Sequence[Event]) -> bool:
            begun.set()
            assert go_on.wait(5)
            return super().write(events)

    sink = Stuck(bound=2)
    running = asyncio.create_task(sink.run())
    sink.deliver(event(0))
    async with asyncio.timeout(5):
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0)
    for number in range(1, 6):
        sink.deliver(event(number))
    go_on.set()
    sink.close()
    await running
    assert sink.ids == ["0", "4", "5"]
    assert sink.dropped == 3
