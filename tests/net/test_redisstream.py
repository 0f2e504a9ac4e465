"""bridge/net/redisstream.py against a real Redis: what comes to be there, and what is said when it cannot.

Whatever the server does: nothing that was sent is missing, repeats bear the same id, and the order of each
call is kept once they are dropped.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bridge.net.redisstream import NO_RULE, RedisSender, RedisSettings
from bridge.outbox.stored import Rejected, Stored, Unreachable
from tests.redisserver import RedisServer
from tests.scale import scaled

SAID = "카드 번호는 사사공공 caused error: WRONGTYPE"
SECRET = "hunter2"


def stored(seq: int, call: str = "c1", kind: str = "transcript.final", **data: Any) -> Stored:
    name, full = f"{call}/leg/{seq}", f"rtzr.{kind}"
    event = {"id": name, "type": full, "subject": call, "data": {"text": SAID, **data}}
    return Stored(seq, name, call, full, json.dumps(event, ensure_ascii=False).encode())


@asynccontextmanager
async def client(server: RedisServer, **options: Any) -> AsyncIterator[Any]:  # its types are too wide
    one = Redis(port=server.port, decode_responses=True, **options)
    try:
        yield one
    finally:
        await one.aclose()


async def entries(server: RedisServer, stream: str = "rtzr:events") -> list[dict[str, str]]:
    async with client(server) as reader:
        return [fields for _, fields in await reader.xrange(stream)]


async def command(server: RedisServer, *words: str, **options: Any) -> Any:
    async with client(server, **options) as one:
        return await one.execute_command(*words)


async def refused(settings: RedisSettings, events: Sequence[Stored] = (stored(1),)) -> str:
    """What a send is refused with; a second one too, so that nothing is left over of the first."""
    async with RedisSender(settings) as sender:
        texts = set()
        for _ in range(2):
            with pytest.raises(Rejected) as error:
                await sender.send(events)
            assert (error.value.gone, error.value.poison, error.value.retry_after_s) == (False, False, None)
            texts.add(str(error.value))
    (text,) = texts
    assert SAID not in text
    assert SECRET not in text
    return text


async def unreachable(sender: RedisSender) -> str:
    with pytest.raises(Unreachable) as error:
        await sender.send([stored(1)])
    return str(error.value)


async def test_an_entry_has_the_event_and_by_what_to_know_it(redis: RedisServer) -> None:
    events = [stored(number) for number in range(20)]
    async with RedisSender(RedisSettings(redis.url)) as sender:
        await sender.send(events[:1])
        await sender.send(events[1:])
    assert await entries(redis) == [
        {"id": one.id, "type": one.type, "call": one.call, "event": one.body.decode()} for one in events
    ]


async def test_what_is_there_outlives_the_server(redis: RedisServer) -> None:
    async with RedisSender(RedisSettings(redis.url)) as sender:
        await sender.send([stored(1)])
        await asyncio.to_thread(redis.kill)  # meanwhile the loop sees that it is gone
        await asyncio.to_thread(redis.start)
        await sender.send([stored(2)])
    assert [entry["id"] for entry in await entries(redis)] == ["c1/leg/1", "c1/leg/2"]


async def test_a_group_of_consumers_shares_the_stream(redis: RedisServer) -> None:
    async with RedisSender(RedisSettings(redis.url)) as sender, client(redis) as reader:
        await reader.xgroup_create("rtzr:events", "crm", id="0", mkstream=True)
        await sender.send([stored(number) for number in range(4)])
        got: list[str] = []
        for consumer in ("a", "b"):
            ((_, some),) = await reader.xreadgroup("crm", consumer, {"rtzr:events": ">"}, count=2)
            got += [fields["id"] for _, fields in some]
            await reader.xack("rtzr:events", "crm", *(number for number, _ in some))
        assert got == [f"c1/leg/{number}" for number in range(4)]
        assert (await reader.xpending("rtzr:events", "crm"))["pending"] == 0


@pytest.mark.parametrize(("maxlen", "kept"), [(100, range(100, 300)), (0, range(1000, 1001))])
async def test_a_stream_is_trimmed_if_it_is_to_be(redis: RedisServer, maxlen: int, kept: range) -> None:
    async with RedisSender(RedisSettings(redis.url, maxlen=maxlen)) as sender:
        await sender.send([stored(number) for number in range(1000)])
    ids = [entry["id"] for entry in await entries(redis)]
    assert len(ids) in kept  # Redis drops whole blocks of 100
    assert ids[-1] == "c1/leg/999"


class TestOneStreamForEachRule:
    async def test_a_call_is_in_its_rule_s_and_in_none_s_without_one(self, redis: RedisServer) -> None:
        async with RedisSender(RedisSettings(redis.url, "said:{rule}")) as sender:
            await sender.send([stored(1, "a", "call.started", rule="상담 센터"), stored(2, "a")])
            await sender.send([stored(3, "b", "call.started"), stored(4, "b"), stored(5, "a")])
        assert [one["id"] for one in await entries(redis, "said:상담 센터")] == [
            "a/leg/1",
            "a/leg/2",
            "a/leg/5",
        ]
        assert [one["call"] for one in await entries(redis, f"said:{NO_RULE}")] == ["b", "b"]

    async def test_a_rule_s_name_that_utf8_cannot_hold_stops_nobody(self, redis: RedisServer) -> None:
        async with RedisSender(RedisSettings(redis.url, "half:{rule}")) as sender:
            body = b'{"data":{"rule":"\\ud800"}}'
            await sender.send([Stored(1, "a/1", "a", "rtzr.call.started", body), stored(2, "a")])
        assert len(await entries(redis, "half:\\ud800")) == 2

    async def test_of_a_call_that_began_before_this_process_it_is_asked_once(
        self, redis: RedisServer
    ) -> None:
        asked = []

        async def rules_of(calls: Collection[str]) -> dict[str, str]:
            asked.append(sorted(calls))
            return {"old": "sales", "bare": ""}

        async with RedisSender(RedisSettings(redis.url, "{rule}"), rules_of) as sender:
            await sender.send([stored(1, "old"), stored(2, "old"), stored(3, "lost"), stored(4, "bare")])
            await sender.send([stored(5, "lost"), stored(6, "new", "call.started", rule="sales")])
        sales = [one["id"] for one in await entries(redis, "sales")]
        assert sales == ["old/leg/1", "old/leg/2", "new/leg/6"]
        assert [one["call"] for one in await entries(redis, NO_RULE)] == ["lost", "bare", "lost"]
        assert asked == [["bare", "lost", "old"]]

    async def test_with_one_stream_nobody_is_asked(self, redis: RedisServer) -> None:
        async def rules_of(calls: Collection[str]) -> dict[str, str]:
            raise AssertionError

        async with RedisSender(RedisSettings(redis.url), rules_of) as sender:
            await sender.send([stored(1)])
        assert len(await entries(redis)) == 1

    async def test_one_that_is_no_stream_leaves_no_later_event_before_an_earlier_one(
        self, redis: RedisServer
    ) -> None:
        await command(redis, "SET", "taken", "1")
        settings = RedisSettings(redis.url, "{rule}")
        batch = [stored(1, "a", "call.started", rule="taken"), stored(2, "b"), stored(3, "b")]
        async with RedisSender(settings) as sender:
            with pytest.raises(Rejected, match=r"is no stream in Redis; give another sinks\.redis\.stream"):
                await sender.send(batch)
            await command(redis, "DEL", "taken")
            await sender.send(batch)
        assert unrepeated(await entries(redis, NO_RULE)) == {"b": [2, 3]}


class TestWhatRedisRefuses:
    async def test_a_key_of_another_kind(self, redis: RedisServer) -> None:
        await command(redis, "SET", "rtzr:events", "1")
        assert "is no stream" in await refused(RedisSettings(redis.url))

    async def test_memory_that_is_full(self, redis: RedisServer) -> None:
        await command(redis, "CONFIG", "SET", "maxmemory", "1000")
        assert "has no memory left" in await refused(RedisSettings(redis.url))
        await command(redis, "CONFIG", "SET", "maxmemory", "0")
        assert await entries(redis) == []

    async def test_a_disk_that_is_full(self, redis: RedisServer) -> None:
        await command(redis, "CONFIG", "SET", "min-replicas-to-write", "1")
        assert "too few replicas" in await refused(RedisSettings(redis.url))

    async def test_a_replica(self, redis: RedisServer) -> None:
        await command(redis, "REPLICAOF", "127.0.0.1", "1")
        assert "is a replica" in await refused(RedisSettings(redis.url))

    async def test_a_cluster(self, tmp_path: Path) -> None:
        bus = str(RedisServer(tmp_path).port)  # its default is a port that the system gives out
        with RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", bus) as server:
            assert "is a cluster" in await refused(RedisSettings(server.url))

    async def test_one_without_streams(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path, "--rename-command", "XADD", "") as server:
            assert "a Sentinel" in await refused(RedisSettings(server.url))

    @pytest.mark.parametrize("given", ["", "wrong"])
    async def test_a_wrong_password_and_none(self, redis: RedisServer, given: str) -> None:
        await command(redis, "CONFIG", "SET", "requirepass", SECRET)
        text = await refused(RedisSettings(redis.url, password=given))
        assert "password_env" in text

    async def test_the_right_password_is_taken(self, redis: RedisServer) -> None:
        await command(redis, "CONFIG", "SET", "requirepass", SECRET)
        async with RedisSender(RedisSettings(redis.url, password=SECRET)) as sender:
            await sender.send([stored(1)])
        assert await command(redis, "XLEN", "rtzr:events", password=SECRET) == 1

    async def test_a_user_who_may_not(self, redis: RedisServer) -> None:
        await command(redis, "ACL", "SETUSER", "bridge", "on", f">{SECRET}", "~other:*", "+xadd")
        settings = RedisSettings(redis.url, username="bridge", password=SECRET)
        assert "allow XADD, XTRIM, MULTI and EXEC" in await refused(settings)

    async def test_a_user_who_may_no_more_than_is_needed(self, redis: RedisServer) -> None:
        allowed = ["~rtzr:*", "resetchannels", "+xadd", "+xtrim", "+multi", "+exec"]
        await command(redis, "ACL", "SETUSER", "bridge", "on", f">{SECRET}", *allowed)
        settings = RedisSettings(redis.url, username="bridge", password=SECRET)
        async with RedisSender(settings) as sender:
            await sender.send([stored(1)])
        assert len(await entries(redis)) == 1

    def test_no_password_in_a_repr(self) -> None:
        assert SECRET not in repr(RedisSettings("redis://h", password=SECRET))


class TestServersThatDoNotAnswer:
    async def test_none_there(self, redis: RedisServer) -> None:
        redis.kill()
        async with RedisSender(RedisSettings(redis.url)) as sender:
            assert await unreachable(sender) == "Redis is not to be reached (Connection refused)"

    async def test_one_that_stands_still_and_goes_on(self, redis: RedisServer) -> None:
        async with RedisSender(RedisSettings(redis.url, timeout_s=0.3)) as sender:
            await sender.send([stored(0)])
            redis.freeze()
            assert await unreachable(sender) == "Redis did not answer in time"
            redis.freeze(frozen=False)
            await command(redis, "SET", "rtzr:other", "1")
            await sender.send([stored(1), stored(2)])
        assert unrepeated(await entries(redis)) == {"c1": [0, 1, 2]}

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (
                b"-LOADING Redis is loading the dataset in memory\r\n",
                "Redis is loading its data; it is tried again",
            ),
            (b"HTTP/1.1 400 Bad Request\r\n", "Redis is not to be reached (the connection was closed)"),
            (b"", "Redis is not to be reached (the connection was closed)"),
        ],
    )
    async def test_one_that_loads_its_data_and_what_is_no_redis(self, answer: bytes, said: str) -> None:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer * 20)
            writer.close()

        async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with RedisSender(RedisSettings(f"redis://127.0.0.1:{port}/0")) as sender:
                assert await unreachable(sender) == said

    async def test_what_was_broken_off_harms_nothing_that_follows(self, redis: RedisServer) -> None:
        async with RedisSender(RedisSettings(redis.url)) as sender:
            await sender.send([stored(0)])
            redis.freeze()
            sending = asyncio.create_task(sender.send([stored(1)]))
            await asyncio.sleep(0.05)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            redis.freeze(frozen=False)
            await sender.send([stored(2)])
        assert unrepeated(await entries(redis))["c1"][-1] == 2


def unrepeated(found: list[dict[str, str]]) -> dict[str, list[int]]:
    """The numbers of each call's events in the order in which each was there first."""
    seen: dict[str, list[int]] = {}
    for entry in found:
        numbers = seen.setdefault(entry["call"], [])
        number = int(entry["id"].rpartition("/")[2])
        if number not in numbers:
            numbers.append(number)
    return seen


async def test_a_server_that_is_killed_again_and_again_gets_all_in_order(redis: RedisServer) -> None:
    """Batches of two calls, each sent until it is taken, while the server dies and comes back."""
    rounds = scaled(200, 20)
    batches = [[stored(2 * n, "a"), stored(2 * n + 1, "b")] for n in range(rounds * 5)]
    tries = taken = 0
    progress = asyncio.Event()

    async def sent() -> None:
        nonlocal tries, taken
        async with RedisSender(RedisSettings(redis.url, timeout_s=2)) as sender:
            while taken < len(batches):
                tries += 1
                try:
                    await sender.send(batches[taken])
                except Unreachable:
                    await asyncio.sleep(0.002)
                else:
                    taken += 1
                    progress.set()

    sending = asyncio.create_task(sent())
    for number in range(rounds):
        while taken < number * 5:
            progress.clear()
            await progress.wait()
        await asyncio.to_thread(redis.kill)
        await asyncio.to_thread(redis.start)
    await sending
    assert tries > len(batches)
    assert unrepeated(await entries(redis)) == {
        "a": [2 * n for n in range(len(batches))],
        "b": [2 * n + 1 for n in range(len(batches))],
    }


class TestEncrypted:
    @pytest.fixture
    def secured(self, redis_installed: None, tmp_path: Path) -> tuple[RedisServer, Path]:
        key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=redis",
        ]
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
        subprocess.run([*made, *names], check=True, capture_output=True)
        options = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
        server = RedisServer(tmp_path, *options)
        return server, cert

    async def test_only_by_whom_the_authorities_vouch_for(self, secured: tuple[RedisServer, Path]) -> None:
        server, cert = secured
        with server:
            port = RedisServer(cert.parent).port  # a free one
            await command(server, "CONFIG", "SET", "tls-port", str(port))
            url = f"rediss://127.0.0.1:{port}/0"
            async with RedisSender(RedisSettings(url, ca_file=str(cert))) as sender:
                await sender.send([stored(1)])
            async with RedisSender(RedisSettings(url)) as sender:
                assert "certificate verify failed" in (await unreachable(sender)).lower()
            async with RedisSender(
                RedisSettings(url.replace("127.0.0.1", "localhost"), ca_file=str(cert))
            ) as sender:
                assert "mismatch" in (await unreachable(sender)).lower()
            assert len(await entries(server)) == 1


async def test_a_send_that_fails_ends_no_other(redis: RedisServer) -> None:
    """As a delivery makes them: several at once, each of other calls."""
    async with RedisSender(RedisSettings(redis.url, timeout_s=2)) as sender:
        await sender.send([stored(0)])
        await command(redis, "SET", "taken", "1")
        redis.freeze()
        sends = [asyncio.create_task(sender.send([stored(1, f"c{number}")])) for number in range(4)]
        await asyncio.sleep(0.05)  # they are all under way
        sends[0].cancel()
        await asyncio.sleep(0)
        redis.freeze(frozen=False)
        ends = await asyncio.gather(*sends, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError)
    assert ends[1:] == [None, None, None]


# A probe.


async def test_a_probe_tells_the_version_and_writes_nothing(redis: RedisServer) -> None:
    for stream in ("rtzr:events", "rtzr:{rule}"):
        async with RedisSender(RedisSettings(redis.url, stream=stream)) as sender:
            assert int((await sender.probe(["sales"])).partition(".")[0]) >= 5
    assert await command(redis, "KEYS", "*") == []
    await command(redis, "XADD", "rtzr:events", "*", "a", "b")
    async with RedisSender(RedisSettings(redis.url)) as sender:
        await sender.probe()
    assert await command(redis, "XLEN", "rtzr:events") == 1


async def probed(settings: RedisSettings, *rules: str) -> str:
    """What stands in the way."""
    async with RedisSender(settings) as sender:
        try:
            return f"version {await sender.probe(rules)}"
        except (Rejected, Unreachable) as error:
            return str(error)


async def test_a_probe_finds_what_a_user_may_not_do(redis: RedisServer) -> None:
    rights = ["+xadd", "+xtrim", "+multi", "+exec"]
    await command(redis, "ACL", "SETUSER", "u", "on", f">{SECRET}", "~rtzr:sales", "~rtzr:none", *rights)
    own = RedisSettings(redis.url, stream="rtzr:{rule}", username="u", password=SECRET)
    assert await probed(own, "sales") == "version "
    forbidden = "Redis forbids it this user; allow XADD, XTRIM, MULTI and EXEC on the stream"
    assert await probed(own, "sales", "other") == forbidden
    await command(redis, "ACL", "SETUSER", "u", "-xtrim")
    assert await probed(own, "sales") == forbidden
    await command(redis, "SET", "rtzr:events", "x")
    assert await probed(RedisSettings(redis.url)) == (
        "the key is no stream in Redis; give another sinks.redis.stream"
    )
    redis.kill()
    assert await probed(RedisSettings(redis.url)) == "Redis is not to be reached (Connection refused)"
