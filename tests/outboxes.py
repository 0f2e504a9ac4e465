"""Events and outboxes for the tests of what is stored and delivered."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.types import Event
from bridge.wire.retry import RetrySettings

A, B = "webhook:a", "redis:b"
EVERY: Mapping[str, frozenset[str] | None] = {A: None}
BOTH: Mapping[str, frozenset[str] | None] = {A: None, B: None}

QUICK = RetrySettings(base_s=0.001, cap_s=0.004, tries=4, probe_cap_s=0.004)


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


def killed(script: str, path: Path, life: int, after_lines: int) -> list[list[str]]:
    """What a process told until it was killed."""
    command = [sys.executable, "-c", script, str(path), f"{life}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after_lines)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    return [line.split() for line in lines if line.endswith("\n")]
