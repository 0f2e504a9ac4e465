"""Events into the outbox and out of it, on one core: in batches to a webhook, one by one, and to Redis.

`python -m bench deliveries`. The receiver and Redis are processes of their own and have the other cores.
First finals come at a pace, which shows how long one is on its way; then as fast as the outbox takes them.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bench.hook import MADE, Got, Hook
from bench.outcome import Advance, Outcome, percentile
from bridge.checks.deliveries import file_system
from bridge.delivery.deliveries import Deliveries
from bridge.emulator.codebook import SENTENCES
from bridge.events import LegEvents
from bridge.net.redisstream import RedisSender, RedisSettings
from bridge.net.webhook import WebhookSender
from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.outbox.stored import Sender
from bridge.sinks.outbox import OutboxSink
from bridge.types import Event, LegId, Party, Role, Transcript, Word
from bridge.wire.address import Reach
from bridge.wire.webhook import MOST_IN_BATCH

EVENTS_PER_S = 2000
"""The target: sustained, in and out."""
_KEY = b"a key of the benchmark's own 0123"
_LEG = LegId("1", "PJSIP/kt-01")
_TICK_S = 0.01
_PACE_S = 0.002
"""Between two looks for finals that are due: what it adds to their way."""
_CALLS = 200
_AHEAD = 1000
"""Events that may wait for the outbox when they come as fast as it takes them."""
_PATIENCE_S = 60.0
_LATE_S = 1.0
"""What comes later than this after the last was made had to wait: the pace is not kept."""
_REDIS = "redis-server"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done."""

    paced_s: float = 20.0
    batched: int = 60_000
    single: int = 10_000
    redis: int = 60_000

    @property
    def steps(self) -> int:
        """Events in all."""
        return round(self.paced_s * EVENTS_PER_S) + self.batched + self.single + self.redis


@dataclass(frozen=True, slots=True)
class Paced:
    """What came of finals at the target's pace."""

    took_ms: Sequence[float]
    """From the final until the receiver had it."""
    late_s: float
    """From when the last final was due until all were there."""
    cpu: float
    """Of one core, 1 being all of it."""


def finals(due_s: Callable[[int], float] = lambda _: monotonic()) -> Iterator[Event]:
    """One after the other from many calls, as the bridge makes them; each counts from when it was due: a loop
    that stands still makes it late too."""
    legs = [
        LegEvents(LegId(f"{call}.1", "PJSIP/kt-01"), Party(Role.CALLER, "01012345678", "", "PJSIP/kt-01"))
        for call in range(_CALLS)
    ]
    said = [_said(sentence) for sentence in SENTENCES]
    for number, (leg, transcript) in enumerate(zip(cycle(legs), cycle(said), strict=False)):
        event = leg.transcript(transcript, 400)
        event.data[MADE] = due_s(number)
        yield event


def _said(sentence: str) -> Transcript:
    words = tuple(
        Word(text, 300 * number, 300 * number + 250, 0.97) for number, text in enumerate(sentence.split())
    )
    return Transcript(_LEG, sentence, 0, 300 * len(words), final=True, words=words)


@dataclass(slots=True)
class _Bench:
    folder: Path
    advance: Advance

    @asynccontextmanager
    async def delivering(self, sender: Sender) -> AsyncIterator[OutboxSink]:
        """An outbox of its own, on the disk, whose events go to `sender`."""
        with TemporaryDirectory(dir=self.folder) as folder:
            outbox = Outbox(Path(folder) / "outbox.db", OutboxSettings(keep_delivered=False))
            await outbox.open()
            sink, deliveries = OutboxSink(outbox), Deliveries(outbox, [(sender, None)])
            tasks = [asyncio.create_task(sink.run()), asyncio.create_task(deliveries.run())]
            try:
                yield sink
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await outbox.close()

    async def paced(self, hook: Hook, seconds: float) -> Paced:
        """Finals at the target's pace."""
        made, number = 0, round(seconds * EVENTS_PER_S)
        async with _webhook(hook, MOST_IN_BATCH) as sender, self.delivering(sender) as sink:
            begun_s, before_s = monotonic(), process_time()
            events = finals(lambda nth: begun_s + nth / EVENTS_PER_S)
            while made < number:
                for _ in range(min(number, int((monotonic() - begun_s) * EVENTS_PER_S)) - made):
                    sink.deliver(next(events))
                    made += 1
                    self.advance(1)
                await asyncio.sleep(_PACE_S)
            cpu = (process_time() - before_s) / (monotonic() - begun_s)
            got = await _all(hook.got, number)
        return Paced(got.took_ms, max(0.0, got.last_s - begun_s - number / EVENTS_PER_S), cpu)

    async def posted(self, hook: Hook, batch: int, number: int) -> float:
        """Events in a second that went through, each post with as many as `batch`."""
        async with _webhook(hook, batch) as sender, self.delivering(sender) as sink:
            begun_s = monotonic()
            await self._pour(sink, number)
            got = await _all(hook.got, number)
        return number / (got.last_s - begun_s)

    async def redis(self, url: str, number: int) -> float:
        """Events in a second that went through to a Redis stream."""
        async with RedisSender(RedisSettings(url)) as sender, self.delivering(sender) as sink:
            begun_s = monotonic()
            await self._pour(sink, number)
            async with Redis.from_url(url) as reader:
                await _until(lambda: _has(reader, RedisSettings(url).stream, number))
        return number / (monotonic() - begun_s)

    async def _pour(self, sink: OutboxSink, number: int) -> None:
        events = finals()
        for made in range(number):
            while made - sink.delivered > _AHEAD:  # noqa: ASYNC110 - a sink tells nobody
                await asyncio.sleep(0.001)
            sink.deliver(next(events))
            self.advance(1)


def _webhook(hook: Hook, batch: int) -> WebhookSender:
    return WebhookSender("webhook:bench", hook.url, [_KEY], batch=batch, reach=Reach(private=True))


async def _all(got: Callable[[], Awaitable[Got]], number: int) -> Got:
    """Wait until so many came. Raises TimeoutError."""
    events, took_ms = 0, list[float]()
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            more = await got()
            events += more.events
            took_ms += more.took_ms
            if events >= number:
                return Got(events, more.last_s, took_ms)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[str | None]:
    """The URL of a Redis of our own; None where there is none."""
    if shutil.which(_REDIS) is None:
        yield None
        return
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    process = await asyncio.create_subprocess_exec(
        _REDIS, *options, stdout=asyncio.subprocess.DEVNULL, stderr=sys.stderr
    )
    try:
        async with Redis.from_url(f"unix://{path}") as probe:
            await _until(lambda: _answers(probe))
        yield f"unix://{path}"
    finally:
        process.terminate()
        await process.wait()


async def _until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(_PATIENCE_S):
        while not await reached():  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(_TICK_S)


async def _has(redis: Redis, stream: str, number: int) -> bool:
    return int(await redis.xlen(stream)) >= number


async def _answers(probe: Redis) -> bool:
    with suppress(RedisError):
        return bool(await probe.ping())
    return False


@contextmanager
def _one_core() -> Iterator[None]:
    """This thread, and those that it starts, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


async def run(advance: Advance, size: Size = Size()) -> Outcome:
    """The whole benchmark; `advance` is told of each event."""
    with TemporaryDirectory() as name:
        bench, folder = _Bench(Path(name), advance), Path(name)
        async with Hook() as hook, _redis(folder) as url:
            with _one_core():
                paced = await bench.paced(hook, size.paced_s)
                batched = await bench.posted(hook, MOST_IN_BATCH, size.batched)
                single = await bench.posted(hook, 1, size.single)
                redis = None if url is None else await bench.redis(url, size.redis)
        return outcome(paced, batched, single, redis, file_system(folder))


def outcome(paced: Paced, batched: float, single: float, redis: float | None, disk: str = "") -> Outcome:
    """The table and the JSON; `disk`: the kind of file system that the outbox was on."""
    p50, p99 = (round(percentile(paced.took_ms, share), 1) for share in (0.5, 0.99))
    data = {
        "events_per_s": round(batched),
        "single_posts_per_s": round(single),
        "redis_per_s": None if redis is None else round(redis),
        "outbox_on": disk,
        "final_to_receiver_ms_p50": p50,
        "final_to_receiver_ms_p99": p99,
        "paced_events_per_s": EVENTS_PER_S,
        "paced_cpu": round(paced.cpu, 2),
        "paced_late_s": round(paced.late_s, 2),
    }
    rows = [
        [f"webhook, batches of {MOST_IN_BATCH}", f"{batched:,.0f}"],
        ["webhook, single posts", f"{single:,.0f}"],
        ["Redis stream", "no redis-server" if redis is None else f"{redis:,.0f}"],
    ]
    way = f"{p50:.1f} ms from the final to the receiver (p50), {p99:.1f} ms (p99)"
    on = disk and f", on {disk}"
    notes = (
        f"At {EVENTS_PER_S:,} events/s: {way}, with {paced.cpu:.0%} of one core.",
        f"On one core; the receivers have the others. Each event is committed to the outbox first{on}.",
        "What everybody has is erased at once, as without a feed. Redis keeps streams in memory (no AOF).",
    )
    missed = []
    if batched < EVENTS_PER_S:
        missed.append(f"{batched:.0f} events/s in batches, of {EVENTS_PER_S}")
    if paced.late_s > _LATE_S:
        missed.append(f"at {EVENTS_PER_S} events/s the last came {paced.late_s:.1f} s late")
    return Outcome(data, ("events/s", "in and out"), rows, notes, missed)
