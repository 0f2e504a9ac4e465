"""What the switchboard keeps of a call and of a leg while they live. No decision here, and no task."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.calls.tap import Tap
from bridge.calls.visit import Visit
from bridge.leg.desk import Desk
from bridge.types import CallId, LegId, NewLeg, Party, Transport
from bridge.wire.causes import meaning
from bridge.wire.ledger import Ledger, LegReport
from bridge.wire.watched import Note, NoteKind, Tell, unheard


@dataclass(slots=True)
class Live:
    """A leg that is running."""

    new: NewLeg
    transport: Transport
    """By which its audio comes."""
    desk: Desk | None = None
    tap: Tap | Visit | None = None
    """Both are there while a process hears the leg."""
    answered_ms: float | None = None
    answered_s: float | None = None
    """When we were told, on the loop's clock."""
    prepared: bool = False
    mixes: bool = False
    """Another party's audio is in this leg's stream ..."""
    mixed: bool = False
    """... and this one's goes out in another's."""
    carries: LegId | None = None
    """Whose voice comes beside this party's, on the other channel of its tap ..."""
    carried: bool = False
    """... and this one's comes so, and needs no tap."""
    cause: str | None = None
    """Why it is to end, once it is."""
    tell: Tell = unheard
    """For who watches."""

    @property
    def leg(self) -> LegId:
        return self.new.leg

    def note(self, what: str, data: Mapping[str, Any] | None = None) -> None:
        """Tell who watches what the PBX has done to this leg."""
        at_ms = round((asyncio.get_running_loop().time() - self.new.origin_s) * 1000)
        self.tell(Note(self.leg.call, str(self.leg), at_ms, NoteKind.PBX, what, data or {}))

    def sit(self, desk: Desk, tap: Tap | Visit) -> None:
        """A desk is had."""
        self.desk, self.tap = desk, tap
        self.mixes = self.mixed = self.carried = False
        self.carries = None

    def catch_up(self) -> None:
        """The desk is told what has happened until now."""
        if self.prepared:
            self.prepare()
        if self.answered_ms is not None:
            self.answer(self.answered_ms)
        if self.cause is not None:
            self.end(self.cause)

    def leave(self) -> None:
        """The desk is gone."""
        self.desk = self.tap = None

    def could_speak_s(self) -> float:
        """For how many seconds the party could have spoken unheard; not of a leg of which that is said
        already."""
        if self.answered_s is None or self.new.flaws:
            return 0.0
        return asyncio.get_running_loop().time() - self.answered_s

    def prepare(self) -> None:
        self.prepared = True
        if self.desk is not None:
            self.desk.prepare()

    def know(self, party: Party) -> None:
        """Who speaks is known better now."""
        self.new = replace(self.new, party=party)
        if self.desk is not None:
            self.desk.know(party)

    def answer(self, at_ms: float) -> None:
        if self.answered_ms is None:
            self.answered_ms, self.answered_s = at_ms, asyncio.get_running_loop().time()
            self.note("answered", {"call_ms": round(at_ms)})
        if self.desk is not None:
            self.desk.answer(at_ms)
        if self.tap is not None and not self.carried:
            self.tap.begin()

    def end(self, cause: str) -> None:
        """The channel is gone; the end of the stream goes down behind the last packet."""
        if self.cause is None:
            self.note("hung up", {"cause": cause, "means": meaning(cause)})
        self.cause = cause
        if self.tap is not None:
            self.tap.hang_up(cause)


@dataclass(slots=True)
class Call:
    """A call with at least one leg; `origin_s` is when its first channel was created, on our clock."""

    id: CallId
    origin_s: float
    rule: str = ""
    """Which one chose it, if one did."""
    live: int = 0
    legs: int = 0
    paused: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    reasons: list[str] = field(default_factory=list)

    def now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self.origin_s) * 1000

    def add(self, report: LegReport) -> None:
        self.ledger.add(report.ledger)
        self.reasons += report.reasons


def rings_alone(live: Live, legs: Iterable[Live]) -> bool:
    """Whether of its call, nobody else of its role rings too."""
    return [
        other
        for other in legs
        if other.leg.call == live.leg.call
        and other.new.party.role is live.new.party.role
        and other.answered_ms is None
    ] == [live]
