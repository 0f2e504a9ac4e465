"""Outbox, delivery, Redis and docs/consumer.py together: whatever dies, all is there in each call's order."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.delivering import Delivery
from bridge.net.redisstream import RedisSender, RedisSettings
from bridge.outbox import Outbox
from bridge.wire.retry import RetrySettings
from tests.net.test_redisstream import command, entries, unrepeated
from tests.outboxes import event, opened, started
from tests.redisserver import RedisServer
from tests.scale import scaled

CONSUMER = Path(__file__).parents[2] / "docs" / "consumer.py"
QUICK = RetrySettings(base_s=0.005, cap_s=0.05, probe_cap_s=0.05)
CALLS = 10


@asynccontextmanager
async def delivering(outbox: Outbox, settings: RedisSettings) -> AsyncIterator[Delivery]:
    async with RedisSender(settings) as sender:
        delivery = Delivery(outbox, sender, QUICK)
        running = asyncio.create_task(delivery.run())
        try:
            yield delivery
        finally:
            running.cancel()
            await asyncio.wait([running])


async def empty(outbox: Outbox, delivery: Delivery) -> None:
    while (await outbox.counts())["redis"].waiting:
        await delivery.settle()
        await asyncio.sleep(0.01)  # for what rests


async def test_what_waits_while_redis_dies_comes_when_it_is_back(redis: RedisServer, tmp_path: Path) -> None:
    rounds = scaled(100, 10)
    async with opened(tmp_path / "o.db", {"redis": None}) as outbox:
        for life in range(2):  # of the bridge's
            async with delivering(outbox, RedisSettings(redis.url, timeout_s=1)) as delivery:
                for number in range(life * rounds, (life + 1) * rounds):
                    killing = asyncio.create_task(asyncio.to_thread(redis.kill))
                    await outbox.add([event(number, f"call-{call}") for call in range(CALLS)])
                    await killing
                    await asyncio.to_thread(redis.start)
                await empty(outbox, delivery)
    assert unrepeated(await entries(redis)) == {
        f"call-{call}": list(range(2 * rounds)) for call in range(CALLS)
    }


async def test_only_calls_of_its_rules_each_in_its_stream(redis: RedisServer, tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", {"redis": frozenset({"a", "b"})}) as outbox:
        await outbox.add([started(f"of-{rule}", rule) for rule in "abc"])
        await outbox.add([event(1, f"of-{rule}") for rule in "abc"])
        async with delivering(outbox, RedisSettings(redis.url, "rtzr:{rule}")) as delivery:
            await empty(outbox, delivery)
    for rule in "ab":
        assert [one["id"] for one in await entries(redis, f"rtzr:{rule}")] == [f"of-{rule}/0", f"of-{rule}/1"]
    assert sorted(await command(redis, "KEYS", "*")) == ["rtzr:a", "rtzr:b"]


@asynccontextmanager
async def consuming(redis: RedisServer) -> AsyncIterator[asyncio.StreamReader]:
    """docs/consumer.py, run as it is: what it prints."""
    consumer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CONSUMER),
        "rtzr:events",
        "crm",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "REDIS_URL": redis.url},
    )
    assert consumer.stdout is not None
    try:
        yield consumer.stdout
    finally:
        consumer.kill()
        await consumer.wait()


async def printed(output: asyncio.StreamReader, number: int) -> list[str]:
    """The ids of so many events that it prints."""
    async with asyncio.timeout(20):
        return [json.loads(await output.readline())["id"] for _ in range(number)]


async def test_the_consumer_of_the_documentation_prints_each_once(redis: RedisServer, tmp_path: Path) -> None:
    async with (
        opened(tmp_path / "o.db", {"redis": None}) as outbox,
        RedisSender(RedisSettings(redis.url)) as sender,
    ):
        await outbox.add([event(number) for number in range(4)])
        some = await outbox.waiting("redis", 4)
        await sender.send(some[:2])
        async with consuming(redis) as output:
            assert await printed(output, 2) == ["c/0", "c/1"]
            await sender.send(some[:3])  # an answer was lost
            assert await printed(output, 1) == ["c/2"]
        await sender.send(some)
        async with consuming(redis) as output:  # it was killed, and begins again
            assert await printed(output, 1) == ["c/3"]


async def test_what_a_consumer_did_not_confirm_comes_first(redis: RedisServer, tmp_path: Path) -> None:
    async with (
        opened(tmp_path / "o.db", {"redis": None}) as outbox,
        RedisSender(RedisSettings(redis.url)) as sender,
    ):
        await outbox.add([event(number) for number in range(3)])
        await sender.send((await outbox.waiting("redis", 3))[:2])
        await command(redis, "XGROUP", "CREATE", "rtzr:events", "crm", "0")
        await command(redis, "XREADGROUP", "GROUP", "crm", "one", "STREAMS", "rtzr:events", ">")
        await sender.send((await outbox.waiting("redis", 3))[2:])
        async with consuming(redis) as output:
            assert await printed(output, 3) == ["c/0", "c/1", "c/2"]


@pytest.mark.parametrize("text", [CONSUMER.read_text()])
def test_the_consumer_is_short(text: str) -> None:
    assert len(text.splitlines()) <= 35
