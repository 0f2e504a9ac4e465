"""The call that `rtzr-bridge demo` plays, whatever way it takes: who says what when, and what came back.

Values and arithmetic. The ways are `bridge.demo.rtp` and `bridge.demo.stream`.
"""

from dataclasses import dataclass, field

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.player import Spoken
from bridge.types import Event, Party, Role
from bridge.wire.ledger import Ledger

HOST = "127.0.0.1"
LEAD_S = 0.3
_TURN_S = 0.8
"""From the end of one party's sentence to the beginning of the other's."""
SCRIPT = (
    (Role.CALLER, SENTENCES[1]),
    (Role.CALLEE, SENTENCES[0]),
    (Role.CALLER, SENTENCES[2]),
    (Role.CALLEE, SENTENCES[3]),
    (Role.CALLER, SENTENCES[11]),
    (Role.CALLEE, SENTENCES[15]),
)
PARTIES = {
    Role.CALLER: Party(Role.CALLER, "01012345678", "김철수"),
    Role.CALLEE: Party(Role.CALLEE, "1588", "상담원"),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    party: str
    text: str
    """What came back; finals that came apart are parted by ` / `."""
    said: str
    end_of_speech_to_final_ms: int | None
    """None when no final came."""

    @property
    def exact(self) -> bool:
        return self.text == self.said


@dataclass(frozen=True, slots=True)
class Final:
    """A text, when what it says was over, and when it came: seconds of the loop's clock."""

    text: str
    ended_s: float
    came_s: float


@dataclass(slots=True)
class Line:
    """One party: when it speaks, on the loop's clock, and the finals that came back."""

    role: Role
    starts_s: list[float]
    """When each sentence is begun."""
    ended_s: list[float]
    """When the last of each was sent."""
    finals: list[Final] = field(default_factory=list)

    def keep(self, event: Event, origin_s: float, now_s: float) -> None:
        """Keep what is a final of this party's, in a call that began at `origin_s`."""
        if event.type == "rtzr.transcript.final":
            ended_s = origin_s + event.data["end_ms"] / 1000
            self.finals.append(Final(str(event.data["text"]), ended_s, now_s))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bridge's part of it came to."""

    lines: dict[Role, Line]
    ledger: Ledger
    """Of both legs."""
    reasons: list[str]
    """Why a leg is not complete; empty when both are."""


def turns_from(start_s: float) -> tuple[dict[Role, list[Spoken]], float]:
    """Who says what when, and when the call ends."""
    turns: dict[Role, list[Spoken]] = {role: [] for role in PARTIES}
    for role, sentence in SCRIPT:
        turns[role].append(Spoken(say(sentence), start_s))
        start_s += spoken_ms(sentence) / 1000 + _TURN_S
    return turns, start_s


def compare(lines: dict[Role, Line]) -> list[Utterance]:
    """Each sentence beside all that came back while it was the party's latest, in the order of speaking."""
    said: dict[Role, int] = dict.fromkeys(lines, 0)
    utterances = []
    for role, sentence in SCRIPT:
        index = said[role]
        said[role] += 1
        utterances.append(utterance_of(lines[role], index, sentence))
    return utterances


def utterance_of(line: Line, index: int, sentence: str) -> Utterance:
    """The finals that ended after the sentence began and before the party's next: each has its sentence."""
    starts_s = line.starts_s
    from_s = starts_s[index] if index else float("-inf")
    to_s = starts_s[index + 1] if index + 1 < len(starts_s) else float("inf")
    finals = [final for final in line.finals if from_s <= final.ended_s < to_s]
    latency_ms = round((finals[-1].came_s - line.ended_s[index]) * 1000) if finals else None
    return Utterance(line.role, " / ".join(final.text for final in finals), sentence, latency_ms)
