"""Where every millisecond of one leg's audio went. Sums only: who counts what is the caller's business.

Two books that must close when a leg has ended: of what arrived, `arrived = sent_first + mixed + withheld +
paused + lost`; of what went out, `sent = sent_first + replayed + filled + keepalive`, where `sent` is counted
from the bytes put on sockets and the rest from what became of each piece.
"""

from dataclasses import dataclass, field

from bridge.types import GapReason

LEAST_BILLED_S = 10.0
"""RTZR bills every session at least so long (its price page)."""
_ROUNDING_MS = 1.0
"""Frames are float milliseconds; over a call of hours the sums may differ by far less than this."""
_SUMS = ("arrived", "sent", "sent_first", "replayed", "filled", "keepalive", "mixed", "withheld", "paused")


@dataclass(slots=True)
class Ledger:
    """Milliseconds of audio by fate, and what it cost."""

    arrived: float = 0.0
    sent: float = 0.0
    """All that was put on sockets."""
    sent_first: float = 0.0
    """What arrived and went out, once each."""
    replayed: float = 0.0
    """What went out beside that: again after a lost socket, or in vain on one."""
    filled: float = 0.0
    """Silence made by us where the PBX sent nothing."""
    keepalive: float = 0.0
    """Silence made by us so that RTZR would not take a quiet session for a dead one."""
    mixed: float = 0.0
    """What went out in the stream of the call's other leg."""
    withheld: float = 0.0
    """What was never to be sent: before the answer, or silence that the gate keeps back."""
    saved: float = 0.0
    """Of `withheld`, what the gate kept back."""
    paused: float = 0.0
    """What was not to leave the host, by order or for want of consent."""
    lost: dict[GapReason, float] = field(default_factory=dict)
    covered: float = 0.0
    """Audio that finals span, from each one's start to its end."""
    billed_s: float = 0.0
    """Seconds that RTZR bills: each session's audio, 10 at least."""
    sessions: int = 0
    reconnects: int = 0
    """Sessions that were opened because one was lost."""

    def lose(self, ms: float, reason: GapReason) -> None:
        if ms:
            self.lost[reason] = self.lost.get(reason, 0.0) + ms

    def unsend(self, ms: float) -> None:
        """What counted as sent was lost with its socket: it went out in vain."""
        self.sent_first -= ms
        self.replayed += ms

    def pause(self, ms: float, sent_ms: float = 0.0) -> None:
        """Audio that a pause kept back; of it, what had gone out in vain."""
        self.unsend(sent_ms)
        self.paused += ms

    def bill(self, sent_ms: float) -> None:
        """A session is over on which `sent_ms` of audio were put."""
        self.billed_s += max(LEAST_BILLED_S, sent_ms / 1000)

    def add(self, other: "Ledger") -> None:
        """Add another leg's sums to these."""
        for name in (*_SUMS, "saved", "covered", "billed_s", "sessions", "reconnects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, ms in other.lost.items():
            self.lose(ms, reason)

    @property
    def lost_ms(self) -> float:
        return sum(self.lost.values())

    def fates(self) -> dict[str, float]:
        """The sums by name, for the metrics."""
        sums: dict[str, float] = {name: getattr(self, name) for name in _SUMS}
        return sums | {f"lost_{reason.value}": ms for reason, ms in self.lost.items()}

    def closes(self) -> bool:
        """Whether all that arrived, and all that went out, is accounted for."""
        arrived = self.sent_first + self.mixed + self.withheld + self.paused + self.lost_ms
        sent = self.sent_first + self.replayed + self.filled + self.keepalive
        return abs(self.arrived - arrived) <= _ROUNDING_MS and abs(self.sent - sent) <= _ROUNDING_MS

    def as_json(self) -> dict[str, object]:
        """Whole milliseconds, for events and summaries."""
        return {
            **{f"{name}_ms": round(getattr(self, name)) for name in _SUMS},
            "lost_ms": round(self.lost_ms),
            "lost": {reason.value: round(ms) for reason, ms in self.lost.items()},
            "saved_ms": round(self.saved),
            "covered_ms": round(self.covered),
            "billed_s": round(self.billed_s, 1),
            "sessions": self.sessions,
            "reconnects": self.reconnects,
        }


@dataclass(slots=True)
class LegReport:
    """What became of a leg."""

    ledger: Ledger = field(default_factory=Ledger)
    utterances: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why the leg is not complete; empty when it is."""
    refusal: str = ""
    """RTZR's own word, where it refused the leg for good."""

    @property
    def sessions(self) -> int:
        return self.ledger.sessions

    def because(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
