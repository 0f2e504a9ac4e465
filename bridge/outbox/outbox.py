"""The outbox: events are on the disk before they count as delivered, and wait there for each endpoint.

Nobody who asks here is held up by another or, but for a person who drops, gets an exception: what the disk
refuses is told once and shows in `degraded`, and calls go on. What the thread does is in
`bridge.outbox.writer`, the statements are `bridge.outbox.file`'s, and who sends what waits is
`bridge.delivery.delivering`.
"""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bridge.outbox.counters import OutboxCounters
from bridge.outbox.file import NewEvent, OutboxFile, Rules
from bridge.outbox.stored import Page, Stored
from bridge.outbox.writer import Job, OutboxSettings, OutboxWriter
from bridge.types import CallId, Event
from bridge.wire.eventjson import clean, encoded
from bridge.wording import counted

__all__ = ["Backlog", "NotDropped", "Outbox", "OutboxCounters", "OutboxSettings", "as_new"]

_log = structlog.get_logger()

_MOST_JOBS = 256
"""In one commit."""
_MOST_LIVE = 10_000

_Asked = tuple[Job, "asyncio.Future[Any]"]
_Wishes = tuple[Rules, frozenset[str]]
"""Who gets what, and the rules that are left out."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for an endpoint."""

    waiting: int
    since: float | None
    """Unix seconds at which the oldest of it was written; None if nothing waits."""
    error: str
    """How the last try to send failed; "" if it did not."""


class NotDropped(Exception):
    """Nothing was dropped; the text says why, for a person."""


class Outbox:
    """`open` it before the first event, `close` it after the last send."""

    def __init__(
        self,
        path: Path,
        settings: OutboxSettings,
        *,
        unix: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`unix`: the wall clock, which may be set at any time; `clock`: seconds that never go back."""
        self.settings = settings
        self._unix = unix
        self.counters = OutboxCounters()
        self._writer = OutboxWriter(path, settings, self.counters, unix=unix, clock=clock)
        self._rules: Rules = {}
        self._left_out: frozenset[str] = frozenset()
        self._live: dict[CallId, None] = {}
        self._former: dict[CallId, _Wishes] = {}
        """What holds for calls that were live when it was changed."""
        self._errors: dict[str, str] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._told_blank: Callable[[Collection[str]], None] = lambda _: None
        self._unwritten: Callable[[], int] = lambda: 0
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def degraded(self) -> str:
        """Why not all is well; "" if it is."""
        why = self._writer.degraded
        waiting = self._unwritten() if why else 0
        return f"{why}; {counted(waiting, 'event waits', 'events wait')} in memory" if waiting else why

    def fed_by(self, unwritten: Callable[[], int]) -> None:
        """How many events wait elsewhere for the disk to take them: told in `degraded`."""
        self._unwritten = unwritten

    def on_blank(self, told: Callable[[Collection[str]], None]) -> None:
        """Whom to tell the ids of what a person dropped, whose text is to be nowhere any more."""
        self._told_blank = told

    @property
    def misplaced(self) -> str:
        """Why the file was not to be had when it was opened, where a person has to mend that; else "". To be
        told by who opens: no log has it."""
        return self._writer.misplaced

    async def open(self) -> None:
        """Begin; what a former process left waits as it did. Never raises: see `degraded`."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, args=(loop,), name="outbox", daemon=True)
        self._thread.start()
        await self._ask(Job(lambda _: None, None, writes=True))

    async def close(self) -> None:
        """End, once all that was asked before is done."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._asked.put(None)
            await asyncio.to_thread(thread.join)

    def endpoints(self, names: Mapping[str, frozenset[str] | None]) -> None:
        """Who gets what is added from now on: endpoint -> the rules it is for, None for every call's.

        What waits for others stays, until it is dropped or too old.
        """
        self._rules = {
            name: None if rules is None else frozenset(map(clean, rules)) for name, rules in names.items()
        }

    def leave_out(self, rules: frozenset[str]) -> None:
        """Nothing of the calls of these rules is kept from now on, but which rule chose each: what comes of
        it after a restart is known by that."""
        self._left_out = frozenset(map(clean, rules))

    def adopt(self, names: Mapping[str, frozenset[str] | None], left_out: frozenset[str]) -> None:
        """As `endpoints` and `leave_out`, for calls that begin from now on: those that are live, as far as
        they were added, keep what they began with."""
        before = self._rules, self._left_out
        self._former = {call: self._former.get(call, before) for call in self._live}
        self.endpoints(names)
        self.leave_out(left_out)

    def news(self, endpoint: str) -> asyncio.Event:
        """Set when something was added for an endpoint; to be cleared by whoever waits for it."""
        return self._news.setdefault(endpoint, asyncio.Event())

    def note(self, endpoint: str, error: str) -> None:
        """How the last try to send failed, "" when it did not: for `counts`."""
        self._errors[endpoint] = error

    async def add(self, events: Sequence[Event]) -> bool:
        """Whether the events are on the disk now, in this order; if not, they may be added again.

        One that cannot be stored, whatever the disk has to say, is told, counted and left out.
        """
        at, parts = self._unix(), self._by_wishes(events)

        def write(file: OutboxFile) -> Counter[str]:
            got = Counter[str]()
            for (rules, left_out), part in parts:
                news = [new for event in part if (new := self._new(event)) is not None]
                file.unstored += len(part) - len(news)
                got.update(file.add(file.without(left_out, news) if left_out else news, rules, at))
            return got

        got: Counter[str] | None = await self._ask(Job(write, None, writes=True))
        if got is None:
            return False
        self._follow(events)
        for name, number in got.items():
            if number:
                self.news(name).set()
        return True

    def _by_wishes(self, events: Sequence[Event]) -> list[tuple[_Wishes, list[Event]]]:
        """The events in order, in pieces for which the same holds: one piece, but after a reload."""
        now, former = (self._rules, self._left_out), self._former
        if not former:
            return [(now, list(events))]
        pieces: list[tuple[_Wishes, list[Event]]] = []
        for event in events:
            wishes = former.get(event.subject, now)
            if not pieces or pieces[-1][0] is not wishes:
                pieces.append((wishes, []))
            pieces[-1][1].append(event)
        return pieces

    def _follow(self, events: Sequence[Event]) -> None:
        """Which calls are live."""
        for event in events:
            if event.type == "rtzr.call.started":
                self._live[event.subject] = None
                if len(self._live) > _MOST_LIVE:  # the end of some was dropped on its way here
                    del self._live[next(iter(self._live))]
            elif event.type == "rtzr.call.ended":
                self._live.pop(event.subject, None)
                self._former.pop(event.subject, None)

    def _new(self, event: Event) -> NewEvent | None:
        try:
            return as_new(event)
        except Exception:
            _log.exception("event is no json", type=event.type)
            return None

    async def waiting(self, endpoint: str, most: int, skip: frozenset[str] = frozenset()) -> list[Stored]:
        """What waits for an endpoint, the oldest first, without the calls in `skip`."""

        def read(file: OutboxFile) -> list[Stored]:
            return file.waiting(endpoint, most, skip, self._writer.owed(endpoint))

        found: list[Stored] = await self._ask(Job(read, []))
        return found

    async def done(self, endpoint: str, seqs: Sequence[int]) -> None:
        """The endpoint has these: they are not given out again while this process lives, nor after it once
        the disk took note."""
        self.counters.delivered += len(seqs)
        await self._ask(Job(lambda _: None, None, writes=True, delivered=(endpoint, tuple(seqs))))

    async def drop(self, endpoint: str, seqs: Sequence[int] | None = None) -> int:
        """The endpoint shall not have these (None: all that waits for it, and what nobody else waits for is
        erased). How many. Raises NotDropped where the disk refuses that: then all of it waits as before."""
        if seqs is None:
            done: tuple[int, list[str]] | None = await self._ask(
                Job(lambda file: file.drop(endpoint), None, writes=True)
            )
            if done is None:
                raise NotDropped(self.degraded or "the outbox is not open")
            dropped, blank = done
            if blank:
                self._told_blank(frozenset(blank))
        else:
            dropped = len(seqs)
            await self._ask(Job(lambda _: None, None, writes=True, delivered=(endpoint, tuple(seqs))))
        self.counters.given_up += dropped
        return dropped

    async def counts(self) -> dict[str, Backlog]:
        """What waits, by endpoint: all of `endpoints`, and those of former days for which something waits."""
        rows: list[tuple[str, int, float | None]] = await self._ask(Job(self._backlogs, []))
        found = {name: Backlog(0, None, self._errors.get(name, "")) for name in self._rules}
        for name, number, since in rows:
            if number or name in found:
                found[name] = Backlog(number, since, self._errors.get(name, ""))
        return found

    def _backlogs(self, file: OutboxFile) -> list[tuple[str, int, float | None]]:
        return file.backlogs({name: self._writer.owed(name) for name in self._writer.owing})

    async def of_call(self, call: CallId) -> dict[str, int]:
        """How many events of a call wait for each endpoint that has not had all. For a person's question: it
        reads all that waits."""

        def read(file: OutboxFile) -> dict[str, int]:
            owed = {name: self._writer.owed(name) for name in self._writer.owing}
            found = [name for name, seq in file.of_call(clean(call)) if seq not in owed.get(name, ())]
            return dict(Counter(found))

        waiting: dict[str, int] = await self._ask(Job(read, {}))
        return waiting

    async def since(
        self, event_id: str, most: int, concerns: Callable[[str], bool] = lambda _: True
    ) -> Page | None:
        """The first `most` events that were added after this one, delivered or not; None if it is not known.
        `concerns`: whether it is a gap that calls of this rule are not kept; called in another thread."""
        job = Job(lambda file: file.past.since(event_id, most, concerns), None)
        found: Page | None = await self._ask(job)
        return found

    async def rules(self, calls: Collection[CallId]) -> dict[CallId, str]:
        """Of those of `calls` that are known, the rule that chose each, "" where none did."""
        found: dict[CallId, str] = await self._ask(Job(lambda file: file.past.rules(calls), {}))
        return found

    async def _ask(self, job: Job) -> Any:
        """The job's answer; the one for what cannot be done, before `open` and after `close`."""
        if self._thread is None:
            return job.answer
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.put((job, future))
        return await future

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread."""
        goes_on = True
        while goes_on:
            asked, goes_on = self._take()
            self._writer.serve([job for job, _ in asked])
            if not goes_on:
                self._writer.close()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_answer, asked)

    def _take(self) -> tuple[list[_Asked], bool]:
        """All that was asked by now, and whether more follows; waits for the first of it."""
        asked: list[_Asked] = []
        with suppress(queue.Empty):
            one = self._asked.get(timeout=self._writer.due_s)
            while one is not None:
                asked.append(one)
                if len(asked) == _MOST_JOBS:
                    return asked, True
                one = self._asked.get_nowait()
            return asked, False
        return asked, True


def _answer(asked: Sequence[_Asked]) -> None:
    for job, future in asked:
        if not future.done():
            future.set_result(job.answer)


def as_new(event: Event) -> NewEvent:
    """An event as the file wants it. Raises TypeError, ValueError and RecursionError where it is no JSON."""
    rule = str(event.data.get("rule", "")) if event.type == "rtzr.call.started" else event.rule
    known = None if rule is None else clean(rule)
    return NewEvent(clean(event.id), clean(event.subject), clean(event.type), encoded(event), known)
