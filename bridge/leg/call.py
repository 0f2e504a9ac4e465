"""One leg: ring -> gate -> tape -> session -> events. One coroutine, one RTZR socket at a time.

It is given what it needs as arguments: no PBX, no socket of its own, no list of other legs. Audio goes
down, text comes out, and the end of the ring is the only word that the call is over. It goes on reading while
there is no session: what happens on one is in `conversation`, what is kept for the next one in `wire.replay`.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import random
from typing import Any

import structlog

from bridge.events import LegEvents
from bridge.leg.books import Books
from bridge.leg.conversation import Conversation, Ending, LegSettings
from bridge.leg.permit import Permit, Speech
from bridge.leg.ring import Ring
from bridge.spool.spool import LegSpool
from bridge.types import Codec, Event, Frame, GapReason, LegId, Party, Transcript
from bridge.wire.backoff import session_retry_s
from bridge.wire.gate import Gate
from bridge.wire.hearing import Hearing
from bridge.wire.ledger import LegReport
from bridge.wire.replay import Tape
from bridge.wire.rtzr import Refused, Took, Unreachable, Verdict
from bridge.wire.watched import LegSnapshot, LegState, Note, NoteKind, Tell, level_db, unheard

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
        "_answered_ms", "_attempt", "_books", "_catch_up", "_clock", "_codec", "_finished",
        "_gate", "_give_up_s", "_hearing", "_last", "_leg", "_listening", "_missing", "_opening",
        "_patience", "_pauses", "_permit", "_publish", "_recent", "_retry_s", "_ring", "_settings",
        "_since_s", "_speech", "_talk", "_tape", "_tell_watchers", "events", "report",
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
        tell: Tell = unheard,
    ) -> None:
        """`publish` gets its events; `tell` what is of interest beside them."""
        self._leg = leg
        self._codec = codec
        self._ring = ring
        self._speech = speech
        self._settings = settings
        self._clock = clock
        self._publish = publish
        self._tell_watchers = tell
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
        self._recent: deque[Sequence[Frame]] = deque(maxlen=1000 // settings.message_ms + 1)
        """What came last, for who asks how loud it is."""
        audio = ring, self._gate, self._tape
        self._books = Books(leg, codec, settings, audio, self.report, self.events, publish, spool)

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
            self._books.settle(self._answered_ms)
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
        self._books.tell_losses()
        self._books.cover()
        return over

    # Taking in.

    async def _take_in(self) -> None:
        """The next frames since the answer, through the gate; once all have come, only wait a little."""
        if self._finished:
            await self._idle()
            return
        batch = await self._ring.read(self._settings.message_ms, self._wait_s())
        frames = self._books.since_answer(batch.frames, self._answered_ms or 0.0)
        self._books.keep(frames)
        self._recent.append(frames)
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
        self._recent.clear()
        self._books.hush()
        if self._talk is not None:
            self._talk.pause()

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
        took_ms = round(1000 * (_now_s() - started_s))
        _log.info("socket opened", ms=took_ms)
        took: Took | None = getattr(permit.session, "took", None)
        self._note("session opened", {"ms": took_ms} | ({} if took is None else took.parts(took_ms)))
        self.report.ledger.sessions += 1
        return permit

    def _opened(self, outcome: _Outcome, tasks: asyncio.TaskGroup) -> None:
        self._opening = None
        if not isinstance(outcome, Refused | Unreachable):
            self._begin(outcome, tasks)
        elif isinstance(outcome, Refused) and outcome.verdict is not Verdict.WAIT:
            _log.error("leg not transcribed", reason=str(outcome))
            self._note("RTZR refused the leg", {"reason": str(outcome)})
            self.report.refusal = str(outcome)
            self.report.because(GapReason.REFUSED.value)
        else:
            attempt = self._attempt + 1
            # Ever more seldom: in a long outage each leg has a try every few seconds.
            tell = _log.debug if attempt & (attempt - 1) else _log.warning
            tell("no session", reason=str(outcome), attempt=attempt)
            self._note("no session", {"reason": str(outcome), "attempt": attempt})
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
        self._learn(ending, talk)
        self._note(f"session {ending.name.lower()}", {"utterances": talk.utterances})
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

    def _learn(self, ending: Ending, talk: Conversation) -> None:
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

    def _note(self, what: str, data: dict[str, Any]) -> None:
        note = Note(self._leg.call, str(self._leg), round(self._clock()), NoteKind.SESSION, what, data)
        self._tell_watchers(note)

    def snapshot(self, packets: Mapping[str, int]) -> LegSnapshot:
        """How the leg stands; `packets` are its inlet's. To be asked once a second."""
        payloads = [frame.payload for frames in self._recent for frame in frames]
        self._recent.clear()
        ledger = self.report.ledger
        return LegSnapshot(
            self._leg,
            self._state,
            self._settings.gate.mode.value,
            level_db(payloads, self._codec),
            arrived_ms=round(self._ring.arrived_ms),
            sent_ms=round(ledger.sent_first),
            lost_ms=round(ledger.lost_ms),
            paused_ms=round(ledger.paused + self._ring.paused_ms),
            waiting_ms=round(self.backlog_ms),
            sessions=ledger.sessions,
            packets=packets,
        )

    @property
    def _state(self) -> LegState:
        if self._finished:
            return LegState.DRAINING
        if self._ring.paused:
            return LegState.PAUSED
        if self._talk is not None or self._ring.mixed:
            return LegState.STREAMING
        if self._answered_ms is None or self.report.refusal or (self._opening is None and self._tape.idle):
            return LegState.WAITING
        return LegState.RECONNECTING if self.report.ledger.sessions else LegState.CONNECTING

    def _tell(self, transcript: Transcript) -> None:
        latency_ms = round(self._clock()) - transcript.end_ms
        self._publish(self.events.transcript(transcript, latency_ms, mixed=self._ring.mixes))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
