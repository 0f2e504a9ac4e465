"""bridge/net/lasting.py: a connection is tried again, ever less, and never in vain at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from bridge.net import lasting
from bridge.net.ami import AmiCounters
from bridge.net.lasting import Lost
from bridge.wire.pbxevents import Disconnected


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    told: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        told.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return told


async def test_events_between_connections_and_longer_pauses(pauses: list[float]) -> None:
    number = 0

    async def one(lost: Lost) -> AsyncGenerator[int]:
        nonlocal number
        number += 1
        lost.was_connected, lost.reason = number % 2 == 0, f"end {number}"
        if lost.was_connected:
            yield number

    seen: list[object] = []
    counters = AmiCounters()
    async with aclosing(lasting.lasting(one, lambda: 1.0, counters)) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == 4:
                break
    assert seen == [2, Disconnected("end 2"), 4, Disconnected("end 4")]
    assert pauses == [0.5, 1.0, 2.0]  # none of them stood for long
    assert counters.disconnected == 2  # a try that failed is none


async def test_what_is_hopeless_is_tried_seldom(pauses: list[float]) -> None:
    tries = 0

    async def one(lost: Lost) -> AsyncGenerator[int]:
        nonlocal tries
        tries += 1
        lost.hopeless = tries < 3
        if tries == 3:
            yield 3

    async with aclosing(lasting.lasting(one, lambda: 0.0, AmiCounters())) as events:
        assert await anext(events) == 3
    assert pauses == [lasting.HOPELESS_S] * 2


async def test_a_line_that_is_cut_again_and_again_is_followed_within_seconds(pauses: list[float]) -> None:
    """Else calls would begin and end that nobody sees."""

    async def one(lost: Lost) -> AsyncGenerator[int]:
        lost.was_connected = True
        yield 1

    async with aclosing(lasting.lasting(one, lambda: 1.0, AmiCounters())) as events:
        async for _ in events:
            if len(pauses) == 100:
                break
    assert pauses[-1] == max(pauses) == 5.0
