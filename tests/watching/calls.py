"""A call's events and notes as the daemon makes them, for the tests of who watches."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bridge import events
from bridge.events import LegEvents
from bridge.types import Codec, Event, Gap, GapReason, LegId, Party, Role, Transcript
from bridge.wire.cost import Cost
from bridge.wire.ledger import Ledger
from bridge.wire.watched import LegSnapshot, LegState, Note, NoteKind


@dataclass
class Told:
    """One call with one leg, whose events are made now."""

    id: str = "call-1"
    channel: str = "chan-1"
    number: str = "01012345678"
    rule: str = "sales"
    made: LegEvents = field(init=False)

    def __post_init__(self) -> None:
        self.made = LegEvents(self.leg, Party(Role.CALLER, self.number, "김철수"))

    @property
    def leg(self) -> LegId:
        return LegId(self.id, self.channel)

    def begins(self) -> list[Event]:
        return [events.call_started(self.id, 0, self.rule), self.made.started(Codec.ULAW)]

    def says(self, text: str, start_ms: int = 1000, *, final: bool = True, latency_ms: int = 400) -> Event:
        return self.made.transcript(Transcript(self.leg, text, start_ms, start_ms + 500, final), latency_ms)

    def loses(self, ms: int, reason: GapReason = GapReason.RING) -> Event:
        return self.made.gap(Gap(self.leg, 2000, 2000 + ms, ms, reason))

    def ends(self, lost_ms: int = 0, won: float = 5.5) -> list[Event]:
        ledger = Ledger(arrived=3000, sent=3000 - lost_ms, sent_first=3000 - lost_ms, sessions=1)
        ledger.lose(lost_ms, GapReason.RING)
        reasons = ["ring"] if lost_ms else []
        ended = events.call_ended(self.id, 9000, ledger, 1, reasons, Cost(10, won))
        return [self.made.ended("cause 16", ledger, reasons), ended]

    def stands(self, state: LegState = LegState.STREAMING, **sums: int) -> LegSnapshot:
        packets: dict[str, int] = {key: sums.pop(key) for key in ("received", "lost", "late") if key in sums}
        return LegSnapshot(self.leg, state, "hybrid", -20.5, **sums, packets=packets)

    def note(self, what: str, kind: NoteKind = NoteKind.PBX, at_ms: int = 10, **data: object) -> Note:
        return Note(self.id, str(self.leg), at_ms, kind, what, data)


def now_s(later_s: float = 0) -> float:
    return (datetime.now(UTC) + timedelta(seconds=later_s)).timestamp()
