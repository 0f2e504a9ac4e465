"""What each part of the media path costs alone, beside the least that part can cost in Python.

`python -m bench parts`. Each part is run for many legs in turn, as packets come, because the caches hold
little of a leg from one packet to its next. A floor does only what cannot be left out: the system call, the
C function, the library's own call. No target here: the whole path has one, in `bench.legs`.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass
from itertools import count
from time import monotonic, thread_time

import webrtcvad
from websockets.speedups import apply_mask

from bench.outcome import Advance, Outcome
from bench.wires import HOST, Line, Wires, senders
from bridge.emulator.codebook import SENTENCES, say
from bridge.events import LegEvents
from bridge.leg.ring import Ring
from bridge.net.rtp import PortPool
from bridge.types import Codec, Frame, LegId, Party, Role
from bridge.wire import g711, rtzr
from bridge.wire.gate import Action, Audio, Gate, GateSettings, Mode
from bridge.wire.hearing import Hearing
from bridge.wire.receiver import Receiver
from bridge.wire.replay import Tape
from bridge.wire.timemap import TimeMap

LEGS = 200
ROUNDS = 150
_PORTS = (21_000, 29_000)
_MESSAGE = 5
"""Packets in a message of 100 ms."""
_LAP = 50
"""Packets of the loop of speech and silence that every leg plays, each from a place of its own."""

Work = Callable[[], Awaitable[object] | None]
"""Something done once for each leg."""


@dataclass(frozen=True, slots=True)
class Part:
    """Microseconds each time, and how many times a leg does it in a second of the two rows."""

    name: str
    floor: str
    us: float
    floor_us: float
    base: int
    hybrid: int

    @property
    def ratio(self) -> float:
        return self.us / self.floor_us


Measure = Callable[[int, int], Coroutine[None, None, Part]]
"""Of so many legs, so many times."""


async def run(advance: Advance) -> Outcome:
    """All parts."""
    parts = []
    for measure in PARTS:
        parts.append(await measure(LEGS, ROUNDS))
        advance(1)
    return outcome(parts)


def outcome(parts: Sequence[Part]) -> Outcome:
    """The table, with the sum of both rows, and the JSON."""
    rows = [
        [p.name, p.floor, f"{p.us:.1f}", f"{p.floor_us:.1f}", f"{p.ratio:.1f}", *map(_ms, _row(p))]
        for p in parts
    ]
    sums = [sum(column) for column in zip(*map(_row, parts), strict=True)]
    rows.append(["all", "", "", "", "", *map(_ms, sums)])
    data = [
        {"part": p.name, "floor": p.floor, "us": round(p.us, 2), "floor_us": round(p.floor_us, 2)}
        | {"ratio": round(p.ratio, 2), "base_per_s": p.base, "hybrid_per_s": p.hybrid}
        for p in parts
    ]
    columns = ("part", "floor", "us", "least", "ratio", "base", "least", "hybrid", "least")
    notes = (
        "us: each time. base, hybrid: ms of CPU per leg-second; messages of 100 and 20 ms. least: the floor.",
        f"{LEGS} legs in turn, the least of {ROUNDS} rounds: on a machine with other work it is more.",
        "A loop that wakes for a lone packet, and a peer that reads at once, cost more than these.",
    )
    return Outcome({"legs": LEGS, "parts": data}, columns, rows, notes)


def _row(part: Part) -> tuple[float, float, float, float]:
    """Ours and the floor in the base row, then in the hybrid one."""
    return (
        part.us * part.base / 1000,
        part.floor_us * part.base / 1000,
        part.us * part.hybrid / 1000,
        part.floor_us * part.hybrid / 1000,
    )


def _ms(value: float) -> str:
    return f"{value:.3f}" if value else "-"


async def least_us(legs: int, rounds: int, work: Work, before: Callable[[], object] = lambda: None) -> float:
    """The least CPU time of a round, by leg; what `before` does is not counted."""
    least = float("inf")
    for _ in range(rounds):
        before()
        start = thread_time()
        if (waiting := work()) is not None:
            await waiting
        least = min(least, thread_time() - start)
    return least * 1e6 / legs


@dataclass(slots=True)
class _Tally:
    """How often something was done for a leg: a round is over when it was for each."""

    legs: int
    done: int = 0

    def count(self, *_: object) -> None:
        self.done += 1

    async def all_done(self) -> None:
        """Let the loop work until the round is over."""
        while self.done < self.legs:  # noqa: ASYNC110 - an event would be counted too
            await asyncio.sleep(0)
        self.done -= self.legs


def _voice() -> list[bytes]:
    """A lap of packets, a little less than half of them speech."""
    size = 20 * Codec.ULAW.bytes_per_ms
    spoken = g711.pcm_to_ulaw(say(SENTENCES[0]))[: size * _LAP * 45 // 100]
    lap = spoken + Codec.ULAW.silent * (size * _LAP - len(spoken))
    return [lap[i : i + size] for i in range(0, len(lap), size)]


_AUDIO = b"".join(_voice()[:_MESSAGE])
_HEAD = b"\x82\xfe" + len(_AUDIO).to_bytes(2, "big") + b"mask"


# Receiving.


async def receiving(legs: int, rounds: int) -> Part:
    """A datagram from its socket to a frame in call time."""
    pool, tally = PortPool(HOST, *_PORTS), _Tally(legs)
    with ExitStack() as stack:
        ends = stack.enter_context(senders(legs))
        for one in ends:
            receiver = Receiver(Codec.ULAW)
            port = stack.enter_context(closing(pool.open(receiver, lambda: monotonic() * 1000, tally.count)))
            port.lock(*one.getsockname())
            one.connect((HOST, port.port))
        us = await least_us(legs, rounds, tally.all_done, Line(ends, _voice()[0]).send)
    return Part("receive", "recv_into", us, await _bare_receiving(legs, rounds), 50, 50)


async def _bare_receiving(legs: int, rounds: int) -> float:
    loop, buffer, tally = asyncio.get_running_loop(), bytearray(2048), _Tally(legs)

    def read(receiver: socket.socket) -> None:
        receiver.recv_into(buffer)
        tally.count()

    with ExitStack() as stack:
        ends = stack.enter_context(senders(legs))
        receivers = stack.enter_context(senders(legs))
        for sender, receiver in zip(ends, receivers, strict=True):
            receiver.connect(sender.getsockname())
            sender.connect(receiver.getsockname())
            loop.add_reader(receiver, read, receiver)
            stack.callback(loop.remove_reader, receiver)
        return await least_us(legs, rounds, tally.all_done, Line(ends, _voice()[0]).send)


# From the ring to the tape.


async def waking(legs: int, rounds: int) -> Part:
    """A message's frames into the ring, and its reader woken."""
    rings, tally = [Ring(Codec.ULAW, 60_000) for _ in range(legs)], _Tally(legs)
    frame = Frame(_voice()[0], 0.0)

    async def read(ring: Ring) -> None:
        while True:
            await ring.read(_MESSAGE * 20, 60)
            tally.count()

    async def push() -> None:
        for ring in rings:
            for _ in range(_MESSAGE):
                ring.push([frame])
        await tally.all_done()

    us = await _beside([read(ring) for ring in rings], lambda: least_us(legs, rounds, push))
    return Part("wake", "future", us, await _bare_waking(legs, rounds), 10, 50)


async def _bare_waking(legs: int, rounds: int) -> float:
    loop, tally = asyncio.get_running_loop(), _Tally(legs)
    futures = [loop.create_future() for _ in range(legs)]

    async def read(number: int) -> None:
        while True:
            await futures[number]
            futures[number] = loop.create_future()
            tally.count()

    async def wake() -> None:
        for future in futures:
            future.set_result(None)
        await tally.all_done()

    return await _beside([read(number) for number in range(legs)], lambda: least_us(legs, rounds, wake))


async def _beside(
    readers: Sequence[Coroutine[None, None, None]], measure: Callable[[], Awaitable[float]]
) -> float:
    tasks = [asyncio.create_task(reader) for reader in readers]
    await asyncio.sleep(0)
    try:
        return await measure()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def immediate(legs: int, rounds: int) -> Part:
    """The gate that lets everything through, for a message of 100 ms."""
    us = await _gate(legs, rounds, Mode.IMMEDIATE, _MESSAGE)
    floor_us = await _repeated(rounds, lambda: g711.peak(g711.ulaw_to_pcm(_AUDIO)))
    return Part("immediate", "peak", us, floor_us, 10, 0)


async def hybrid(legs: int, rounds: int) -> Part:
    """The gate that looks for the utterance's end, for a message of 20 ms."""
    vad, audio = webrtcvad.Vad(2), _voice()[0]
    floor_us = await _repeated(rounds, lambda: vad.is_speech(g711.ulaw_to_pcm(audio), 8000))
    return Part("hybrid", "VAD", await _gate(legs, rounds, Mode.HYBRID, 1), floor_us, 0, 50)


async def _repeated(rounds: int, work: Callable[[], object]) -> float:
    """The least a call of `work` takes."""

    def often() -> None:
        for _ in range(100):
            work()

    return await least_us(100, rounds, often)


async def _gate(legs: int, rounds: int, mode: Mode, packets: int) -> float:
    gates = [Gate(GateSettings(mode), Codec.ULAW) for _ in range(legs)]
    lap, places = _voice(), count(0, packets)

    def feed() -> None:
        at = next(places)
        for number, gate in enumerate(gates):
            frames = [Frame(lap[(number + i) % _LAP], 20.0 * i) for i in range(at, at + packets)]
            gate.feed(frames, 20.0 * (at + packets))

    return await least_us(legs, rounds, feed)


async def keeping(legs: int, rounds: int) -> Part:
    """A message through the tape: kept, taken, and kept as sent."""
    tapes = [Tape(Codec.ULAW, 60_000) for _ in range(legs)]
    payload, rounds_made = _voice()[0], count()

    def message() -> None:
        made = next(rounds_made)
        at_ms = 100.0 * made
        for tape in tapes:
            actions: list[Action] = [Audio(payload, at_ms + 20.0 * i, voiced=False) for i in range(_MESSAGE)]
            tape.append(actions)
            tape.sent(tape.next(200), at_ms)

    us = await least_us(legs, rounds, message)
    floor_us = await _repeated(rounds, lambda: b"".join([payload] * _MESSAGE))
    return Part("tape", "join", us, floor_us, 10, 50)


# Sending and hearing.


async def sending(legs: int, rounds: int) -> Part:
    """A message of 100 ms as a masked frame to the kernel."""

    async def send(wires: Wires) -> None:
        for session in wires.sessions:
            session.send(_AUDIO)
        await asyncio.sleep(0)

    us, floor_us = await _sending(legs, rounds, send), await _bare_sending(legs, rounds)
    return Part("send", "send(2)", us, floor_us, 10, 50)


async def library(legs: int, rounds: int) -> Part:
    """The same by the library's own `send`, to compare; no row has it."""

    async def send(wires: Wires) -> None:
        for connection in wires.ours:
            await connection.send(_AUDIO)
        await asyncio.sleep(0)

    us, floor_us = await _sending(legs, rounds, send), await _bare_sending(legs, rounds)
    return Part("(library)", "send(2)", us, floor_us, 0, 0)


async def _sending(legs: int, rounds: int, send: Callable[[Wires], Awaitable[None]]) -> float:
    async with AsyncExitStack() as stack:
        wires = Wires()
        await wires.lay(legs, stack)
        return await least_us(legs, rounds, lambda: send(wires), wires.empty)


async def _bare_sending(legs: int, rounds: int) -> float:
    async def send(wires: Wires) -> None:
        for one in wires.sockets:
            one.send(_HEAD + apply_mask(_AUDIO, b"mask"))

    return await _sending(legs, rounds, send)


async def hearing(legs: int, rounds: int) -> Part:  # noqa: ARG001 - one leg is as good as many
    """A partial from RTZR to an event."""
    leg = LegId("call", "channel")
    ear, clocks, events = Hearing(leg), TimeMap(sent_ms=60_000), LegEvents(leg, Party(Role.CALLER))
    message = json.dumps(
        {"seq": 0, "start_at": 0, "duration": 900, "final": False, "alternatives": [{"text": SENTENCES[0]}]},
        ensure_ascii=False,
    )

    def hear() -> None:
        transcript = ear.transcript(rtzr.parse(message), clocks)
        if transcript is not None:
            events.transcript(transcript, 0)

    us = await _repeated(rounds, hear)
    return Part("result", "json", us, await _repeated(rounds, lambda: json.loads(message)), 1, 1)


PARTS: tuple[Measure, ...] = (receiving, waking, immediate, hybrid, keeping, sending, library, hearing)
