"""One leg: ring -> gate -> session -> events. One coroutine, one RTZR socket, until the stream ends.

It is given what it needs as arguments: no PBX, no socket of its own, no list of other legs. Audio goes
down, text comes out, and the end of the ring is the only word that the call is over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from bridge.events import LegEvents
from bridge.ring import Ring
from bridge.types import Codec, Event, Frame, Gap, GapReason, LegId, Party, Transcript, Word
from bridge.wire.gate import Action, Audio, EndOfUtterance, Gate, GateSettings, Silence
from bridge.wire.ledger import Ledger
from bridge.wire.rtzr import Refused, Result, Unreachable, Verdict
from bridge.wire.timemap import TimeMap

_log = structlog.get_logger()

_RECONNECT = wait_random_exponential(multiplier=0.25, max=10)
"""Full jitter: many legs that lose RTZR together must not come back together."""

_LAST_TRIES_S = 0.5
"""After hang-up: the longest pause between two tries."""
_SLACK_MS = 500.0
"""What counts as voiced goes on after the voice: the VAD's hang-over, and an utterance's silence."""


class Session(Protocol):
    """What a leg needs of a socket to RTZR. The senders return False once it is lost."""

    async def send(self, audio: bytes) -> bool: ...
    async def finalize(self) -> bool: ...
    async def end(self) -> bool: ...
    def results(self) -> AsyncIterator[Result]: ...
    async def close(self) -> None: ...

    @property
    def clean(self) -> bool:
        """Whether RTZR closed it as the protocol says: it has nothing more to tell."""
        ...


class Speech(Protocol):
    """What opens sessions. Raises `Refused`, or any other exception when RTZR cannot be reached."""

    async def open(self, codec: Codec) -> Session: ...


@dataclass(frozen=True, slots=True)
class LegSettings:
    gate: GateSettings
    message_ms: int = 40
    drain_ms: int = 5000


@dataclass(slots=True)
class LegReport:
    """What became of a leg."""

    ledger: Ledger = field(default_factory=Ledger)
    sessions: int = 0
    utterances: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why the leg is not complete; empty when it is."""


class Leg:
    """One leg's coroutine and what it keeps between two messages."""

    def __init__(
        self,
        leg: LegId,
        party: Party,
        codec: Codec,
        ring: Ring,
        speech: Speech,
        settings: LegSettings,
        *,
        clock: Callable[[], float],
        publish: Callable[[Event], None],
    ) -> None:
        self._leg = leg
        self._codec = codec
        self._ring = ring
        self._speech = speech
        self._settings = settings
        self._clock = clock
        self._publish = publish
        self._events = LegEvents(leg, party, clock())
        self._gate = Gate(settings.gate, codec)
        self._unsent: list[Action] = []
        self._answered_ms: float | None = None
        self._finished = False
        self._session: Session | None = None
        self._give_up_s: float | None = None
        """The loop's time after which no session is tried for any more; once hung up."""
        self._map = TimeMap()
        self._voiced_ms = 0.0
        """End of the last voiced audio that this session was sent, by its clock."""
        self._noted_ms = 0.0
        """The same, with what is being sent."""
        self._final_ms = 0.0
        """How far this session's finals reach."""
        self.report = LegReport()

    async def run(self, cause: Callable[[], str]) -> LegReport:
        """Until the ring ends and RTZR has said its last word; `cause` then tells why it ended."""
        structlog.contextvars.bind_contextvars(leg=str(self._leg))
        self._publish(self._events.started(self._codec))
        try:
            await self._live()
        except BaseException as error:
            stopped = isinstance(error, asyncio.CancelledError)
            self.report.reasons.append("stopped" if stopped else "failed")
            raise
        finally:
            self._settle()
            await self._let_go()
            self._publish(self._ended(cause()))
        return self.report

    def _ended(self, cause: str) -> Event:
        report = self.report
        return self._events.ended(cause, report.ledger, report.sessions, report.reasons)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(self._open_when_wanted())
            self._answered_ms = await self._answer()
            if self._answered_ms is None:
                opening.cancel()  # nobody answered: a session that is opened ahead is not needed
        if self._answered_ms is None:
            return
        while self._session is not None:
            await self._converse(self._session)
        await self._read_on()

    async def _open_when_wanted(self) -> None:
        if await self._ring.wanted():
            await self._connect()

    async def _answer(self) -> float | None:
        """Wait for the answer; what the ring let go while it rang was never to be sent."""
        answered_ms = await self._ring.answered()
        self.report.ledger.withheld += self._ring.evicted_ms
        self._ring.evicted_ms = 0.0
        return answered_ms

    async def _let_go(self) -> None:
        """A session that was opened and not used, however the leg came to its end."""
        if self._session is not None:
            await self._session.close()

    # Connecting.

    async def _connect(self) -> None:
        """Open a session; none when RTZR refuses for good, or none was had before the drain was over."""
        retrying = AsyncRetrying(
            wait=_RECONNECT,
            sleep=self._rest,
            retry=retry_if_exception(_passing),
            stop=self._too_late,
            reraise=True,
        )
        started = self._clock()
        try:
            self._session = await retrying(self._speech.open, self._codec)
        except (Refused, Unreachable) as error:
            _log.error("leg not transcribed", reason=str(error))
            self.report.reasons.append("refused" if isinstance(error, Refused) else "unreachable")
            return
        self.report.sessions += 1
        _log.info("socket opened", ms=round(self._clock() - started))
        self._map = TimeMap()

    def _too_late(self, state: RetryCallState) -> bool:
        """After hang-up the tries are bounded like the drain."""
        error = state.outcome.exception() if state.outcome else None
        _log.warning("no session", reason=str(error), attempt=state.attempt_number)
        if not self._ring.ended:
            return False
        now_s = asyncio.get_running_loop().time()
        if self._give_up_s is None:
            self._give_up_s = now_s + self._settings.drain_ms / 1000
        return now_s >= self._give_up_s

    async def _rest(self, seconds: float) -> None:
        """Wait for the next try; a hang-up cuts it short, and leaves no time for long ones."""
        if self._ring.ended:
            await asyncio.sleep(min(seconds, _LAST_TRIES_S))
        else:
            await self._ring.over(seconds)

    async def _read_on(self) -> None:
        """RTZR will not hear this leg any more: keep the ring empty, and say what was lost."""
        lost: tuple[float, float] | None = None
        while not self._finished:
            frames = await self._next(1000, 1.0)
            if frames:
                lost = (lost[0] if lost else frames[0].at_ms, self._end_ms(frames[-1]))
            self.report.ledger.lose(self._length(frames), GapReason.REFUSED)
        if lost is not None:
            start_ms, end_ms = map(round, lost)
            self._publish(self._events.gap(Gap(self._leg, start_ms, end_ms, GapReason.REFUSED)))

    # Conversing.

    async def _converse(self, session: Session) -> None:
        """Use a session until the stream ends, or until it is lost: then open the next one."""
        opened_ms = self._clock()
        self._voiced_ms = self._noted_ms = self._final_ms = 0.0
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(self._hear(session, self._map))
            try:
                ended = await self._talk(session)
                if ended:
                    await self._drain(session, hearing)
            finally:
                await session.close()
        self._session = None
        _log.info("socket closed", ms=round(self._clock() - opened_ms), utterances=self.report.utterances)
        if ended:
            return
        if self._voiced_ms > self._final_ms:
            self.report.reasons.append("socket lost")
        await self._connect()

    async def _talk(self, session: Session) -> bool:
        """Send until the stream ends (True) or the socket is lost (False)."""
        while True:
            frames = await self._next(self._settings.message_ms, self._patience_s())
            actions = self._gate.feed(frames, self._clock())
            if self._finished:
                actions += self._gate.finish()
            if not await self._send(session, actions):
                return False
            if self._finished:
                return True

    def _patience_s(self) -> float:
        """How long to wait for a whole message: no longer than until the utterance may be over."""
        wait_ms = 2.0 * self._settings.message_ms
        due_ms = self._gate.due_ms
        if due_ms is not None:
            wait_ms = min(wait_ms, due_ms - self._clock())
        return max(wait_ms, 1.0) / 1000

    async def _send(self, session: Session, actions: Sequence[Action]) -> bool:
        """Carry out what the gate decided; what a lost socket did not take waits for the next one."""
        self._unsent.extend(actions)
        message = bytearray()
        for action in self._unsent:
            if not isinstance(action, EndOfUtterance):
                message += self._payload(action)
            elif not (await self._flush(session, message) and await session.finalize()):
                return False
        if not await self._flush(session, message):
            return False
        self._account(self._unsent)
        self._unsent.clear()
        return True

    def _payload(self, action: Action) -> bytes:
        """The audio of an action, noted in the session's clock."""
        if isinstance(action, EndOfUtterance):
            return b""
        payload = self._codec.silence(action.length_ms) if isinstance(action, Silence) else action.payload
        self._map.append(action.at_ms, self._codec.ms(len(payload)))
        if isinstance(action, Audio) and action.voiced:
            self._noted_ms = self._map.sent_ms
        return payload

    async def _flush(self, session: Session, message: bytearray) -> bool:
        if not message:
            return True
        audio = bytes(message)
        message.clear()
        return await session.send(audio)

    async def _drain(self, session: Session, hearing: asyncio.Task[None]) -> None:
        """Say that it is over and wait, bounded, for RTZR's last words."""
        await session.end()
        _, late = await asyncio.wait({hearing}, timeout=self._settings.drain_ms / 1000)
        if late:
            self.report.reasons.append("drain")
            _log.warning("last words not awaited", drain_ms=self._settings.drain_ms)
        elif not session.clean and self._voiced_ms > self._final_ms:
            self.report.reasons.append("socket lost")
            _log.warning("socket lost before the last words")

    # Hearing.

    async def _hear(self, session: Session, clocks: TimeMap) -> None:
        """Turn results into transcripts in call time, until the socket closes."""
        seen, opened_ms = -1, self._clock()
        async for result in session.results():
            if result.seq != seen:
                seen = result.seq
                self.report.utterances += 1
                if seen > 0:
                    _log.info("socket reused", ms=round(self._clock() - opened_ms), utterance=seen + 1)
            if result.final:
                self._final_ms = result.end_ms + _SLACK_MS
            if result.text:
                transcript = self._transcript(result, clocks)
                latency_ms = round(self._clock()) - transcript.end_ms
                self._publish(self._events.transcript(transcript, latency_ms))

    def _transcript(self, result: Result, clocks: TimeMap) -> Transcript:
        words = tuple(
            Word(w.text, round(clocks.start(w.start_ms)), round(clocks.end(w.end_ms)), w.confidence)
            for w in result.words
        )
        start_ms, end_ms = clocks.start(result.start_ms), clocks.end(result.end_ms)
        return Transcript(self._leg, result.text, round(start_ms), round(end_ms), result.final, words)

    # Reading and accounting.

    async def _next(self, wanted_ms: float, timeout_s: float) -> Sequence[Frame]:
        """The next frames since the answer; early media is withheld and counted."""
        batch = await self._ring.read(wanted_ms, timeout_s)
        self._finished = batch.ended
        answered_ms = self._answered_ms or 0.0
        early = [frame for frame in batch.frames if self._end_ms(frame) <= answered_ms]
        self.report.ledger.withheld += self._length(early)
        return (
            [frame for frame in batch.frames if self._end_ms(frame) > answered_ms] if early else batch.frames
        )

    def _end_ms(self, frame: Frame) -> float:
        return frame.at_ms + self._codec.ms(len(frame.payload))

    def _length(self, frames: Sequence[Frame]) -> float:
        return sum(self._codec.ms(len(frame.payload)) for frame in frames)

    def _account(self, actions: Sequence[Action]) -> None:
        ledger, self._voiced_ms = self.report.ledger, self._noted_ms
        for action in actions:
            if isinstance(action, Silence):
                ledger.filled += action.length_ms
            ledger.sent += self._audio_ms(action)

    def _settle(self) -> None:
        """Close the books: what still waits somewhere will never be sent."""
        ledger, answered = self.report.ledger, self._answered_ms is not None
        ledger.arrived = self._ring.arrived_ms
        ledger.withheld += self._gate.withheld_ms + self._gate.held_ms
        ledger.lose(self._ring.evicted_ms, GapReason.EVICTED)
        ledger.lose(sum(self._audio_ms(action) for action in self._unsent), GapReason.RING)
        if answered:
            ledger.lose(self._ring.waiting_ms, GapReason.DRAIN)
            self.report.reasons += self._ring.flaws
        else:
            ledger.withheld += self._ring.waiting_ms
        if ledger.lost and not self.report.reasons:
            self.report.reasons.append("audio lost")

    def _audio_ms(self, action: Action) -> float:
        return self._codec.ms(len(action.payload)) if isinstance(action, Audio) else 0.0


def _passing(error: BaseException) -> bool:
    """Whether a failure to open may pass: everything but a refusal for good."""
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.verdict is Verdict.WAIT)
