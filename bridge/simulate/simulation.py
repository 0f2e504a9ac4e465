"""Recordings become calls: telephones send them over RTP to desks of this process, as the daemon has them.

What is sent is `bridge.simulate.recording`'s, what it came to `bridge.simulate.outcome`'s.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from time import strftime

from bridge.config import Config
from bridge.emulator.codebook import WORDS
from bridge.emulator.ear import Ear
from bridge.emulator.knobs import DEFAULTS
from bridge.emulator.server import Emulator, Knobs
from bridge.leg.desk import LocalDesks
from bridge.leg.inlets import NoInlet
from bridge.simulate.outcome import CallOutcome, LegOutcome, Outcome
from bridge.simulate.recording import Recording, Track
from bridge.simulate.telephone import Telephone
from bridge.simulate.trouble import Fault, Span, begun, go_on
from bridge.transcribe import with_emulator
from bridge.types import Event, LegId, NewLeg, Party, Transport
from bridge.wire.cost import Spending
from bridge.wire.ledger import Ledger
from bridge.wire.watched import Note, NoteKind
from bridge.wiring import build_desks, build_governor, build_rtzr, build_tokens, ports_of

HOST = "127.0.0.1"
_BOOK = frozenset(WORDS)
_LAST_PACKETS_S = 0.2
_NO_PORT = "no RTP port was free (media.first_port to media.last_port)"
_FINAL = "rtzr.transcript.final"

Progress = Callable[[int, int], None]
"""How many calls were begun, and how many are over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which calls."""

    recordings: Sequence[Recording]
    calls: int = 1
    rate: float = 1.0
    """Begun in a second."""
    emulated: bool = False
    faults: frozenset[Fault] = frozenset()
    knobs: Knobs = DEFAULTS

    def of(self, number: int) -> Recording:
        """The recording of a call: all of them in turn."""
        return self.recordings[number % len(self.recordings)]

    @property
    def seconds(self) -> float:
        """How long it takes, but for what RTZR takes at the end."""
        return max(number / self.rate + self.of(number).ms / 1000 for number in range(self.calls))

    @property
    def span(self) -> Span:
        """How long, and how many legs at most at once."""
        longest_s = max(recording.ms for recording in self.recordings) / 1000
        at_once = min(self.calls, int(longest_s * self.rate) + 1)
        return Span(self.seconds, at_once * max(len(one.tracks) for one in self.recordings))


async def run(plan: Plan, config: Config, progress: Progress) -> Outcome:
    """Play all calls, and wait for what comes of them. Raises OSError where there is no port."""
    async with AsyncExitStack() as opened:
        if plan.emulated:
            knobs = begun(plan.knobs, plan.faults, plan.span)
            rtzr = await opened.enter_async_context(Emulator(knobs))
            config = with_emulator(config, rtzr)
            troubling = asyncio.create_task(go_on(rtzr, plan.knobs, plan.faults, plan.span))
            opened.callback(troubling.cancel)
        calls = await _Simulation(plan, config, progress).run(opened)
    return Outcome(calls, plan.emulated, tuple(sorted(plan.faults)))


class _Simulation:
    def __init__(self, plan: Plan, config: Config, progress: Progress) -> None:
        self._plan = plan
        media = config.media.model_copy(update={"bind": HOST})
        self._config = config.model_copy(update={"workers": 1, "media": media})
        self._progress = progress
        self._legs: dict[LegId, LegOutcome] = {}
        self._said: dict[str, list[str]] = {}
        self._begun = self._over = 0

    async def run(self, opened: AsyncExitStack) -> list[CallOutcome]:
        config, plan = self._config, self._plan
        tokens = await opened.enter_async_context(build_tokens(config))
        speech = build_rtzr(config, tokens)
        governor = build_governor(config, speech)
        desks = build_desks(config, ports_of(config, 0), governor, speech, self._take, tell=self._note)
        opened.push_async_callback(desks.inlets.close)
        loop = asyncio.get_running_loop()
        if plan.emulated:
            await asyncio.to_thread(self._listen)
        start_s, calls = loop.time(), list[asyncio.Task[CallOutcome]]()
        async with asyncio.TaskGroup() as tasks:
            for number in range(plan.calls):
                await asyncio.sleep(max(0.0, start_s + number / plan.rate - loop.time()))
                calls.append(tasks.create_task(self._call(number, desks)))
                self._begun += 1
                self._progress(self._begun, self._over)
        return self._priced([call.result() for call in calls])

    def _listen(self) -> None:
        """What an ear at the telephone hears: what the emulated RTZR, which has the same one, is to say."""
        for recording in self._plan.recordings:
            for track in recording.tracks:
                self._said[_key(recording, track)] = words_of(track)

    async def _call(self, number: int, desks: LocalDesks) -> CallOutcome:
        recording = self._plan.of(number)
        call = CallOutcome(f"call {number + 1}", recording.name)
        origin_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for track in recording.tracks:
                leg = LegId(call.id, track.role)
                outcome = self._legs[leg] = LegOutcome(track.role)
                call.legs.append(outcome)
                new = NewLeg(leg, Party(track.role), origin_s, codec=track.codec)
                tasks.create_task(self._leg(new, track, outcome, desks))
        for track, outcome in zip(recording.tracks, call.legs, strict=True):
            outcome.compare(self._said.get(_key(recording, track), []), _BOOK)
        self._over += 1
        self._progress(self._begun, self._over)
        return call

    async def _leg(self, new: NewLeg, track: Track, outcome: LegOutcome, desks: LocalDesks) -> None:
        """One party: its telephone sends to its desk, hangs up, and the rest is worked off."""
        desk = await desks.begin(new)
        try:
            place = await desk.open_inlet(Transport.RTP)
        except NoInlet:
            desks.forget(new.leg)
            outcome.report.because(_NO_PORT)
            return
        with closing(Telephone(HOST, place.port)) as telephone:
            await desk.lock(*telephone.address)
            desk.answer(desk.now_ms())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(desk.run())
                await telephone.play(track)
                await asyncio.sleep(_LAST_PACKETS_S)
                await desk.close_inlet()
                desk.end("hung up")
            outcome.sent = telephone.sent
        outcome.report = desk.report

    def _take(self, event: Event) -> None:
        if event.type == _FINAL:
            outcome = self._legs[LegId(event.subject, event.data["channel"])]
            outcome.texts.append(str(event.data["text"]))
            outcome.latencies_ms.append(int(event.data["latency_ms"]))

    def _note(self, note: Note) -> None:
        if note.kind is NoteKind.PACKETS and note.leg is not None:
            call, _, role = note.leg.partition("/")
            self._legs[LegId(call, role)].packets.update(note.data)

    def _priced(self, calls: list[CallOutcome]) -> list[CallOutcome]:
        spending = Spending(self._config.cost.prices)
        today = strftime("%Y-%m-%d")
        for call in calls:
            ledger = Ledger()
            for leg in call.legs:
                ledger.add(leg.report.ledger)
            call.cost = spending.add(ledger, today)
        return calls


def expected_won(plan: Plan, config: Config) -> float:
    """What RTZR will bill at most, if no session is lost: every party is sent, silence and all."""
    spending, today = Spending(config.cost.prices), strftime("%Y-%m-%d")
    total = 0.0
    for number in range(plan.calls):
        ledger = Ledger()
        for track in plan.of(number).tracks:
            ledger.bill(track.ms)
        total += spending.add(ledger, today).won
    return total


def _key(recording: Recording, track: Track) -> str:
    return f"{recording.name}/{track.role}"


def words_of(track: Track) -> list[str]:
    """The code book's words in it."""
    ear = Ear(8000)
    return [heard.text for heard in (*ear.hear(track.pcm()), *ear.finish()) if heard.text in _BOOK]
