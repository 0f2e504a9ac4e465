"""One leg: ring -> gate -> tape -> session -> events. One coroutine, one RTZR socket at a time.

It is given what it needs as arguments: no PBX, no socket of its own, no list of other legs. Audio goes
down, text comes out, and the end of the ring is the only word that the call is over. It goes on reading while
there is no session: what happens on one is in `conversation`, what is kept for the next one in `wire.replay`.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import random

import structlog

from bridge.conversation import Conversation, Ending, LegSettings
from bridge.events import LegEvents
from bridge.permit import Permit, Speech
from bridge.ring import Ring
from bridge.spool.kept import Kept
from bridge.spool.spool import LegSpool
from bridge.types import Codec, Event, Frame, Gap, GapReason, LegId, Party, Transcript
from bridge.wire.backoff import session_retry_s
from bridge.wire.gate import Audio, Gate
from bridge.wire.hearing import Hearing
from bridge.wire.ledger import LegReport
from bridge.wire.replay import Loss, Tape
from bridge.wire.rtzr import Refused, Unreachable, Verdict

__all__ = ["Leg", "LegReport", "LegSettings", "Speech"]
_log = structlog.get_logger()

_QUICK_MS = 5000.0
"""A session that is lost so soon without a word was none: the next try waits longer."""
_MOST_PATIENCE = 32
"""Times the watchdog's own: a party on hold plays music that RTZR never answers."""

_Outcome = Permit | Refused | Unreachable


class Leg:
    """One leg's coroutine and what it keeps between two messages."""

    __slots__ = (
        "_answered_ms", "_attempt", "_catch_up", "_clock", "_codec", "_finished", "_gate",
        "_give_up_s", "_hearing", "_kept", "_last", "_leg", "_listening", "_missing", "_opening",
        "_patience", "_pauses", "_permit", "_publish", "_retry_s", "_ring", "_settings", "_since_s",
        "_speech", "_talk", "_tape", "events", "report",
    )  # fmt: skip

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
        spool: LegSpool | None = None,
    ) -> None:
        self._leg = leg
        self._codec = codec
        self._ring = ring
        self._speech = speech
        self._settings = settings
        self._clock = clock
        self._publish = publish
        self._kept = Kept(spool, codec, settings.gate.preroll_ms)
        self.events = LegEvents(leg, party)
        self._gate = Gate(settings.gate, codec)
        self._tape = Tape(codec, settings.ring_ms, lead_ms=settings.gate.preroll_ms)
        self._hearing = Hearing(leg)
        self._answered_ms: float | None = None
        self._finished = False
        self._pauses = 0
        self._patience = 1
        self._catch_up = settings.session.catch_up
        self._attempt = 0
        self._retry_s = self._give_up_s = self._since_s = 0.0
        self._missing = GapReason.RING
        """Why audio is lost that does not find a session in time."""
        self._opening: asyncio.Task[_Outcome] | None = None
        self._permit: Permit | None = None
        self._last: Permit | None = None
        """Of the session that was lost: nobody else gets its channel before this leg has asked again."""
        self._talk: Conversation | None = None
        self._listening: asyncio.Task[None] | None = None
        self.report = LegReport()

    @property
    def backlog_ms(self) -> float:
        """Audio that came and was not sent yet."""
        return self._ring.waiting_ms + self._tape.waiting_ms

    async def run(self, cause: Callable[[], str]) -> LegReport:
        """Until the ring ends and RTZR has said its last word; `cause` then tells why it ended."""
        structlog.contextvars.bind_contextvars(leg=str(self._leg))
        self._publish(self.events.started(self._codec))
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._live(tasks)
        except BaseException as error:
            self.report.because("stopped" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        finally:
            self._let_go()
            self._settle()
            report = self.report
            self._publish(self.events.ended(cause(), report.ledger, report.reasons, report.refusal))
        return report

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        try:
            opening = tasks.create_task(self._open_when_wanted(tasks))
            self._answered_ms = await self._answer()
            if self._answered_ms is None:
                opening.cancel()  # nobody answered: a session that is opened ahead is not needed
                return
            if self._ring.mixed:
                opening.cancel()
                await self._ring.over(None)
                return
            await opening
            while not await self._turn(tasks):
                pass
        finally:
            if self._opening is not None:
                self._opening.cancel()

    async def _open_when_wanted(self, tasks: asyncio.TaskGroup) -> None:
        if await self._ring.wanted() and not (self._ring.mixed or self._ring.paused):
            self._open(tasks)

    async def _answer(self) -> float | None:
        """Wait for the answer; what the ring let go while it rang was never to be sent."""
        answered_ms = await self._ring.answered()
        self.report.ledger.withheld += self._ring.evicted_ms
        self._ring.evicted_ms = 0.0
        return answered_ms

    async def _turn(self, tasks: asyncio.TaskGroup) -> bool:
        """Take in what came, send what may be sent; whether the leg is over."""
        await self._take_in()
        if self._pauses != self._ring.pauses:
            self._hush()
        if self._talk is None or self._listening is None:
            over = self._reach(tasks)
        else:
            evicted = self._permit is not None and self._permit.evicted.is_set()
            ending = self._talk.step(self._listening, over=self._finished, evicted=evicted)
            over = ending is not None and await self._part(ending)
        self._tell_losses()
        self._kept.cover(_now_s(), self._tape, self._gate)
        return over

    # Taking in.

    async def _take_in(self) -> None:
        """The next frames since the answer, through the gate; once all have come, only wait a little."""
        if self._finished:
            await self._idle()
            return
        batch = await self._ring.read(self._settings.message_ms, self._wait_s())
        frames = self._since_answer(batch.frames)
        self._kept.keep(frames)
        actions = self._gate.feed(frames, self._clock() - self._ring.lag_ms)
        if batch.ended:
            actions += self._gate.finish()
            self._finished = True
            self._give_up_s = _now_s() + self._settings.outage_ms / 1000
        self._tape.append(actions, self._missing)

    async def _idle(self) -> None:
        work: asyncio.Task[None] | asyncio.Task[_Outcome] | None = self._listening or self._opening
        if work is None or work.done():
            await asyncio.sleep(self._settings.message_ms / 1000 if self._talk is None else 0)
        else:
            await asyncio.wait({work}, timeout=self._settings.message_ms / 1000)

    def _wait_s(self) -> float:
        """How long to wait for a whole message: no longer than until the utterance may be over."""
        wait_ms = 2.0 * self._settings.message_ms
        due_ms = self._gate.due_ms
        if due_ms is not None:
            wait_ms = min(wait_ms, due_ms + self._ring.lag_ms - self._clock())
        return max(wait_ms, 1.0) / 1000

    def _since_answer(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """What belongs to the answered call; early media is withheld and counted."""
        answered_ms = self._answered_ms or 0.0
        if not frames or frames[0].at_ms >= answered_ms:
            return frames  # they are in order
        early = [frame for frame in frames if self._end_ms(frame) <= answered_ms]
        self.report.ledger.withheld += sum(self._codec.ms(len(frame.payload)) for frame in early)
        return [frame for frame in frames if self._end_ms(frame) > answered_ms]

    def _end_ms(self, frame: Frame) -> float:
        return frame.at_ms + self._codec.ms(len(frame.payload))

    # Having a session.

    def _reach(self, tasks: asyncio.TaskGroup) -> bool:
        """Get a session, if there is something for one; whether the leg is over without."""
        if self.report.refusal:
            self._tape.give_up(GapReason.REFUSED)
        if self._finished and (self._tape.idle or self._too_late()):
            return True
        if self._opening is not None:
            if self._opening.done():
                self._opened(self._opening.result(), tasks)
        elif not self.report.refusal and not self._tape.idle and _now_s() >= self._retry_s:
            self._open(tasks)
        return False

    def _hush(self) -> None:
        """A pause has begun: what waits is neither sent nor kept, and a session ends in order."""
        self._pauses = self._ring.pauses
        self._tell_losses(all_of_them=True)
        self.report.ledger.pause(self._gate.reset())
        self.report.ledger.pause(*self._tape.hush())
        if self._talk is not None:
            self._talk.pause()
        self._kept.hush()

    def _too_late(self) -> bool:
        if _now_s() < self._give_up_s:
            return False
        self._tape.give_up(GapReason.DRAIN)
        return True

    def _open(self, tasks: asyncio.TaskGroup) -> None:
        self._opening = tasks.create_task(self._try())

    async def _try(self) -> _Outcome:
        started_s = _now_s()
        self._since_s = self._since_s or started_s
        try:
            want = self._settings
            permit = await self._speech.open(
                self._codec, want.priority, options=want.options, since_s=self._since_s, instead_of=self._last
            )
        except (Refused, Unreachable) as error:
            return error.with_traceback(None)  # its frames keep this leg, which keeps what comes of the try
        finally:
            self._last = None
        _log.info("socket opened", ms=round(1000 * (_now_s() - started_s)))
        self.report.ledger.sessions += 1
        return permit

    def _opened(self, outcome: _Outcome, tasks: asyncio.TaskGroup) -> None:
        self._opening = None
        if not isinstance(outcome, Refused | Unreachable):
            self._begin(outcome, tasks)
        elif isinstance(outcome, Refused) and outcome.verdict is not Verdict.WAIT:
            _log.error("leg not transcribed", reason=str(outcome))
            self.report.refusal = str(outcome)
            self.report.because(GapReason.REFUSED.value)
        else:
            _log.warning("no session", reason=str(outcome), attempt=self._attempt + 1)
            self._back_off()

    def _begin(self, permit: Permit, tasks: asyncio.TaskGroup) -> None:
        ledger = self.report.ledger
        ledger.reconnects += ledger.sessions > 1
        self._permit, self._missing = permit, GapReason.RING
        settings = self._settings.session
        patience_ms = settings.watchdog_ms * self._patience
        settings = replace(settings, watchdog_ms=patience_ms, catch_up=self._catch_up)
        self._talk = Conversation(
            permit.session, self._codec, self._tape, self._hearing, ledger, settings, self._tell
        )
        self._listening = tasks.create_task(self._talk.listen())
        if self._ring.paused:
            self._talk.pause()

    def _back_off(self) -> None:
        wait_s = session_retry_s(self._attempt, last=self._finished, random01=random())  # noqa: S311
        self._retry_s = _now_s() + wait_s
        self._attempt += 1

    async def _part(self, ending: Ending) -> bool:
        """A session is over; whether the leg is over with it."""
        talk = self._talk
        if talk is None:
            return True
        await talk.close(ending)
        if self._listening is not None:
            await self._listening  # what RTZR said last counts before anything is sent again
        self._note(ending, talk)
        self._last = self._permit if ending in (Ending.LOST, Ending.MUTE, Ending.ROTATED) else None
        self._give_back()
        if ending in (Ending.DONE, Ending.LATE):
            if ending is Ending.LATE:
                self.report.because("drain")
            else:
                self._tape.cover(math.inf)  # RTZR had it all, and has said what there is to say
            return True
        again_ms = self._tape.rewind()
        if self._ring.paused:
            self.report.ledger.pause(*self._tape.hush())
        _log.info("session ended", how=ending.name.lower(), again_ms=round(again_ms))
        return False

    def _note(self, ending: Ending, talk: Conversation) -> None:
        """What this session teaches about the next one."""
        self.report.utterances += talk.utterances
        if talk.results:
            self._patience = 1
        if ending is Ending.MUTE:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        if ending is Ending.EVICTED:
            self._missing = GapReason.EVICTED
        if ending not in (Ending.LOST, Ending.MUTE):
            return
        if talk.catching_up:
            self._catch_up = max(1.0, self._catch_up / 2)  # RTZR may not bear what is faster than real time
        quick = talk.age_ms < _QUICK_MS and not talk.results
        if quick and self._permit is not None:
            self._permit.failed_at_once()
        if not quick:
            self._attempt = 0
        self._back_off()

    def _give_back(self) -> None:
        """Close the books of a session, and let another leg have its channel."""
        if self._talk is not None:
            self._talk.settle()
            _log.info("socket closed", ms=round(self._talk.age_ms), utterances=self.report.utterances)
        if self._permit is not None and self._permit is not self._last:
            self._permit.release()
        self._talk = self._permit = self._listening = None

    def _let_go(self) -> None:
        """However the leg came to its end: no socket and no channel stays."""
        opening, self._opening = self._opening, None
        if opening is not None and opening.done() and not opening.cancelled() and not opening.exception():
            outcome = opening.result()
            if not isinstance(outcome, Refused | Unreachable):
                self.report.ledger.bill(0.0)
                outcome.session.abort()
                outcome.release()
        if self._talk is not None:
            self._talk.abort()
            self._give_back()
        if self._last is not None:
            self._last.release()

    # Telling.

    def _tell(self, transcript: Transcript) -> None:
        latency_ms = round(self._clock()) - transcript.end_ms
        self._publish(self.events.transcript(transcript, latency_ms, mixed=self._ring.mixes))

    def _tell_losses(self, *, all_of_them: bool = False) -> None:
        if self._ring.evicted_ms:
            start_ms, end_ms = self._ring.evicted_span
            self._lose(Loss(start_ms, end_ms, self._ring.evicted_ms, GapReason.RING))
            self._ring.evicted_ms = 0.0
        if self._tape.losing is not None:
            for loss in self._tape.losses(all_of_them=all_of_them):
                self._lose(loss)

    def _lose(self, loss: Loss) -> None:
        ledger = self.report.ledger
        ledger.unsend(loss.sent_ms)
        ledger.lose(loss.ms, loss.reason)
        self.report.because(loss.reason.value)
        start_ms, end_ms = round(loss.start_ms), round(loss.end_ms)
        self._kept.lose(loss.start_ms, loss.end_ms)
        gap = Gap(self._leg, start_ms, end_ms, round(loss.ms), loss.reason)
        self._publish(self.events.gap(gap, spooled=bool(self._kept)))

    def _settle(self) -> None:
        """Close the books: what still waits somewhere will not be sent."""
        ledger, waiting = self.report.ledger, self._ring.read_now().frames
        ledger.arrived, ledger.mixed = self._ring.arrived_ms, self._ring.mixed_ms
        ledger.pause(self._ring.paused_ms)
        ledger.saved = self._gate.withheld_ms + self._gate.held_ms
        ledger.withheld += ledger.saved
        if self._answered_ms is None:
            ledger.withheld += self._ring.evicted_ms + sum(self._codec.ms(len(f.payload)) for f in waiting)
        else:
            waiting = self._since_answer(waiting)
            self._tape.append(Audio(f.payload, f.at_ms, voiced=False) for f in waiting)
            self._tape.rewind()  # what was sent and never told is lost with its session
            if self._ring.paused:
                ledger.pause(*self._tape.hush())
            self._tape.give_up(GapReason.DRAIN)
            self._tell_losses(all_of_them=True)
            self.report.reasons += self._ring.flaws
        self._kept.close()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
