"""Catching up: jobs of the spool go to RTZR's file API when there is room, and come back as late transcripts.

One task, one job at a time, the oldest first. After a lost answer nobody can ask RTZR whether the job exists;
the file is sent again after a long pause. Only a job whose id came back is ever read, so that a second
sending may cost its seconds twice, and cannot tell a word twice.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from bridge.spool.jobs import Claim
from bridge.spool.spool import Spool
from bridge.types import CallId, Event
from bridge.wire.filestt import Doubtful, State, Status, Utterance
from bridge.wire.rtzr import Refused, Unreachable, Verdict
from bridge.wire.spoolfile import Job

_log = structlog.get_logger()

MOST_FAILED = 2
MOST_SENT = 5
"""A file that is in doubt every time is put aside: it would be charged without end."""
_OF_THIS_FILE = (400, 413, 415, 422)
"""Statuses that speak of the file; the other refusals would be the same for every file."""
_UNKNOWN = (404, 410)
"""RTZR has forgotten the job."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """All in seconds."""

    doubt_s: float = 600.0
    """From a lost answer until the file is sent again."""
    spent_s: float = 600.0
    """After A0001 (quota spent), and after a refusal that is not about the file: both want a person."""
    first_s: float = 1.0
    """The first of the pauses that double with every try."""
    longest_s: float = 60.0
    """The last of them; and from a job that RTZR gave up until its file is sent once more."""
    result_s: float = 6 * 3600.0
    """RTZR may begin half an hour late; a job that is not done after this counts as failed."""


DEFAULTS = Pauses()


class Client(Protocol):
    """RTZR's file API; `bridge.net.filestt.FileStt` says what is raised."""

    async def send(self, wav: bytes) -> str: ...
    async def look(self, job: str) -> State: ...


@dataclass(slots=True)
class CatchUpCounters:
    """Everything since the start of the process."""

    sent: int = 0
    resent: int = 0
    """Sent again after a lost answer: RTZR may charge these twice."""
    done: int = 0
    utterances: int = 0
    put_aside: int = 0
    refused: int = 0


def late_event(job: Job, number: int, utterance: Utterance, now: float) -> Event:
    """A final in call time, as `bridge.events` makes them, marked `late`; `now` is in Unix seconds.

    The id is the same however often the job is told: leg, range and number.
    """
    leg = job.head.leg
    end_ms = job.start_ms + utterance.end_ms
    data = {
        "leg": str(leg),
        "channel": leg.channel,
        "party": asdict(job.head.party),
        "text": utterance.text,
        "start_ms": job.start_ms + utterance.start_ms,
        "end_ms": end_ms,
        "latency_ms": max(0, round((now - job.head.began) * 1000) - end_ms),
        "words": [],
        "late": True,
    }
    when = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = f"{leg}/late/{job.start_ms}-{job.end_ms}/{number}"
    return Event(name, "rtzr.transcript.final", leg.call, when, data, rule=job.head.rule)


class CatchUp:
    """The task. It has one job at a time, and the disk is read and written in threads."""

    def __init__(
        self,
        spool: Spool,
        client: Client,
        room: Callable[[], bool],
        publish: Callable[[Event], None],
        written: Callable[[], Awaitable[bool]] | None = None,
        *,
        knows: Callable[[str | None], bool] = lambda _: True,
        paused: Callable[[], frozenset[CallId]] = frozenset,
        pauses: Pauses = DEFAULTS,
        unix: Callable[[], float] = time.time,
    ) -> None:
        """`room`: whether RTZR has room for a job now. `written` waits until what was published is on the
        disk, and says whether it is: before that, no job goes. `knows`: whether anybody knows who may be told
        of a rule's calls; a job of one of which nobody does is put aside before it is sent. `paused`: calls
        of which none is to go."""
        self._jobs = spool.jobs
        self._poll_s = spool.settings.poll_s
        self._client = client
        self._room = room
        self._publish = publish
        self._written = written
        self._knows = knows
        self._paused = paused
        self._pauses = pauses
        self._unix = unix
        self._tries = 0
        """In a row that RTZR could not take anything."""
        self._told = ""
        """What was said last of RTZR's refusals, so that it is said once."""
        self._stuck: list[tuple[Claim, Callable[[], None]]] = []
        """Jobs that are over and could not be moved off: held, so that none is told again."""
        self._troubled = False
        self.counters = CatchUpCounters()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            pause = 0.0
            while True:
                await asyncio.sleep(pause)
                pause = await self._step()
        finally:
            for claim, _ in self._stuck:
                claim.release()

    async def _step(self) -> float:
        """One job, as far as it goes; seconds until the next step."""
        stuck, self._stuck = self._stuck, []
        for claim, last in stuck:
            await self._end(claim, last)
        if not self._room():
            return self._poll_s
        looking = asyncio.create_task(asyncio.to_thread(self._jobs.oldest, self._unix(), self._paused()))
        try:
            found = await asyncio.shield(looking)
        except asyncio.CancelledError:
            # The thread goes on, and what it claims must not stay claimed.
            looking.add_done_callback(_let_go)
            raise
        return self._poll_s if found is None else await self._have(found)

    async def _have(self, claim: Claim) -> float:
        try:
            return await self._work(claim)
        except OSError as error:
            _log.error("job not read", reason=error.strerror or str(error))
            return self._pauses.longest_s
        finally:
            if all(claim is not held for held, _ in self._stuck):
                claim.release()

    async def _work(self, claim: Claim) -> float:
        """Send the job unless it was sent, wait for what becomes of it. Seconds to pause. Raises OSError."""
        if not self._knows(claim.job.head.rule):
            await self._put_aside(claim, _unknown(claim.job.head.rule))
            return 0.0
        if claim.job.sending:
            return await self._doubt(claim, "the bridge ended while it was sent")
        try:
            if not claim.job.transcribe_id and not await self._send(claim):
                return self._poll_s
            state = await self._result(claim)
        except Doubtful as doubt:
            return await self._doubt(claim, str(doubt))
        except Unreachable as error:
            return self._back_off(str(error))
        except Refused as refused:
            return await self._refused(claim, refused)
        if state is not None and state.status is Status.COMPLETED:
            return await self._tell(claim, state)
        return await self._failed(claim)

    async def _send(self, claim: Claim) -> bool:
        """Whether it went: not when its call was paused since it was chosen."""
        before = claim.job
        wav = await asyncio.to_thread(claim.audio)
        await self._remember(claim, sending=True, sent=before.sent + 1)
        if before.head.leg.call in self._paused():
            await self._remember(claim, sending=False, sent=before.sent)
            return False
        try:
            name = await self._client.send(wav)
        except (Refused, Unreachable):
            await self._remember(claim, sending=False, sent=before.sent)
            raise
        self.counters.sent += 1
        self._tries, self._told = 0, ""
        await self._remember(claim, sending=False, transcribe_id=name)
        return True

    async def _result(self, claim: Claim) -> State | None:
        """What became of the job; None when RTZR does not know it, or takes too long."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._pauses.result_s
        while loop.time() < ends:
            pause = self._poll_s
            try:
                state = await self._client.look(claim.job.transcribe_id)
                self._tries, self._told = 0, ""
                if state.status is not Status.TRANSCRIBING:
                    return state
            except Unreachable as error:
                pause = self._back_off(str(error))
            except Refused as refused:
                if refused.status in _UNKNOWN:
                    return None
                pause = self._wait_out(refused)
            await asyncio.sleep(pause)
        return None

    async def _tell(self, claim: Claim, state: State) -> float:
        """Publish first, delete then: killed in between, the same ids come once more. Seconds to pause."""
        told = [utterance for utterance in state.utterances if utterance.text.strip()]
        for number, utterance in enumerate(told):
            self._publish(late_event(claim.job, number, utterance, self._unix()))
        if self._written is not None and not await self._written():
            _log.error("late transcripts not written; job is kept", leg=str(claim.job.head.leg))
            return self._pauses.longest_s
        self.counters.utterances += len(told)
        self.counters.done += 1
        ms = claim.job.end_ms - claim.job.start_ms
        _log.info("late transcripts", leg=str(claim.job.head.leg), utterances=len(told), ms=ms)
        await self._end(claim, claim.done)
        return 0.0

    async def _failed(self, claim: Claim) -> float:
        """Once more, then no more."""
        failed, pause = claim.job.failed + 1, self._pauses.longest_s
        if failed >= MOST_FAILED:
            await self._put_aside(claim, "RTZR could not transcribe it")
            return 0.0
        again = self._unix() + pause
        known = await self._remember(claim, transcribe_id="", failed=failed, not_before=again)
        return 0.0 if known else pause

    async def _doubt(self, claim: Claim, reason: str) -> float:
        if claim.job.sent >= MOST_SENT:
            await self._put_aside(claim, reason)
            return 0.0
        self.counters.resent += 1
        pause = self._pauses.doubt_s
        _log.warning("answer lost; file will be sent again", reason=reason, in_s=pause)
        again = self._unix() + pause
        # Where it cannot be written down, this job is all that we think of until its time has come.
        return 0.0 if await self._remember(claim, sending=False, not_before=again) else pause

    async def _refused(self, claim: Claim, refused: Refused) -> float:
        if refused.status in _OF_THIS_FILE:
            await self._put_aside(claim, str(refused))
            return 0.0
        return self._wait_out(refused)

    def _wait_out(self, refused: Refused) -> float:
        """Seconds to wait after a refusal that is about all files."""
        if refused.verdict is Verdict.WAIT and refused.code != "A0001":
            return self._back_off(str(refused))
        self.counters.refused += 1
        if self._told != str(refused):
            _log.error("files refused", reason=str(refused), retry_s=self._pauses.spent_s)
        self._told = str(refused)
        return self._pauses.spent_s

    def _back_off(self, reason: str) -> float:
        """1, 2, 4 s, ...: there is one of us, so nobody comes back together with us."""
        pause = min(self._pauses.longest_s, self._pauses.first_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        self.counters.refused += 1
        if self._told != reason:
            _log.warning("files wait", reason=reason)
        self._told = reason
        return pause

    async def _put_aside(self, claim: Claim, reason: str) -> None:
        self.counters.put_aside += 1
        _log.error("file given up; its audio is kept in failed/", job=claim.job.id, reason=reason)
        await self._end(claim, claim.put_aside)

    async def _end(self, claim: Claim, last: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(last)
        except OSError as error:
            if not self._troubled:
                _log.error("job not deleted", reason=error.strerror or str(error))
            self._troubled = True
            self._stuck.append((claim, last))
        else:
            self._troubled = False
            claim.release()

    async def _remember(self, claim: Claim, **changed: Any) -> bool:
        """Whether it could be written down; this process knows it in any case."""
        try:
            await asyncio.to_thread(claim.remember, claim.job.change(**changed))
        except OSError as error:
            _log.warning("job not written", reason=error.strerror or str(error))
            return False
        return True


def _unknown(rule: str | None) -> str:
    if rule is None:
        return "its job.json says no rule, and rules name sinks: who may be told is not known"
    return f"its rule {rule} is not in the YAML any more: who may be told is not known"


def _let_go(looking: asyncio.Task[Claim | None]) -> None:
    if not looking.cancelled() and looking.exception() is None and (claim := looking.result()) is not None:
        claim.release()
