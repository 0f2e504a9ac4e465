"""Where every millisecond of one leg's audio went. Sums only: who counts what is the caller's business."""

from dataclasses import dataclass, field

from bridge.types import GapReason

_ROUNDING_MS = 1.0
"""Frames are float milliseconds; over a call of hours the sums may differ by far less than this."""


@dataclass(slots=True)
class Ledger:
    """Milliseconds of audio by fate: `arrived = sent + withheld + lost` when a leg has ended."""

    arrived: float = 0.0
    sent: float = 0.0
    withheld: float = 0.0
    filled: float = 0.0
    """Silence made by us where the PBX sent nothing; part of what RTZR heard, not of what arrived."""
    lost: dict[GapReason, float] = field(default_factory=dict)

    def lose(self, ms: float, reason: GapReason) -> None:
        if ms:
            self.lost[reason] = self.lost.get(reason, 0.0) + ms

    def add(self, other: "Ledger") -> None:
        """Add another leg's sums to these."""
        self.arrived += other.arrived
        self.sent += other.sent
        self.withheld += other.withheld
        self.filled += other.filled
        for reason, ms in other.lost.items():
            self.lose(ms, reason)

    @property
    def lost_ms(self) -> float:
        return sum(self.lost.values())

    def fates(self) -> dict[str, float]:
        """The sums by name, for the metrics."""
        sums = {"arrived": self.arrived, "sent": self.sent, "withheld": self.withheld, "filled": self.filled}
        return sums | {f"lost_{reason.value}": ms for reason, ms in self.lost.items()}

    def closes(self) -> bool:
        """Whether all that arrived is accounted for."""
        return abs(self.arrived - self.sent - self.withheld - self.lost_ms) <= _ROUNDING_MS

    def as_json(self) -> dict[str, object]:
        """Whole milliseconds, for events and summaries."""
        return {
            "arrived_ms": round(self.arrived),
            "sent_ms": round(self.sent),
            "withheld_ms": round(self.withheld),
            "filled_ms": round(self.filled),
            "lost_ms": round(self.lost_ms),
            "lost": {reason.value: round(ms) for reason, ms in self.lost.items()},
        }
