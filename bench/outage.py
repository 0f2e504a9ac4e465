"""A thousand cut sockets: what was said comes back word for word, or the gap is told to the millisecond.

Each leg has a line of its own to RTZR, which is cut once, at a random point. Audio goes on at its own pace
while the line is down. What RTZR really told is read from the packets' marks, not from what the bridge says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from random import Random
from urllib.parse import urlsplit

from bench import truth
from bench.far import Far
from bench.lag import Lag, watched
from bench.line import Line
from bench.outcome import Advance, Outcome
from bench.telephone import CODEC, HOST, clock
from bench.truth import PACKET, PACKET_MS, Said
from bridge.emulator.codebook import GAP_MS, SENTENCES, WORD_MS, say
from bridge.emulator.server import Knobs
from bridge.leg.call import Leg, LegSettings
from bridge.leg.permit import Ungoverned
from bridge.leg.ring import Ring
from bridge.net.rtzr import Rtzr, Tokens
from bridge.types import Event, Frame, LegId, Party, Role
from bridge.wire import g711
from bridge.wire.gate import GateSettings

AT_ONCE = 50
KNOBS = Knobs(auth_delay_ms=120, connect_delay_ms=80, recognition_ms=150, record=True)
TOLERANCE_MS = 500.0
"""A run: the gaps and what RTZR never told may differ by this much. What the bridge would send again, and so
loses, begins up to 300 ms before the voice, in pieces of up to 100 ms; RTZR takes that silence for told."""
_FIRST_CUT_S, _LAST_CUT_S = 1.5, 5.5
_AFTER_S = 4.0
"""Audio after the outage, so that even the shortest run has 6 s and more."""
_PAUSES_MS = (640, 1000)
_SPREAD_S = 1.0
"""Legs do not begin in step."""


@dataclass(frozen=True, slots=True)
class Scenario:
    outage_s: float
    ring_s: float
    runs: int

    @property
    def inside(self) -> bool:
        """Whether the ring holds the outage, the utterance before it, and the wait for the next dial."""
        return self.outage_s < self.ring_s / 2


SCENARIOS = (
    Scenario(0, 60, 350),
    Scenario(1, 60, 300),
    Scenario(5, 60, 200),
    Scenario(20, 60, 100),
    Scenario(60, 30, 50),
)


@dataclass(frozen=True, slots=True)
class Script:
    """What one party says: its packets, marked, and its words with their times."""

    packets: list[bytes] = field(repr=False)
    words: list[Said] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: what is said, and when the line is cut. Seconds."""

    leg: int
    script: Script
    after_s: float
    """From the moment at which there is room for it to its answer."""
    cut_s: float
    """From its answer."""


@dataclass(slots=True)
class Run:
    """What became of one leg. Milliseconds."""

    leg: int
    script: Script
    heard: list[str] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    gap_ms: float = 0.0
    lost_ms: float = 0.0
    resets: int = 0
    closes: bool = False
    complete: bool = False

    def publish(self, event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            self.heard += str(event.data["text"]).split()
        elif event.type == "rtzr.gap":
            self.gaps.append((event.data["start_ms"], event.data["end_ms"]))
            self.gap_ms += event.data["ms"]

    @property
    def words_wrong(self) -> int:
        return truth.words_wrong(self.script.words, self.heard, self.gaps)


@dataclass(slots=True)
class Row:
    """A scenario's figures, of all its runs together. Milliseconds."""

    outage_s: float
    ring_s: float
    inside: bool
    runs: int
    lost_ms: int
    gap_ms: int
    unheard_ms: int
    words_wrong: int
    words: int
    worst_difference_ms: int
    """Between the gaps and what RTZR was not told, in one run."""
    open_books: int
    """Legs whose ledger does not close."""
    partial: int
    """Legs that did not end `complete`."""
    uncut: int
    """Runs whose line carried nothing when it was cut."""


def script(leg: int, length_s: float) -> Script:
    """Sentences of the code book with pauses, `length_s` and a little more; a silent second at the end."""
    draw, words = Random(leg), list[Said]()
    audio, size = bytearray(CODEC.silence(500)), PACKET
    while CODEC.ms(len(audio)) < (length_s - 1) * 1000:
        start_ms = CODEC.ms(len(audio))
        sentence = draw.choice(SENTENCES)
        for number, word in enumerate(sentence.split()):
            at_ms = start_ms + number * (WORD_MS + GAP_MS)
            words.append(Said(word, at_ms, at_ms + WORD_MS))
        audio += g711.pcm_to_ulaw(say(sentence)) + CODEC.silence(draw.randrange(*_PAUSES_MS, 20))
    audio += CODEC.silence(1000)
    plain = [bytes(audio[at : at + size]) for at in range(0, len(audio) - size + 1, size)]
    return Script([truth.mark(packet, leg, n) for n, packet in enumerate(plain)], words)


def plan(scenario: Scenario, leg: int) -> Plan:
    """The same for the same leg, whenever it is asked for."""
    draw = Random(-leg - 1)
    after_s, cut_s = draw.uniform(0, _SPREAD_S), draw.uniform(_FIRST_CUT_S, _LAST_CUT_S)
    return Plan(leg, script(leg, cut_s + scenario.outage_s + _AFTER_S), after_s, cut_s)


async def run(advance: Advance, scenarios: Sequence[Scenario] = SCENARIOS) -> Outcome:
    """The whole benchmark; `advance` is told of each run."""
    async with AsyncExitStack() as opened:
        far = await opened.enter_async_context(Far(KNOBS))
        tokens = await opened.enter_async_context(
            Tokens(far.auth_url, KNOBS.client_id, KNOBS.client_secret, renew_before_s=600, timeout_s=5)
        )
        bench, rows, first = _Bench(far, tokens, advance), [], 0
        with watched() as lag:
            for scenario in scenarios:
                rows.append(await bench.scenario(scenario, first))
                first += scenario.runs
        notes = [lag.told("this process's loop"), Lag(await far.ask("lag")).told("the emulator's loop")]
    return outcome(rows, notes)


@dataclass(frozen=True, slots=True)
class _Bench:
    far: Far
    tokens: Tokens
    advance: Advance

    async def scenario(self, scenario: Scenario, first: int) -> Row:
        """All its runs, `AT_ONCE` at a time; legs are numbered from `first`."""
        free, plans = asyncio.Semaphore(AT_ONCE), list[Plan]()
        for leg in range(first, first + scenario.runs):
            plans.append(plan(scenario, leg))
            await asyncio.sleep(0)  # written before the first leg speaks, so that none has to wait for it
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(scenario, planned, free)) for planned in plans]
        return row(scenario, [task.result() for task in tasks], await self.far.ask("heard"))

    async def _one(self, scenario: Scenario, planned: Plan, free: asyncio.Semaphore) -> Run:
        async with free:
            await asyncio.sleep(planned.after_s)
            done = await self._run(scenario, planned)
            self.advance(1)
            return done

    async def _run(self, scenario: Scenario, planned: Plan) -> Run:
        """One leg from answer to the end of its drain, its line cut once."""
        url, leg = urlsplit(self.far.stream_url), planned.leg
        done = Run(leg, planned.script)
        async with Line(HOST, url.port or 0, drops=leg % 2 == 1) as line:
            speech = Rtzr(self.tokens, f"ws://{HOST}:{line.port}{url.path}", {}, timeout_s=5)
            ring, now_ms = Ring(CODEC, scenario.ring_s * 1000), clock()
            settings = LegSettings(GateSettings(), ring_ms=scenario.ring_s * 1000)
            bridge = Leg(
                LegId(f"bench-{leg}", "caller"), Party(Role.CALLER), CODEC, ring, Ungoverned(speech),
                settings, clock=now_ms, publish=done.publish,
            )  # fmt: skip
            ring.answer(0.0)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(bridge.run(lambda: "hung up"))
                tasks.create_task(_cut(line, planned.cut_s, scenario.outage_s))
                await _speak(ring, done.script.packets)
            done.resets = line.resets
        report = running.result()
        done.lost_ms, done.closes = report.ledger.lost_ms, report.ledger.closes()
        done.complete = not report.reasons
        return done


async def _cut(line: Line, after_s: float, outage_s: float) -> None:
    await asyncio.sleep(after_s)
    await line.outage(outage_s)


async def _speak(ring: Ring, packets: Sequence[bytes]) -> None:
    """Each packet when its audio is over, as it comes from a telephone; then the hang-up."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    for number, packet in enumerate(packets):
        await asyncio.sleep(max(0.0, begun_s + (number + 1) * PACKET_MS / 1000 - loop.time()))
        ring.push((Frame(packet, float(number * PACKET_MS)),))
    ring.end()


# What it comes to.


def unheard_ms(done: Run, heard: Mapping[str, Sequence[truth.Range]]) -> float:
    """Audio of a run of which RTZR told nothing: it did not arrive, or was cut off before its final."""
    told = truth.unfolded(heard.get(str(done.leg), ()))
    return float(PACKET_MS * len(set(range(len(done.script.packets))) - told))


def row(scenario: Scenario, runs: Sequence[Run], heard: Mapping[str, Sequence[truth.Range]]) -> Row:
    """`heard`: by leg, the ranges of packets that finals told, or in which there was nothing to tell."""
    unheard = [unheard_ms(done, heard) for done in runs]
    apart = [abs(done.gap_ms - ms) for done, ms in zip(runs, unheard, strict=True)]
    return Row(
        outage_s=scenario.outage_s,
        ring_s=scenario.ring_s,
        inside=scenario.inside,
        runs=len(runs),
        lost_ms=round(sum(done.lost_ms for done in runs)),
        gap_ms=round(sum(done.gap_ms for done in runs)),
        unheard_ms=round(sum(unheard)),
        words_wrong=sum(done.words_wrong for done in runs),
        words=sum(len(done.script.words) for done in runs),
        worst_difference_ms=round(max(apart, default=0.0)),
        open_books=sum(not done.closes for done in runs),
        partial=sum(not done.complete for done in runs),
        uncut=sum(not done.resets for done in runs),
    )


def outcome(rows: Sequence[Row], notes: Sequence[str]) -> Outcome:
    """Inside the ring nothing is lost; beyond it, gaps, ledger and RTZR agree about what is."""
    total = sum(row.runs for row in rows)
    data = {"cuts": total, "tolerance_ms": TOLERANCE_MS, "scenarios": [asdict(row) for row in rows]}
    columns = ("outage", "ring", "inside", "runs", "lost", "gaps", "unheard", "wrong words")
    return Outcome(data, columns, [_shown(row) for row in rows], [*_told(total), *notes], _missed(rows))


def _told(total: int) -> Sequence[str]:
    return (
        f"{total} cuts, {AT_ONCE} legs at a time; lost, gaps and unheard: ms of all runs together.",
        (
            f"Beyond the ring, gaps and unheard may differ by {TOLERANCE_MS:.0f} ms a run. Inside it, "
            "unheard is silence that was under way when the line was cut, and is not sent again."
        ),
    )


def _shown(row: Row) -> list[str]:
    ms = (f"{n:,}" for n in (row.lost_ms, row.gap_ms, row.unheard_ms))
    wrong = f"{row.words_wrong}/{row.words:,}"
    inside = "yes" if row.inside else "no"
    return [f"{row.outage_s:g} s", f"{row.ring_s:g} s", inside, str(row.runs), *ms, wrong]


def _missed(rows: Sequence[Row]) -> list[str]:
    missed = []
    for row in rows:
        where = f"{row.outage_s:g} s, ring of {row.ring_s:g} s"
        if row.inside and (row.lost_ms or row.gap_ms):
            missed.append(
                f"{where}: {row.lost_ms} ms lost and {row.gap_ms} ms of gaps, though inside the ring"
            )
        if row.words_wrong:
            missed.append(f"{where}: {row.words_wrong} words wrong")
        if abs(row.gap_ms - row.lost_ms) > row.runs:
            missed.append(f"{where}: gaps of {row.gap_ms} ms, but {row.lost_ms} ms lost in the ledger")
        if row.worst_difference_ms > TOLERANCE_MS:
            missed.append(
                f"{where}: a run's gaps and what RTZR was told differ by {row.worst_difference_ms} ms"
            )
        if row.inside and row.partial:
            missed.append(f"{where}: {row.partial} legs did not end complete, though inside the ring")
        if row.open_books:
            missed.append(f"{where}: {row.open_books} ledgers do not close")
        if row.uncut:
            missed.append(f"{where}: {row.uncut} lines carried nothing when they were cut")
    return missed
