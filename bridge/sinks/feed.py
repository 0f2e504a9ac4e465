"""The live feed: every event at once to whoever reads now, and what was missed to who comes back.

Who wants what, and what a reader may be behind; sockets and HTTP are `bridge.admin.feed`'s. Nobody is waited
for: a reader that is too slow is dropped and counted, and may come back and go on where it stopped.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

from bridge import metrics
from bridge.outbox.stored import Page, Stored
from bridge.sinks.queued import QueuedSink
from bridge.types import CallId, Event
from bridge.wire.eventjson import encoded
from bridge.wire.recent import Recent

PARTIAL = "rtzr.transcript.partial"
MISSED = "rtzr.feed.missed"
"""The one event that is the feed's own: what lay between `after` and the next event is not known any more."""

_BEHIND = 1000
"""Events that may wait for one reader."""
_AT_ONCE = 100
"""Events after which the readers have their turn."""
_KEPT = 5000
_NAMES = 50_000
_PAGE = 200
_ENDED = 10_000
"""How many calls are still known by their rule when they are over: what was spooled comes late."""


class Past(Protocol):
    """The part of the outbox that is needed for those who come back."""

    async def since(self, event_id: str, most: int, concerns: Callable[[str], bool]) -> Page | None:
        """The first `most` events after the one of this id; None where it is not known. `concerns`: whether
        calls of this rule would be shown."""
        ...

    async def rules(self, calls: Collection[CallId]) -> Mapping[CallId, str]:
        """Of those of `calls` that are known, the rule that chose each, "" where none did."""
        ...

    def on_blank(self, told: Callable[[Collection[str]], None]) -> None:
        """Whom to tell the ids of events that were dropped."""
        ...


class Full(Exception):
    """There are as many readers as there may be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asked for: of each kind that is not empty, one has to fit."""

    calls: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    parties: frozenset[str] = frozenset()
    """Roles and numbers. What is about a whole call has no party, and does not fit any."""

    def fits(self, item: "Item") -> bool:
        return (
            (not self.calls or item.event.subject in self.calls)
            and (not self.rules or item.rule in self.rules)
            and (not self.parties or not self.parties.isdisjoint(_parties(item.event)))
        )


class Item:
    """An event with the rule of its call, written out once and only if somebody wants it."""

    __slots__ = ("_text", "dropped", "event", "rule")

    def __init__(self, event: Event, rule: str, text: str = "", *, dropped: bool = False) -> None:
        self.event = event
        self.rule = rule
        self.dropped = dropped
        """It is there no more, but for its place."""
        self._text = text

    def blank(self) -> "Item":
        """Where it was."""
        return Item(replace(self.event, data={}), self.rule, dropped=True)

    @property
    def resumable(self) -> bool:
        """Whether who comes back may name it: a partial is replaced soon, and kept nowhere."""
        return self.event.type not in (PARTIAL, MISSED)

    @property
    def text(self) -> str:
        """The CloudEvents JSON object, on one line. Raises as `bridge.wire.eventjson.encoded`."""
        if not self._text:
            self._text = encoded(self.event).decode()
        return self._text


class Reader:
    """What waits for one who reads."""

    def __init__(self, wanted: Wanted, behind: int, after: str = "") -> None:
        self.wanted = wanted
        self.after = after
        self._slow = asyncio.Event()
        self._behind = behind
        self._waiting: deque[Item] = deque()
        self._changed = asyncio.Event()
        self._live = not after
        self._over = False

    @property
    def too_slow(self) -> bool:
        """Whether it was dropped."""
        return self._slow.is_set()

    async def slow(self) -> None:
        """Waits until it is dropped."""
        await self._slow.wait()

    def begin(self) -> None:
        """It has had what it missed: from now on it is given what comes."""
        self._live = True

    def offer(self, item: Item) -> bool:
        """Whether it can bear this: False where it is too far behind."""
        if not self._live or self.too_slow or not self.wanted.fits(item):
            return True
        if len(self._waiting) >= self._behind:
            return False
        self._waiting.append(item)
        self._changed.set()
        return True

    def drop(self) -> None:
        """It gets nothing more, and not what waits either."""
        self._waiting.clear()
        self._slow.set()

    def end(self) -> None:
        """Nothing follows what waits."""
        self._over = True
        self._changed.set()

    async def next(self) -> Item | None:
        """The next one; None when there is no more. One that is too slow waits for ever."""
        while not self._waiting:
            if self._over:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    def more(self, most: int) -> list[Item]:
        """What waits behind the one that was had last, at once."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class FeedSink(QueuedSink):
    """Gives every event to every reader that wants it."""

    def __init__(
        self,
        past: Past | None = None,
        *,
        hidden: frozenset[str] = frozenset(),
        forgotten: frozenset[str] = frozenset(),
        behind: int = _BEHIND,
        kept: int = _KEPT,
        most: int = 100,
    ) -> None:
        """`past`: where those come from that are not kept in memory. `hidden`: rules whose calls are not for
        the feed, though the past has them. `forgotten`: rules whose calls are, and which the past has not.
        `behind`: events that may wait for a reader, of which there are
        `most`."""
        super().__init__()
        self._past = past
        self._hidden = hidden
        self._forgotten = forgotten
        self._behind = behind
        self._most = most
        self._recent: Recent[Item] = Recent(kept, _NAMES)
        self._rules = _Rules()
        self.position = f"feed/{uuid4()}"
        """The id after which nothing that is kept was said; before the first event, this process's own."""
        self._recent.mark(self.position)
        self._readers: set[Reader] = set()
        self._ended = False
        self.slow = 0
        """Readers that were dropped."""
        if past is not None:
            past.on_blank(self.blank)

    def adopt(self, hidden: frozenset[str], forgotten: frozenset[str]) -> None:
        """Other rules: for what is told again from now on."""
        self._hidden, self._forgotten = hidden, forgotten

    @property
    def readers(self) -> int:
        return len(self._readers)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self._ended = True
            for reader in self._readers:
                reader.end()

    async def put(self, events: Sequence[Event]) -> bool:
        for number, event in enumerate(events, 1):
            item = Item(event, self._rules.of(event))
            if event.type == PARTIAL:
                self._recent.mark(event.id)
            else:
                self._recent.keep(event.id, item)
                self.position = event.id
            for reader in self._readers:
                if not reader.offer(item):
                    self.drop(reader)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # a burst makes nobody slow who reads
        return True

    def drop(self, reader: Reader) -> None:
        """It is too slow: whoever reads for it is told by `slow`."""
        if not reader.too_slow:
            reader.drop()
            self.slow += 1
            metrics.FEED_DROPPED.inc()

    def blank(self, ids: Collection[str]) -> None:
        """A person dropped these: who comes back is told that something is missing, and not what."""
        self._recent.change(lambda item: item.blank() if item.event.id in ids else item)

    @contextmanager
    def reading(self, wanted: Wanted, after: str = "") -> Iterator[Reader]:
        """A place among the readers, for `follow`. Raises Full.

        It gets what is said from now on, or since the event of the id `after`.
        """
        if len(self._readers) >= self._most:
            raise Full
        reader = Reader(wanted, self._behind, after)
        if self._ended:
            reader.end()
        self._readers.add(reader)
        metrics.FEED_READERS.set(len(self._readers))
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            metrics.FEED_READERS.set(len(self._readers))

    async def follow(self, reader: Reader) -> AsyncGenerator[Item]:
        """What it gets, until the end; after a long absence a MISSED where something may be missing."""
        if reader.after:
            async for item in self._again(reader, reader.after):
                if self._written(item):
                    yield item
            reader.begin()
        while (one := await reader.next()) is not None:
            if self._written(one):
                yield one

    def _written(self, item: Item) -> bool:
        try:
            return bool(item.text)
        except Exception:
            self.no_json(item.event)
            return False

    async def _again(self, reader: Reader, after: str) -> AsyncGenerator[Item]:
        """What `reader` missed; when this is at its end, nothing was said that it has not been given."""
        kept, last = self._recent.after(after), after
        known = kept is not None or self._forgotten.isdisjoint(reader.wanted.rules or self._forgotten)
        while kept is None and self._past is not None:
            found = await self._past.since(last, _PAGE, self._shown_to(reader))
            known &= found is not None and not found.gap
            page = () if found is None else found.events
            if not page:
                kept = self._recent.after(last)  # it may have come there only now
                known &= kept is not None or self._recent.whole
                break
            rules = await self._past.rules({stored.call for stored in page})
            for stored in page:
                rule = rules.get(stored.call)
                if not stored.body:
                    known = False  # somebody dropped it
                elif rule is None and (self._hidden or reader.wanted.rules):
                    known = False  # better one transcript less than one for the wrong eyes, and that is told
                elif rule not in self._hidden and reader.wanted.fits(item := _stored(stored, rule or "")):
                    yield item
            last = page[-1].id
            kept = self._since_any_of(page)
        if not known or (kept is None and self._past is None):
            yield _missed(after)
            kept = self._recent.after(last)  # as it is now: the reader took its time
        async for item in self._kept(reader, self._recent.all() if kept is None else kept):
            yield item

    def _shown_to(self, reader: Reader) -> Callable[[str], bool]:
        wanted = reader.wanted.rules
        return lambda rule: rule not in self._hidden and (not wanted or rule in wanted)

    def _since_any_of(self, page: Sequence[Stored]) -> Sequence[Item] | None:
        """What is in memory since the latest of `page` that is there; the past has more than the feed."""
        found = (self._recent.after(stored.id) for stored in reversed(page))
        return next((kept for kept in found if kept is not None), None)

    async def _kept(self, reader: Reader, kept: Sequence[Item]) -> AsyncGenerator[Item]:
        """From memory, and what came there in the meantime, to the last."""
        told = False
        while kept:
            for item in kept:
                if item.dropped and not told:
                    told = True
                    yield _missed(reader.after)
                elif not item.dropped and reader.wanted.fits(item):
                    yield item
            last = kept[-1].event.id
            later = self._recent.after(last)
            if later is None:
                yield _missed(last)
                later = self._recent.all()
            kept = later


class _Rules:
    """Which rule chose a call, as its first event says it."""

    def __init__(self) -> None:
        self._live: dict[CallId, str] = {}
        self._ended: dict[CallId, str] = {}

    def of(self, event: Event) -> str:
        """The rule of its call, "" where none chose it or nobody knows."""
        if event.rule is not None:
            return event.rule
        call = event.subject
        if event.type == "rtzr.call.started" and event.data.get("rule"):
            self._live[call] = event.data["rule"]
        rule = self._live.get(call) or self._ended.get(call, "")
        if event.type == "rtzr.call.ended" and call in self._live:
            self._ended[call] = self._live.pop(call)
            if len(self._ended) > _ENDED:
                del self._ended[next(iter(self._ended))]
        return rule


def _stored(stored: Stored, rule: str) -> Item:
    event = Event(stored.id, stored.type, stored.call, "", _data(stored.body))
    return Item(event, rule, stored.body.decode())


def _data(body: bytes) -> dict[str, Any]:
    data = json.loads(body).get("data")
    return data if isinstance(data, dict) else {}


def _parties(event: Event) -> tuple[str, ...]:
    party = event.data.get("party")
    return (str(party["role"]), str(party.get("number", ""))) if isinstance(party, dict) else ()


def _missed(after: str) -> Item:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Item(Event(f"{after}/missed", MISSED, "feed", now, {"after": after}), "")
