"""Events and outboxes for the tests of what is stored and delivered."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.outbox import Outbox, OutboxSettings
from bridge.types import Event

A, B = "webhook:a", "redis:b"
EVERY: Mapping[str, frozenset[str] | None] = {A: None}
BOTH: Mapping[str, frozenset[str] | None] = {A: None, B: None}


def event(number: int, call: str = "c", kind: str = "transcript.final", **data: object) -> Event:
    return Event(f"{call}/{number}", f"rtzr.{kind}", call, "2026-01-01T00:00:00Z", {"text": "네", **data})


def started(call: str, rule: str = "") -> Event:
    return event(0, call, "call.started", **({"rule": rule} if rule else {}))


@asynccontextmanager
async def opened(
    path: Path,
    names: Mapping[str, frozenset[str] | None] = EVERY,
    settings: OutboxSettings | None = None,
    kind: type[Outbox] = Outbox,
) -> AsyncIterator[Outbox]:
    outbox = kind(path, settings or OutboxSettings())
    outbox.endpoints(names)
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


async def ids(outbox: Outbox, endpoint: str = A, most: int = 10_000) -> list[str]:
    return [one.id for one in await outbox.waiting(endpoint, most)]
