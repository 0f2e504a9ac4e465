"""What a simulation came to: per call and in all, as numbers, as JSON, and whether anything was lost.

Values and arithmetic.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.wire.cost import Cost
from bridge.wire.ledger import LegReport

_VOICE = re.compile(r"\[음성 [0-9.]+초\]")
"""What the emulated RTZR says of a sound that is none of its words."""

_UNHEARD = "packets sent and not received"


@dataclass(slots=True)
class LegOutcome:
    """One party: what came back for it."""

    role: str
    texts: list[str] = field(default_factory=list)
    latencies_ms: list[int] = field(default_factory=list)
    missing: int = 0
    """Words of the code book that were said and did not come back; 0 where nobody knows what was said."""
    doubled: int = 0
    """Words of the code book that came more often than they were said."""
    sent: int = 0
    """Packets that its telephone sent ..."""
    packets: dict[str, int] = field(default_factory=dict)
    """... and their fates; `lost` are those that the recording lacks, too."""
    report: LegReport = field(default_factory=LegReport)

    @property
    def unheard(self) -> int:
        """Packets that were sent and never received."""
        return max(0, self.sent - self.packets.get("received", 0))

    @property
    def words(self) -> int:
        return sum(len(_VOICE.sub("", text).split()) for text in self.texts)

    def compare(self, said: Sequence[str], book: frozenset[str]) -> None:
        """With what an ear at the telephone had heard: how many words are missing, or came twice."""
        came = Counter(word for text in self.texts for word in text.split() if word in book)
        spoken = Counter(said)
        self.missing = (spoken - came).total()
        self.doubled = (came - spoken).total()


@dataclass(slots=True)
class CallOutcome:
    """One call."""

    id: str
    recording: str
    legs: list[LegOutcome] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    @property
    def lost(self) -> Counter[str]:
        """Milliseconds of audio that RTZR did not hear, by reason."""
        found = Counter[str]()
        for leg in self.legs:
            found.update({reason.value: round(ms) for reason, ms in leg.report.ledger.lost.items() if ms})
        return found

    @property
    def reasons(self) -> list[str]:
        """Why it is not complete; empty if it is."""
        found = {reason for leg in self.legs for reason in leg.report.reasons}
        unheard = {_UNHEARD} if any(leg.unheard for leg in self.legs) else set[str]()
        return sorted(found | unheard)

    @property
    def packets(self) -> Counter[str]:
        """How many were sent, and their fates."""
        found = Counter(sent=sum(leg.sent for leg in self.legs))
        for leg in self.legs:
            found.update(leg.packets)
        return found

    @property
    def failed(self) -> bool:
        """Whether words were lost, or may have been."""
        return bool(self.lost or self.reasons or any(leg.missing for leg in self.legs))

    def as_json(self) -> dict[str, Any]:
        return {
            "call": self.id,
            "recording": self.recording,
            "words": sum(leg.words for leg in self.legs),
            "words_missing": sum(leg.missing for leg in self.legs),
            "words_doubled": sum(leg.doubled for leg in self.legs),
            "lost_ms": self.lost.total(),
            "lost": dict(self.lost),
            "packets": dict(self.packets),
            "verdict": "partial" if self.failed else "complete",
            "reasons": self.reasons,
            **_latencies(self.legs),
            "sessions": sum(leg.report.ledger.sessions for leg in self.legs),
            "won": round(self.cost.won, 2),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """All calls."""

    calls: list[CallOutcome]
    emulated: bool
    faults: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return any(call.failed for call in self.calls)

    def as_json(self) -> dict[str, Any]:
        calls = [call.as_json() for call in self.calls]
        lost = sum((call.lost for call in self.calls), Counter[str]())
        packets = sum((call.packets for call in self.calls), Counter[str]())
        sums = ("words", "words_missing", "words_doubled", "lost_ms", "sessions")
        return {
            "rtzr": "emulated" if self.emulated else "real",
            "faults": list(self.faults),
            "calls": len(calls),
            "partial": sum(call.failed for call in self.calls),
            **{key: sum(call[key] for call in calls) for key in sums},
            "lost": dict(lost),
            "packets": dict(packets),
            **_latencies(leg for call in self.calls for leg in call.legs),
            "won": round(sum(call.cost.won for call in self.calls), 2),
            "verdict": "partial" if self.failed else "complete",
            "per_call": calls,
        }


def _latencies(legs: Iterable[LegOutcome]) -> dict[str, int | None]:
    """From the end of the audio to its final, of all finals."""
    found = sorted(ms for leg in legs for ms in leg.latencies_ms)
    return {"latency_p50_ms": _share(found, 0.5), "latency_p99_ms": _share(found, 0.99)}


def _share(found: Sequence[int], share: float) -> int | None:
    """The least value that so large a share of all does not exceed."""
    return found[max(0, -int(-share * len(found) // 1) - 1)] if found else None
