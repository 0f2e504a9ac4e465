"""What of calls and events a page is shown. No HTTP: whole phone numbers stay here, and so does the text of
calls whose rule keeps it from the feed.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any

from bridge.page.watched import Told, Watched
from bridge.sinks.feed import PARTIAL
from bridge.types import Event

FINAL = "rtzr.transcript.final"
_FRESH_S = 0.5
"""What was worked out for one page is good for all others so long."""
_AT_ONCE = 50
"""So many calls are written out in one piece: the loop has audio to carry, too."""
_SETTLES = 10
"""A call that is over is written out so often; what comes later (out of the spool) is on its own page."""


def as_json(value: Any) -> str:
    """On one line, as a server-sent event has to be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def said(event: Event) -> str | None:
    """A transcript as the page wants it, None for any other event."""
    if event.type not in (PARTIAL, FINAL):
        return None
    data = event.data
    told = {name: data[name] for name in ("leg", "text", "start_ms", "end_ms", "latency_ms")}
    told |= {"id": event.id, "call": event.subject, "final": event.type == FINAL, "late": "late" in data}
    return as_json(told)


def latest(events: Iterable[Event]) -> list[Event]:
    """Without partials that are replaced by what their leg says after them."""
    kept: list[Event] = []
    replaced = set[str]()
    for event in reversed(list(events)):
        if event.type == PARTIAL and event.data["leg"] in replaced:
            continue
        if event.type in (PARTIAL, FINAL) and "late" not in event.data:
            replaced.add(event.data["leg"])
        kept.append(event)
    return kept[::-1]


class Sayings:
    """What `said` gives, made once for however many pages read it."""

    def __init__(self, most: int = 2000) -> None:
        self._most = most
        self._made: dict[int, tuple[Event, str | None]] = {}
        """By identity, which the event kept beside it keeps from being another's."""

    def of(self, event: Event) -> str | None:
        if (made := self._made.get(id(event))) is None:
            if len(self._made) >= self._most:
                del self._made[next(iter(self._made))]
            made = self._made[id(event)] = event, said(event)
        return made[1]


def without_text(call: Told) -> Told:
    """A copy in which nobody said anything."""
    legs = [{**leg, "last": "", "partial": ""} for leg in call.get("legs", ())]
    silent = {**call, "legs": legs, "hidden": True}
    if "timeline" in call:
        silent["timeline"] = [_without_text(entry) for entry in call["timeline"]]
    return silent


def _without_text(entry: Told) -> Told:
    data = {name: value for name, value in entry.get("data", {}).items() if name not in ("text", "words")}
    return {**entry, "data": data}


@dataclass(slots=True)
class _Written:
    text: str
    since: int
    """The version in which it became so."""
    endings: int = 0


class Pulse:
    """What changed among the calls, worked out once for however many pages ask."""

    def __init__(
        self, watched: Watched, hidden: Set[str] = frozenset(), *, clock: Callable[[], float]
    ) -> None:
        """`hidden`: rules whose calls are shown without text. `clock`: seconds."""
        self._watched = watched
        self._hidden = hidden
        self._clock = clock
        self._at = float("-inf")
        self._version = 0
        self._calls: dict[str, _Written] = {}
        self._live: list[str] = []
        self._status = "{}"
        self._working = asyncio.Lock()
        self.sayings = Sayings()

    def adopt(self, hidden: Set[str]) -> None:
        """Other rules: all calls are written out anew."""
        self._hidden = hidden
        self._calls.clear()
        self._at = float("-inf")

    def shown(self, call: Told) -> Told:
        """A call as a page may see it."""
        return without_text(call) if call["rule"] in self._hidden else call

    async def since(self, version: int) -> tuple[int, str]:
        """The version that is had with it, and `{"status", "live", "calls"}`: `live` are ids, `calls` those
        that are not as they were in `version`; 0: all."""
        async with self._working:
            if self._clock() - self._at >= _FRESH_S:
                await self._work_out()
        changed = ",".join(one.text for one in self._calls.values() if one.since > version)
        live = as_json(self._live)
        return self._version, f'{{"status":{self._status},"live":{live},"calls":[{changed}]}}'

    async def _work_out(self) -> None:
        self._at = self._clock()
        self._status = as_json(await self._watched.status())
        self._version += 1
        calls = {str(call["id"]): call for call in self._watched.calls()}
        self._live = [name for name, call in calls.items() if call["state"] == "live"]
        for name in self._calls.keys() - calls.keys():
            del self._calls[name]
        for number, (name, call) in enumerate(calls.items(), 1):
            self._write(name, call)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _write(self, name: str, call: Told) -> None:
        before = self._calls.get(name)
        endings = 0 if call["state"] == "live" else 1 + (before.endings if before else 0)
        if before is not None and endings > _SETTLES:
            return
        text = as_json(self.shown(call))
        if before is None or before.text != text:
            self._calls[name] = _Written(text, self._version, endings)
        else:
            before.endings = endings
