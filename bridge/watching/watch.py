"""Who watches the calls: a sink that writes into the book, and tells those who read along.

Nothing waits for it. What comes faster than it can be taken in, or than somebody reads it, is dropped and
counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from bridge.logs import masked
from bridge.onlookers import every_second
from bridge.sinks.queued import QueuedSink
from bridge.types import CallId, Event
from bridge.watching.book import MOST_LIVE, Book, WatchedCall
from bridge.watching.shown import call_json, timeline_json
from bridge.wire.watched import LegSnapshot, Note

_log = structlog.get_logger()

_MOST_NOTES = 10_000
_MOST_READERS = 50
_MOST_UNREAD = 2000
_OPENING = ("rtzr.call.started", "rtzr.leg.started")
_MOST_OPENING = 100
"""Beginnings of one call that are told to who comes later."""

Snapshots = Callable[[], Iterable[LegSnapshot]]


class Full(Exception):
    """So many read along already that no more are let in."""


class _Reader:
    """One who reads along; `dropped` counts what it was too slow for."""

    def __init__(self, call: CallId | None) -> None:
        self.call = call
        self.unread: deque[Event] = deque()
        self.changed = asyncio.Event()
        self.dropped = 0
        self.over = False

    def give(self, event: Event) -> None:
        if self.over or self.call not in (None, event.subject):
            return
        self.unread.append(event)
        if len(self.unread) > _MOST_UNREAD:
            self.unread.popleft()
            self.dropped += 1
        self.changed.set()
        if self.call is not None and event.type == "rtzr.call.ended":
            self.close()

    def close(self) -> None:
        self.over = True
        self.changed.set()


class Watch(QueuedSink):
    """`book` is up to date after `catch_up`."""

    for_every_call = True

    def __init__(self, unix: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._unix = unix
        self.book = Book()
        self._notes: deque[Note] = deque()
        self.notes_dropped = 0
        """Notes that came faster than they could be taken in."""
        self._readers: set[_Reader] = set()
        self._opening: dict[CallId, list[Event]] = {}

    def tell(self, note: Note) -> None:
        """Something happened in a call; never waits."""
        self._notes.append(note)
        if len(self._notes) > _MOST_NOTES:
            self._notes.popleft()
            self.notes_dropped += 1

    async def look(self, snapshots: Snapshots) -> None:
        """Once a second see how legs stand, until cancelled."""

        def see() -> None:
            self.catch_up()
            self.book.stand(snapshots(), self._unix())

        await every_second(see, "watch")

    def calls(self) -> list[dict[str, Any]]:
        """Each call's JSON, in the book's order."""
        self.catch_up()
        now_s = self._unix()
        return [call_json(call, now_s) for call in self.book]

    def find(self, beginning: str) -> WatchedCall | None:
        """As of `Book.find`, as far as is known by now. Raises Several."""
        self.catch_up()
        return self.book.find(beginning)

    def story(self, call: WatchedCall) -> dict[str, Any]:
        """Its JSON with all that happened in it."""
        return call_json(call, self._unix()) | timeline_json(call)

    def shown(self, id_: CallId) -> dict[str, Any]:
        """A call's JSON, as far as is known by now; empty if none of this id is."""
        self.catch_up()
        call = self.book.get(id_)
        return {} if call is None else call_json(call, self._unix())

    def catch_up(self) -> None:
        """Notes are taken in behind the events that came before: what they are about is known by then."""
        self._turn()
        self._take_notes()

    def _take_notes(self) -> None:
        while self._notes:
            self.book.note(self._notes.popleft())

    def _turn(self) -> None:
        self.book.turn(time.strftime("%Y-%m-%d", time.localtime(self._unix())))

    async def put(self, events: Sequence[Event]) -> bool:
        self._turn()
        for event in events:
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError):
                self.no_json(event)
        self._take_notes()
        return bool(events)

    def _take(self, event: Event) -> None:
        self.book.take(event)
        if event.type == "rtzr.call.ended":
            self._opening.pop(event.subject, None)
        elif event.type in _OPENING and self._known(event):
            opening = self._opening.setdefault(event.subject, [])
            if len(self._opening) > MOST_LIVE:  # the end of some was never told
                del self._opening[next(iter(self._opening))]
            if len(opening) < _MOST_OPENING:
                opening.append(hidden(event))
        if self._readers:
            told = hidden(event)
            for reader in self._readers:
                reader.give(told)

    def _known(self, event: Event) -> bool:
        call = self.book.get(event.subject)
        return call is not None and call.live

    def close(self) -> None:
        super().close()
        for reader in self._readers:
            reader.close()

    async def follow(self, call: WatchedCall | None = None) -> AsyncGenerator[Event, None]:
        """All events from now on, or those of one call until it ends; first, how what lives now began.
        Numbers of parties are masked. Raises Full."""
        if len(self._readers) >= _MOST_READERS:
            raise Full(f"{_MOST_READERS} read along already")
        reader = _Reader(None if call is None else call.id)
        for opening in tuple(self._opening.values()):
            for event in opening:
                reader.give(event)
        if self._closed or (call is not None and not call.live):
            reader.close()
        self._readers.add(reader)
        try:
            while reader.unread or not reader.over:
                if not reader.unread:
                    await reader.changed.wait()
                    reader.changed.clear()
                    continue
                yield reader.unread.popleft()
        finally:
            self._readers.discard(reader)
            if reader.dropped:
                _log.warning("somebody read too slowly", dropped=reader.dropped)


def hidden(event: Event) -> Event:
    """The same, with the number of its party masked."""
    party = event.data.get("party")
    if not isinstance(party, dict) or not party.get("number"):
        return event
    shown = {**party, "number": masked(party["number"])}
    return replace(event, data={**event.data, "party": shown})
