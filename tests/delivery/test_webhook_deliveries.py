"""Outbox, delivery and webhook together, and a receiver that fails in every way at random."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bridge.delivery.delivering import Delivery
from bridge.net.webhook import WebhookSender
from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.types import Event
from bridge.wire.address import Reach
from bridge.wire.retry import RetrySettings
from bridge.wire.webhook import key
from tests.net.receiver import SECRET, Connection, Got
from tests.net.tcp import server
from tests.scale import scaled

NAME = "webhook:crm"
QUICK = RetrySettings(base_s=0.005, cap_s=0.05, probe_cap_s=0.05)
CALLS = 10


class Moody:
    """Takes about half of what comes; sometimes its answer is lost, though it took it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.taken: list[dict[str, Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        while not writer.is_closing():
            got = await connection.request()
            got.verified()
            await self._answer(connection, got)

    async def _answer(self, connection: Connection, got: Got) -> None:
        mood = self._random.random()
        if mood < 0.6:
            self.taken += got.events
        if mood < 0.5:
            await connection.answer("204 No Content")
        elif mood < 0.7:  # taken or not, nobody is told
            connection.writer.transport.abort()
        elif mood < 0.75:
            await connection.reader.read()
        elif mood < 0.8 and len(got.events) > 1:
            await connection.answer("413 Too much")
        else:
            status = self._random.choice(["500 No", "503 No", "429 No", "302 There", "404 Where", "401 Who"])
            await connection.answer(status, "Retry-After: 0\r\nLocation: http://127.0.0.1:1/\r\n")


def said(call: str, number: int) -> Event:
    return Event(f"{call}/{number}", "rtzr.transcript.final", call, "2026-01-01T00:00:00Z", {"text": "예"})


async def empty(outbox: Outbox, delivery: Delivery) -> None:
    while (await outbox.counts())[NAME].waiting:
        await delivery.settle()


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("seed", range(scaled(10, 2)))
async def test_it_has_every_event_in_the_order_of_its_call(tmp_path: Path, seed: int, batch: int) -> None:
    moody, wanted = Moody(seed), defaultdict(list)
    outbox = Outbox(tmp_path / "outbox.db", OutboxSettings())
    outbox.endpoints({NAME: None})
    await outbox.open()
    async with (
        server(moody.serve) as port,
        WebhookSender(
            NAME,
            f"http://127.0.0.1:{port}/",
            [key(SECRET)],
            batch=batch,
            timeout_s=0.3,
            reach=Reach(private=True),
        ) as sender,
    ):
        delivery = Delivery(outbox, sender, QUICK)
        running = asyncio.create_task(delivery.run())
        for number in range(20):
            events = [said(f"call-{call}", number) for call in range(CALLS)]
            for event in events:
                wanted[event.subject].append(event.id)
            await outbox.add(events)
        await empty(outbox, delivery)
        running.cancel()
        await asyncio.wait([running])
    await outbox.close()
    first: dict[str, dict[str, None]] = defaultdict(dict)
    for one in moody.taken:
        first[one["subject"]].setdefault(one["id"])
    assert {call: list(ids) for call, ids in first.items()} == wanted
