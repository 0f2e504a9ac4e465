"""bridge/sinks/outbox.py: all but partials are written, and what cannot be waits for a disk with room."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.outbox.file import OutboxFile
from bridge.outbox.outbox import Outbox
from bridge.sinks import outbox as module
from bridge.sinks.outbox import OutboxSink
from bridge.types import Event
from tests.outboxes import event, ids, opened


async def test_everything_but_partials_is_written_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db") as outbox:
        sink = OutboxSink(outbox)
        running = asyncio.create_task(sink.run())
        for n in range(100):
            sink.deliver(event(n, "c", "transcript.partial" if n % 3 else "transcript.final"))
            await asyncio.sleep(0)
        sink.close()
        await running
        assert await ids(outbox) == [f"c/{n}" for n in range(0, 100, 3)]
        assert (sink.name, sink.delivered, sink.dropped, sink.failed) == ("outbox", 34, 0, 0)


class Fickle(Outbox):
    """Refuses until it is told otherwise."""

    refuses = True
    tries = 0

    async def add(self, events: Sequence[Event]) -> bool:
        self.tries += 1
        return not self.refuses and await super().add(events)


async def test_what_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    async with opened(tmp_path / "o.db", kind=Fickle) as outbox:
        assert isinstance(outbox, Fickle)
        sink = OutboxSink(outbox)
        running = asyncio.create_task(sink.run())
        sink.deliver(event(1))
        async with asyncio.timeout(5):
            while outbox.tries < 5:  # noqa: ASYNC110 - an outbox tells nobody that it refused
                await asyncio.sleep(0.001)
        sink.deliver(event(2))
        outbox.refuses = False
        sink.close()
        await running
        assert await ids(outbox) == ["c/1", "c/2"]
        assert (sink.delivered, sink.failed, sink.left) == (2, 0, 0)


async def test_an_end_waits_for_no_disk(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", kind=Fickle) as outbox:
        sink = OutboxSink(outbox)
        sink.deliver(event(1))
        sink.close()
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                await sink.run()
        assert (sink.delivered, sink.failed, sink.left) == (0, 1, 1)
        assert [line["event"] for line in logs] == ["events not written"]


async def test_who_has_a_copy_learns_when_it_may_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", kind=Fickle) as outbox:
        assert isinstance(outbox, Fickle)
        outbox.refuses = False
        sink = OutboxSink(outbox)
        running = asyncio.create_task(sink.run())
        assert await sink.written(), "nothing is all of it"
        for n in range(5):
            sink.deliver(event(n))
        assert await sink.written()
        assert len(await ids(outbox)) == 5
        outbox.refuses = True
        sink.deliver(event(5))
        waiting = asyncio.create_task(sink.written())
        await asyncio.sleep(0)  # it begins before the end
        sink.close()
        await running
        assert not await waiting


class Refusing(OutboxFile):
    def commit(self) -> None:
        raise OSError(5, "Input/output error")


async def test_how_many_wait_for_a_disk_that_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    async with opened(tmp_path / "o.db") as outbox:
        sink = OutboxSink(outbox)
        running = asyncio.create_task(sink.run())
        with monkeypatch.context() as patch:
            patch.setattr(OutboxFile, "commit", Refusing.commit)
            for number in range(8):
                sink.deliver(event(number))
            async with asyncio.timeout(5):
                while not outbox.degraded:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.001)
            assert outbox.degraded.endswith("; 8 events wait in memory")
        sink.close()
        await running
        assert await ids(outbox) == [f"c/{number}" for number in range(8)]
        assert outbox.degraded == ""
