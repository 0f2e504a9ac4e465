"""bridge/onlookers.py."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from bridge import onlookers


async def test_a_fault_is_told_once_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onlookers, "_TICK_S", 0.0)
    looks, enough = [True, False, False, True, False, True], asyncio.Event()

    def look() -> None:
        if not looks:
            enough.set()
        elif not looks.pop(0):
            raise KeyError("of ours")

    with capture_logs() as logs:
        looking = asyncio.create_task(onlookers.every_second(look, "the test"))
        await enough.wait()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    assert [(line["log_level"], line["who"]) for line in logs] == [("error", "the test")] * 2
