"""Thousands of calls, one after another: sockets, tasks, descriptors and memory go back to where they were.

A cycle is a call's whole life: a UDP port, a ring, a leg, a socket to RTZR, a word as RTP packets, hang-up
and drain. It is not in real time: the packets come all at once.
"""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from bench.far import Far
from bench.outcome import Advance, Outcome
from bench.telephone import CODEC, HOST, clock
from bridge.emulator.codebook import WORDS, say
from bridge.emulator.server import Knobs
from bridge.leg.call import Leg, LegSettings
from bridge.leg.permit import Ungoverned
from bridge.leg.ring import Ring
from bridge.net.rtp import PortPool, RtpPort
from bridge.net.rtzr import Rtzr, Tokens
from bridge.player import PACKET_MS
from bridge.types import Event, LegId, Party, Role
from bridge.wire import g711, rtp
from bridge.wire.gate import GateSettings
from bridge.wire.receiver import Receiver

CYCLES, WARM_UP, AT_ONCE = 10_000, 500, 25
KNOBS = Knobs(recognition_ms=0, engine_speed=1000.0)
MEMORY_MB = 8.0
"""How much more memory may be held after the cycles than after the warm-up: pages that the allocator keeps. A
leak of one kilobyte a call would show as ten megabytes."""
_SETTINGS = LegSettings(GateSettings(), message_ms=20)
_RING_MS = 60_000
_LONGEST_S = 0.05
"""From the answer to the hang-up; often it comes while the socket is not open yet."""
_QUIET_S, _LOOK_S = 5.0, 0.05
"""How long sockets and tasks may take to be gone."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds."""

    sessions: int
    """Sockets to RTZR that the bridge has open ..."""
    streams: int
    """... and that RTZR has."""
    ports: int
    """UDP ports of legs."""
    tasks: int
    fds: int
    memory_mb: float


@dataclass(slots=True)
class Calls:
    """How the calls went."""

    exact: int = 0
    """Came back as the word that was said."""
    complete: int = 0
    """Their books close and nothing is missing."""


def cycles_wanted() -> int:
    """`CYCLES` of the environment, or 10,000. Raises ValueError."""
    return int(os.environ.get("CYCLES", CYCLES))


async def run(advance: Advance, cycles: int | None = None, warm_up: int = WARM_UP) -> Outcome:
    """The whole benchmark; `advance` is told of each cycle, those of the warm-up too."""
    wanted = cycles_wanted() if cycles is None else cycles
    async with _bench(advance) as bench:
        await bench.cycles(warm_up)
        before = await bench.held()
        bench.calls = Calls()
        begun_s = asyncio.get_running_loop().time()
        await bench.cycles(wanted)
        took_s = asyncio.get_running_loop().time() - begun_s
        after = await bench.held()
        return outcome(wanted, before, after, bench.calls, took_s)


class _Bench:
    def __init__(self, far: Far, speech: Rtzr, ports: PortPool, advance: Advance) -> None:
        self._far = far
        self._speech = speech
        self._ports = ports
        self._advance = advance
        self.calls = Calls()

    async def cycles(self, wanted: int) -> None:
        """`AT_ONCE` lines of calls, one call after another on each."""
        numbers = iter(range(wanted))
        metering = asyncio.create_task(self._meter())
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(self._line(numbers))
        finally:
            metering.cancel()

    async def _meter(self) -> None:
        """As the daemon does: whoever counts the sessions lets go of those that are closed."""
        while True:
            _ = self._speech.sessions_open
            await asyncio.sleep(1)

    async def _line(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            await self._cycle(number)
            self._advance(1)

    async def _cycle(self, number: int) -> None:
        draw, texts = Random(number), list[str]()
        word, now_ms, ring = draw.choice(WORDS), clock(), Ring(CODEC, _RING_MS)

        def publish(event: Event) -> None:
            if event.type == "rtzr.transcript.final":
                texts.append(str(event.data["text"]))

        leg = Leg(
            LegId(f"bench-{number}", "caller"), Party(Role.CALLER), CODEC, ring,
            Ungoverned(self._speech), _SETTINGS, clock=now_ms, publish=publish,
        )  # fmt: skip
        with closing(self._ports.open(Receiver(CODEC), now_ms, ring.push)) as port:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(leg.run(lambda: "hung up"))
                _speak(word, port)
                ring.answer(0.0)
                await asyncio.sleep(draw.uniform(0.0, _LONGEST_S))
                port.drain()
                ring.end()
        report = running.result()
        self.calls.exact += texts == [word]
        self.calls.complete += report.ledger.closes() and not report.reasons

    async def held(self) -> Held:
        """What is held once the last call is over: sockets and tasks are given a moment to be gone."""
        for _ in range(round(_QUIET_S / _LOOK_S)):
            stats = await self._far.ask("stats")
            if not stats["sockets_open"] and not self._speech.sessions_open:
                break
            await asyncio.sleep(_LOOK_S)
        gc.collect()
        return Held(
            sessions=self._speech.sessions_open,
            streams=int(stats["sockets_open"]),
            ports=self._ports.in_use,
            tasks=len(asyncio.all_tasks()),
            fds=_descriptors(),
            memory_mb=round(_resident_mb(), 1),
        )


@asynccontextmanager
async def _bench(advance: Advance) -> AsyncIterator[_Bench]:
    async with (
        Far(KNOBS) as far,
        Tokens(
            far.auth_url, KNOBS.client_id, KNOBS.client_secret, renew_before_s=600, timeout_s=20
        ) as tokens,
    ):
        speech = Rtzr(tokens, far.stream_url, {}, timeout_s=20)
        yield _Bench(far, speech, PortPool(HOST, 42_000, 42_999, rest_s=0), advance)


def _speak(word: str, port: RtpPort) -> None:
    """The word's packets, all at once, from a socket that the port is told of."""
    payload, size = g711.pcm_to_ulaw(say(word)) + CODEC.silence(100), PACKET_MS * CODEC.bytes_per_ms
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((HOST, 0))
        sender.connect((HOST, port.port))
        port.lock(*sender.getsockname())
        for number in range(len(payload) // size):
            piece = payload[number * size : (number + 1) * size]
            sender.send(rtp.build(rtp.Packet(0, number, number * size, 1, piece)))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def outcome(cycles: int, before: Held, after: Held, calls: Calls, took_s: float) -> Outcome:
    """Back to where they were: all counts the same, and of memory no more than `MEMORY_MB` above."""
    was, now = asdict(before), asdict(after)
    grown_mb = round(after.memory_mb - before.memory_mb, 1)
    data = {
        "cycles": cycles,
        "warm_up": WARM_UP,
        "before": was,
        "after": now,
        "memory_grown_mb": grown_mb,
        "memory_tolerance_mb": MEMORY_MB,
        "exact": calls.exact,
        "complete": calls.complete,
        "took_s": round(took_s, 1),
    }
    missed = [f"{name}: {now[name]} are held, {was[name]} were" for name in _COUNTS if now[name] > was[name]]
    if grown_mb > MEMORY_MB:
        missed.append(f"memory has grown by {grown_mb} MB, at most {MEMORY_MB} wanted")
    if calls.exact < cycles:
        missed.append(f"{cycles - calls.exact} words did not come back as they were said")
    if calls.complete < cycles:
        missed.append(f"{cycles - calls.complete} calls did not end complete")
    rows = [[name, str(was[name]), str(now[name])] for name in was]
    notes = (f"{cycles} calls in {took_s:.0f} s, {AT_ONCE} at once; {calls.exact} came back word for word.",)
    return Outcome(data, ("held", f"after {WARM_UP} calls", f"{cycles} later"), rows, notes, missed)


_COUNTS = ("sessions", "streams", "ports", "tasks", "fds")
