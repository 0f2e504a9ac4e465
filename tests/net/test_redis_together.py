"""Outbox, delivery, Redis and docs/consumer.py together: whatever dies, all is there in each call's order."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from bridge.delivery.delivering import Delivery
from bridge.net.redisstream import RedisSender, RedisSettings
from bridge.outbox.outbox import Outbox
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
async def consuming(redis: RedisServer, name: str = "one") -> AsyncIterator[asyncio.StreamReader]:
    """docs/consumer.py, run as it is: what it prints."""
    consumer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CONSUMER),
        "rtzr:events",
        "crm",
        name,
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


async def reads(redis: RedisServer, number: int) -> None:
    """Until it was asked so often since its start for what is new."""
    async with asyncio.timeout(20):
        while (await asked(redis)) < number:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)


async def asked(redis: RedisServer) -> int:
    told = await command(redis, "INFO", "commandstats")
    return int(told.get("cmdstat_xreadgroup", {"calls": 0})["calls"])


@pytest.mark.parametrize("kept", ["yes", "no"])
async def test_a_consumer_outlives_silence_and_its_redis(tmp_path: Path, kept: str) -> None:
    with RedisServer(tmp_path, "--appendonly", kept) as redis:
        async with (
            opened(tmp_path / "o.db", {"redis": None}) as outbox,
            RedisSender(RedisSettings(redis.url)) as sender,
            consuming(redis) as output,
        ):
            await outbox.add([event(number) for number in range(3)])
            some = await outbox.waiting("redis", 3)
            await reads(redis, 3)
            await sender.send(some[:1])
            assert await printed(output, 1) == ["c/0"]
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)  # one that keeps nothing has no group any more
            await sender.send(some[1:])
            assert await printed(output, 2) == ["c/1", "c/2"]


async def test_consumers_of_a_group_share_what_comes_and_take_over_what_one_left(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with (
        opened(tmp_path / "o.db", {"redis": None}) as outbox,
        RedisSender(RedisSettings(redis.url)) as sender,
    ):
        await outbox.add([event(number) for number in range(300)])
        await sender.send((await outbox.waiting("redis", 1))[:1])
        await command(redis, "XGROUP", "CREATE", "rtzr:events", "crm", "0")
        await command(redis, "XREADGROUP", "GROUP", "crm", "dead", "STREAMS", "rtzr:events", ">")
        ((number, _),) = await command(redis, "XRANGE", "rtzr:events", "-", "+")
        await command(redis, "XCLAIM", "rtzr:events", "crm", "dead", "0", number, "IDLE", "61000")
        async with consuming(redis) as one, consuming(redis, "two") as two:
            left = [asyncio.create_task(anext(aiter(output))) for output in (one, two)]
            done, others = await asyncio.wait(left, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            assert [json.loads(await task)["id"] for task in done] == ["c/0"]
            await sender.send((await outbox.waiting("redis", 300))[1:])
            found: set[str] = {json.loads(await task)["id"] for task in others}
            for output in (one, two):
                while len(found) < 299 and (ids := await some_printed(output)):
                    assert found.isdisjoint(ids)
                    found.update(ids)
        assert found == {f"c/{number}" for number in range(1, 300)}


async def some_printed(output: asyncio.StreamReader) -> list[str]:
    """The ids of what comes within a moment."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(printed(output, 1), 1)
    return []


@pytest.mark.parametrize("text", [CONSUMER.read_text()])
def test_the_consumer_is_short(text: str) -> None:
    assert len(text.splitlines()) <= 45
