"""The book of calls: those that live, and the last that ended, each with its legs and what happened in it.

It is told, and answers; no task, no clock and no socket here: what time it is, is an argument. Everything in
it is bounded, and what is dropped is counted.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bridge.logs import masked
from bridge.types import CallId, Event
from bridge.wire.fates import MISSED
from bridge.wire.watched import LegSnapshot, LegState, Note, NoteKind

MOST_NOTES = 500
"""Of a call; the oldest go."""
MOST_LEGS = 50
"""Of a call; of those that ended, the ones that said nothing go first: a queue rings its members again and
again. Whoever lives is kept."""
_MOST_ENDED = 500
MOST_LIVE = 5000
_MOST_NOTES_OF_ENDED = 50_000
_FAR_BACK = 10
"""Notes among which a leg's last one is looked for: those of the call's other legs stand between."""


@dataclass(slots=True)
class WatchedLeg:
    """A leg as it was last known."""

    leg: str
    role: str = ""
    number: str = field(default="", repr=False)
    """Masked."""
    name: str = field(default="", repr=False)
    mode: str = ""
    state: LegState = LegState.WAITING
    level_db: float | None = None
    latency_ms: int | None = None
    arrived_ms: int = 0
    sent_ms: int = 0
    lost_ms: int = 0
    paused_ms: int = 0
    sessions: int = 0
    packets: dict[str, int] = field(default_factory=dict)
    last: str = field(default="", repr=False)
    partial: str = field(default="", repr=False)


@dataclass(slots=True)
class WatchedCall:
    """A call, and what is known of it."""

    id: CallId
    rule: str
    started_s: float
    """Unix seconds at which its first channel was created."""
    ended_ms: int | None = None
    """Its age at its end."""
    verdict: str = ""
    reasons: list[str] = field(default_factory=list)
    paused: bool = False
    cost: dict[str, float] | None = None
    legs: dict[str, WatchedLeg] = field(default_factory=dict)
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=MOST_NOTES))
    notes_dropped: int = 0
    legs_dropped: int = 0

    @property
    def live(self) -> bool:
        return self.ended_ms is None

    def at_ms(self, unix_s: float) -> int:
        """Call time."""
        return round((unix_s - self.started_s) * 1000)

    def add(self, note: Note) -> None:
        if len(self.notes) == MOST_NOTES:
            self.notes_dropped += 1
        self.notes.append(note)

    def drop_leg(self) -> WatchedLeg | None:
        """One that ended makes room for another; None if there is room, or all live."""
        if len(self.legs) < MOST_LEGS:
            return None
        ended = [leg for leg in self.legs.values() if leg.state is LegState.ENDED]
        gone = next((leg for leg in ended if not leg.last), next(iter(ended), None))
        if gone is not None:
            del self.legs[gone.leg]
            self.legs_dropped += 1
        return gone

    def take_back(self, leg: str | None, what: str, **data: object) -> Note | None:
        """The leg's last note, if it says this with such data: something is to be added to it."""
        for back in range(1, min(len(self.notes), _FAR_BACK) + 1):
            note = self.notes[-back]
            if note.leg == leg:
                same = note.what == what and all(note.data.get(key) == value for key, value in data.items())
                if same:
                    del self.notes[-back]
                return note if same else None
        return None


class Several(ValueError):
    """More than one call begins so; the message names them."""


class Book:
    """All calls by id."""

    def __init__(self) -> None:
        self._live: dict[CallId, WatchedCall] = {}
        self._ended: dict[CallId, WatchedCall] = {}
        self.day = ""
        """ISO date, the administrator's zone."""
        self.won = 0.0
        self._lost_ms = 0
        self.unknown = 0
        """Notes of calls that are not in the book."""

    def __iter__(self) -> Iterator[WatchedCall]:
        """Those that live, the oldest first; then those that ended, the last first."""
        yield from self._live.values()
        yield from reversed(self._ended.values())

    @property
    def live(self) -> list[WatchedCall]:
        return list(self._live.values())

    @property
    def legs(self) -> int:
        """That live."""
        return sum(leg.state is not LegState.ENDED for call in self.live for leg in call.legs.values())

    @property
    def lost_ms(self) -> int:
        """Lost since midnight, in the calls that live and in those that ended."""
        return self._lost_ms + sum(leg.lost_ms for call in self.live for leg in call.legs.values())

    def get(self, call: CallId) -> WatchedCall | None:
        return self._live.get(call) or self._ended.get(call)

    def find(self, beginning: str) -> WatchedCall | None:
        """The call whose id, or a leg's of it, is this, or begins so. Raises Several."""
        if (call := self.get(beginning)) is not None:
            return call
        found = [call for call in self if _begins(call, beginning)]
        if len(found) > 1:
            exact = [call for call in found if beginning in call.legs]
            if len(exact) != 1:
                raise Several(", ".join(call.id for call in found[:5]))
            found = exact
        return found[0] if found else None

    def turn(self, day: str) -> None:
        """It is this day now (ISO date): what is counted by the day begins anew with it."""
        if day != self.day:
            self.day, self.won, self._lost_ms = day, 0.0, 0

    # Being told.

    def take(self, event: Event) -> None:
        """An event of the daemon's, in order."""
        match event.type:
            case "rtzr.call.started":
                self._begin(event)
            case "rtzr.call.refused":
                self._begin(event)
                reason = str(event.data["reason"])
                self.note(
                    Note(event.subject, None, event.data["at_ms"], NoteKind.ORDER, f"refused: {reason}")
                )
                self._end(event.subject, event.data["at_ms"], "partial", [f"refused: {reason}"], None)
            case "rtzr.call.merged":
                into = event.data["into"]
                self.note(
                    Note(event.subject, None, event.data["at_ms"], NoteKind.PBX, "merged", {"into": into})
                )
            case "rtzr.call.paused" | "rtzr.call.resumed":
                what = event.type.removeprefix("rtzr.call.")
                told: dict[str, Any] = {"paused": what == "paused"}
                told |= {key: event.data[key] for key in ("by", "who")}
                self.note(Note(event.subject, None, event.data["at_ms"], NoteKind.ORDER, what, told))
            case "rtzr.call.ended":
                self._call_ended(event)
            case _:
                if (call := self.get(event.subject)) is not None and "leg" in event.data:
                    self._tell_leg(call, event)

    def note(self, note: Note) -> None:
        """An order that says whether the call is paused from now on is believed."""
        call = self.get(note.call)
        if call is None:
            self.unknown += 1
            return
        if note.what == "packets in all" and note.leg in call.legs:
            call.legs[note.leg].packets = dict(note.data)
        if note.kind is NoteKind.ORDER and "paused" in note.data:
            call.paused = bool(note.data["paused"])
        if note.what == "no session":
            note = _with_tries_before(call, note)
        call.add(note)

    def stand(self, snapshots: Iterable[LegSnapshot], unix_s: float) -> None:
        """How legs stand now."""
        for one in snapshots:
            call = self._live.get(one.leg.call)
            leg = None if call is None else call.legs.get(str(one.leg))
            if call is not None and leg is not None and leg.state is not LegState.ENDED:
                _note_packets(call, leg, one, call.at_ms(unix_s))
                _stand(leg, one)

    def _begin(self, event: Event) -> None:
        began_s = _unix(event) - event.data["at_ms"] / 1000
        self._ended.pop(event.subject, None)
        self._live[event.subject] = WatchedCall(event.subject, str(event.data.get("rule", "")), began_s)
        if len(self._live) > MOST_LIVE:  # the end of some was never told
            oldest = next(iter(self._live.values()))
            self._end(oldest.id, oldest.at_ms(_unix(event)), "", ["its end was not told"], None)

    def _call_ended(self, event: Event) -> None:
        data = event.data
        self.won += data["cost"]["won"]
        self._end(event.subject, data["at_ms"], data["verdict"], list(data["reasons"]), data["cost"])

    def _end(
        self, id_: CallId, at_ms: int, verdict: str, reasons: list[str], cost: dict[str, float] | None
    ) -> None:
        call = self._live.pop(id_, None)
        if call is None:
            return
        self._lost_ms += sum(leg.lost_ms for leg in call.legs.values())
        call.ended_ms, call.verdict, call.cost = at_ms, verdict, cost
        call.reasons, call.paused = list(dict.fromkeys(reasons)), False
        for leg in call.legs.values():
            leg.state, leg.partial, leg.level_db = LegState.ENDED, "", None
        self._ended[id_] = call
        kept = sum(len(one.notes) for one in self._ended.values())
        while len(self._ended) > _MOST_ENDED or kept > _MOST_NOTES_OF_ENDED:
            kept -= len(self._ended.pop(next(iter(self._ended))).notes)

    def _tell_leg(self, call: WatchedCall, event: Event) -> None:
        data, id_ = event.data, str(event.data["leg"])
        leg = call.legs.get(id_)
        if leg is None:
            if (gone := call.drop_leg()) is not None and call.live:
                self._lost_ms += gone.lost_ms
            state = LegState.ENDED if data.get("late") else LegState.WAITING
            leg = call.legs[id_] = WatchedLeg(id_, state=state)
        party = data["party"]
        leg.role, leg.name = str(party["role"]), str(party.get("name", ""))
        leg.number = masked(party["number"]) if party.get("number") else ""
        match event.type:
            case "rtzr.leg.started":
                leg.state = LegState.WAITING
                call.add(_of(event, call.at_ms(_unix(event)), NoteKind.PBX, "heard from now on", {}))
            case "rtzr.transcript.partial":
                leg.partial = data["text"]
            case "rtzr.transcript.final":
                _final(call, leg, event)
            case "rtzr.gap":
                said = {key: data[key] for key in ("start_ms", "end_ms", "ms", "reason", "spooled")}
                call.add(_of(event, data["start_ms"], NoteKind.GAP, "audio lost", said))
            case "rtzr.leg.ended":
                _leg_ended(call, leg, event)


def _final(call: WatchedCall, leg: WatchedLeg, event: Event) -> None:
    data = event.data
    said = {key: data[key] for key in ("text", "start_ms", "end_ms", "latency_ms")}
    if data.get("late"):  # an older word, which came by the disk: it is not what is being said
        said["late"] = True
    else:
        leg.partial, leg.last, leg.latency_ms = "", data["text"], data["latency_ms"]
    call.add(_of(event, data["start_ms"], NoteKind.UTTERANCE, "said", said))


def _leg_ended(call: WatchedCall, leg: WatchedLeg, event: Event) -> None:
    data, ledger = event.data, event.data["ledger"]
    leg.state, leg.partial, leg.level_db = LegState.ENDED, "", None
    if ledger["arrived_ms"] or not leg.arrived_ms:  # that of a lost process knows nothing
        leg.arrived_ms, leg.sent_ms = ledger["arrived_ms"], ledger["sent_first_ms"]
        leg.lost_ms, leg.paused_ms, leg.sessions = (
            ledger[key] for key in ("lost_ms", "paused_ms", "sessions")
        )
    said: dict[str, Any] = {"cause": data["cause"], "verdict": data["verdict"], "reasons": data["reasons"]}
    if data.get("refusal"):
        said["refusal"] = data["refusal"]
    at_ms = call.at_ms(_unix(event))
    call.add(_of(event, at_ms, NoteKind.PBX, "leg over", said | {"ledger": ledger}))


def _of(event: Event, at_ms: int, kind: NoteKind, what: str, data: dict[str, Any]) -> Note:
    return Note(event.subject, str(event.data["leg"]), at_ms, kind, what, data)


def _stand(leg: WatchedLeg, now: LegSnapshot) -> None:
    leg.state, leg.mode, leg.level_db = now.state, now.mode, now.level_db
    leg.arrived_ms, leg.sent_ms, leg.lost_ms = now.arrived_ms, now.sent_ms, now.lost_ms
    leg.paused_ms, leg.sessions = now.paused_ms, now.sessions
    if now.packets:  # none while there is no inlet
        leg.packets = dict(now.packets)


def _note_packets(call: WatchedCall, leg: WatchedLeg, now: LegSnapshot, at_ms: int) -> None:
    """What was lost on the way since the last snapshot; one note, until something else happens to it."""
    anew = now.packets.get("received", 0) < leg.packets.get("received", 0)  # another inlet
    counted = {} if anew else leg.packets
    grown = {fate: more for fate in MISSED if (more := now.packets.get(fate, 0) - counted.get(fate, 0)) > 0}
    if not grown:
        return
    if (last := call.take_back(leg.leg, "packets lost")) is not None:
        for fate, before in last.data.items():
            grown[fate] = grown.get(fate, 0) + before
        at_ms = last.at_ms
    call.add(Note(call.id, leg.leg, at_ms, NoteKind.PACKETS, "packets lost", grown))


def _with_tries_before(call: WatchedCall, note: Note) -> Note:
    """Tries in vain one after the other are one note: an outage of an hour has hundreds."""
    data = {**note.data, "tries": 1, "until_ms": note.at_ms}
    last = call.take_back(note.leg, note.what, reason=data.get("reason"))
    if last is None:
        return replace(note, data=data)
    data["tries"] += last.data["tries"]
    return replace(note, at_ms=last.at_ms, data=data)


def _begins(call: WatchedCall, beginning: str) -> bool:
    return call.id.startswith(beginning) or any(
        leg.startswith(beginning) or leg.removeprefix(f"{call.id}/").startswith(beginning)
        for leg in call.legs
    )


def _unix(event: Event) -> float:
    return datetime.fromisoformat(event.time).timestamp()
