"""From the end of speech to its text, five ways side by side: two clients as they are published, and the
bridge's three gates. The end of speech is the moment at which the last voiced packet left the telephone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

import httpx

from bench import clients
from bench.far import Far
from bench.lag import Lag, watched
from bench.outcome import Advance, Outcome, percentile
from bench.telephone import CODEC, HOST, Final, Telephone, lifted
from bridge.emulator.codebook import WORDS, say, spoken_ms
from bridge.emulator.server import Knobs
from bridge.leg.call import Leg, LegSettings
from bridge.leg.permit import Speech, Ungoverned
from bridge.net.rtp import PortPool
from bridge.net.rtzr import Rtzr, Tokens
from bridge.player import Spoken
from bridge.types import Event, LegId, Party, Role
from bridge.wire.gate import GateSettings, Mode

CALLS, UTTERANCES, AT_ONCE = 20, 3, 5
"""Calls in all for each way, utterances in each, and calls that run at once, each in five ways."""
RECOGNITION_MS, EPD_S, SILENCE_MS = 150, 0.5, 250
KNOBS = Knobs(auth_delay_ms=120, connect_delay_ms=80, recognition_ms=RECOGNITION_MS, engine_speed=5.0)
WAYS = ("naive", "reuse", "immediate", "hybrid", "vad")
SAID_WORDS = 12
"""Words of an utterance: 3.06 s."""
_LEAD_S, _PAUSE_S = 0.3, 2.2
"""From the answer to the first word, and between two utterances: longer than the slowest way takes."""

REUSE_GAIN_MS, BRIDGE_GAIN_MS = 190, 700
OVER_P50_MS, OVER_P95_MS = 25, 60


@dataclass(slots=True)
class Times:
    """What a way took, in milliseconds, for each utterance of a call; and how many texts were wrong."""

    took_ms: list[list[float]] = field(default_factory=lambda: [[] for _ in range(UTTERANCES)])
    wrong: int = 0

    def add(self, said: Sequence[str], ended_s: Sequence[float], finals: Sequence[Final]) -> None:
        """Take one call. A text that is not word for word what was said gives no time."""
        for number, (text, end_s) in enumerate(zip(said, ended_s, strict=True)):
            next_s = ended_s[number + 1] if number + 1 < len(ended_s) else float("inf")
            came = [final for final in finals if end_s <= final.came_s < next_s]
            if " ".join(final.text for final in came) == text:
                self.took_ms[number].append((came[-1].came_s - end_s) * 1000)
            else:
                self.wrong += 1

    @property
    def whole(self) -> bool:
        """Whether there is a time for every place in the call."""
        return all(self.took_ms)

    @property
    def p50_ms(self) -> list[float]:
        return [median(times) for times in self.took_ms]

    @property
    def p95_ms(self) -> list[float]:
        return [percentile(times, 0.95) for times in self.took_ms]


@dataclass(frozen=True, slots=True)
class _Place:
    """What every call of the run uses."""

    ports: PortPool
    account: clients.Account
    speech: Speech


async def run(advance: Advance, calls: int = CALLS) -> Outcome:
    """The whole benchmark; `advance` is told of each leg, of which there are five a call."""
    ways = {way: Times() for way in WAYS}
    async with AsyncExitStack() as opened:
        far = await opened.enter_async_context(Far(KNOBS))
        http = await opened.enter_async_context(httpx.AsyncClient(trust_env=False))
        tokens = await opened.enter_async_context(
            Tokens(far.auth_url, KNOBS.client_id, KNOBS.client_secret, renew_before_s=600, timeout_s=5)
        )
        place = _Place(
            PortPool(HOST, 41_000, 41_999, rest_s=0),
            clients.Account(far.auth_url, far.stream_url, KNOBS, http, EPD_S),
            Ungoverned(Rtzr(tokens, far.stream_url, {"epd_time": str(EPD_S)}, timeout_s=5)),
        )
        with watched() as lag:
            await _calls(place, ways, calls, advance)
        far_lag = Lag(await far.ask("lag"))
    return outcome(ways, [lag.told("this process's loop"), far_lag.told("the emulator's loop")])


async def _calls(place: _Place, ways: Mapping[str, Times], calls: int, advance: Advance) -> None:
    free = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for number in range(calls):
            await free.acquire()
            call = tasks.create_task(_call(place, ways, number, advance))
            call.add_done_callback(lambda _done: free.release())
            await asyncio.sleep(Random(number).uniform(0.2, 1.2))  # calls do not begin in step


async def _call(place: _Place, ways: Mapping[str, Times], number: int, advance: Advance) -> None:
    """The same call in five ways at once, a little apart, so that no way has the others before it always."""
    draw = Random(number)
    said = [" ".join(draw.sample(WORDS, SAID_WORDS)) for _ in range(UTTERANCES)]
    order = draw.sample(WAYS, len(WAYS))
    async with asyncio.TaskGroup() as tasks:
        for way in order:
            tasks.create_task(_leg(place, way, number, said, ways[way], advance))
            await asyncio.sleep(draw.uniform(0.02, 0.2))


async def _leg(
    place: _Place, way: str, number: int, said: Sequence[str], times: Times, advance: Advance
) -> None:
    loop = asyncio.get_running_loop()
    with lifted(place.ports) as phone:
        starts_s, until_s = _turns(said, loop.time() + _LEAD_S)
        turns = [Spoken(say(text), at_s) for text, at_s in zip(said, starts_s, strict=True)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_client(place, way, number)(phone))
            await phone.player.play(turns, until_s)
            phone.hang_up()
        times.add(said, phone.player.ended_s, phone.finals)
    advance(1)


def _turns(said: Sequence[str], start_s: float) -> tuple[list[float], float]:
    """When each utterance begins, and when the call ends."""
    starts_s = []
    for text in said:
        starts_s.append(start_s)
        start_s += spoken_ms(text) / 1000 + _PAUSE_S
    return starts_s, start_s


def _client(place: _Place, way: str, number: int) -> Callable[[Telephone], Coroutine[Any, Any, None]]:
    if way == "naive":
        return lambda phone: clients.naive(phone, place.account)
    if way == "reuse":
        return lambda phone: clients.reuse(phone, place.account)
    return lambda phone: _bridge(phone, place.speech, Mode(way), number)


async def _bridge(phone: Telephone, speech: Speech, mode: Mode, number: int) -> None:
    """A leg as the daemon runs it."""

    def publish(event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            phone.hear(str(event.data["text"]))

    settings = LegSettings(GateSettings(mode, silence_ms=SILENCE_MS), message_ms=clients.MESSAGE_MS)
    leg = LegId(f"bench-{number}", mode.value)
    party = Party(Role.CALLER)
    await Leg(
        leg, party, CODEC, phone.ring, speech, settings, clock=phone.clock, publish=publish
    ).run(lambda: "hung up")  # fmt: skip


# What it comes to.


def outcome(ways: Mapping[str, Times], notes: Sequence[str]) -> Outcome:
    """The figures, or, where a way has none for a place in the call, that alone."""
    wrong = [
        f"{way}: {times.wrong} texts were not word for word what was said"
        for way, times in ways.items()
        if times.wrong
    ]
    if not all(times.whole for times in ways.values()):
        return Outcome({}, ("way",), (), notes, [*wrong, "not every utterance has a time"])
    over_ms = [took - SILENCE_MS - RECOGNITION_MS for times in ways["hybrid"].took_ms for took in times]
    over = {"p50": round(median(over_ms), 1), "p95": round(percentile(over_ms, 0.95), 1)}
    data = {
        "ways": {
            way: {"p50_ms": _rounded(times.p50_ms), "p95_ms": _rounded(times.p95_ms)}
            for way, times in ways.items()
        },
        "recognition_ms": RECOGNITION_MS,
        "silence_ms": silences(),
        "hybrid_over_ms": over,
    }
    rows = [_row(way, times, ways["naive"]) for way, times in ways.items()]
    told = f"hybrid takes {over['p50']} ms (p50), {over['p95']} ms (p95) over silence + recognition"
    return Outcome(data, _COLUMNS, rows, ["All times in ms.", told, *notes], [*wrong, *_missed(ways, over)])


_COLUMNS = ("way", "waits", "p50 of utterance 1, 2, 3", "p95", "quicker than naive (p50)")


def silences() -> dict[str, int]:
    """Silence after which each way takes the utterance for over: in `immediate` it is RTZR that waits."""
    own = {"naive": clients.SILENCE_MS, "reuse": clients.SILENCE_MS, "immediate": round(EPD_S * 1000)}
    return {way: own.get(way, SILENCE_MS) for way in WAYS}


def _rounded(values: Sequence[float]) -> list[int]:
    return [round(value) for value in values]


def _row(way: str, times: Times, naive: Times) -> list[str]:
    gains = [slow - quick for slow, quick in zip(naive.p50_ms, times.p50_ms, strict=True)]
    return [way, _told([silences()[way]]), _told(times.p50_ms), _told(times.p95_ms), _told(gains)]


def _told(milliseconds: Sequence[float]) -> str:
    return "  ".join(f"{ms:.0f}" for ms in milliseconds)


def _missed(ways: Mapping[str, Times], over: Mapping[str, float]) -> list[str]:
    wanted = {"reuse": (REUSE_GAIN_MS, 1), "immediate": (BRIDGE_GAIN_MS, 0), "hybrid": (BRIDGE_GAIN_MS, 0)}
    missed = []
    for way, (least_ms, first) in wanted.items():
        for number in range(first, UTTERANCES):
            gain = ways["naive"].p50_ms[number] - ways[way].p50_ms[number]
            if gain < least_ms:
                missed.append(
                    f"{way} is {gain:.0f} ms faster than naive on utterance {number + 1}, wanted {least_ms}"
                )
    for share, most_ms in (("p50", OVER_P50_MS), ("p95", OVER_P95_MS)):
        if over[share] > most_ms:
            missed.append(f"the bridge adds {over[share]:g} ms at {share}, at most {most_ms} wanted")
    return missed
