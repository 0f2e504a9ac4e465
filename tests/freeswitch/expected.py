"""What must come out of each recording: tests/captures/freeswitch/expected.json as values."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tests.freeswitch.call import Voices
from tests.freeswitch.recording import CAPTURES, load
from tests.freeswitch.voices import Saying

Fate = Literal["heard", "refused", "silent", "none"]
"""heard; refused: no connection comes of a start; silent: one that brings no audio; none: nobody answers."""
Again = Literal["", "us", "itself", "stopped"]
"""Who starts a stream again that is lost: nobody has to, we, the module; stopped: an operator ended it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    saying: Saying
    call_ms: int
    """When it began in the recording, in milliseconds since the call's first channel."""


@dataclass(frozen=True, slots=True)
class Leg:
    uuid: str
    role: str
    number: str
    tapped: bool
    """Whether anybody hears it, so that a stream is started on it."""
    answered_ms: int | None
    ended_ms: int | None
    """Milliseconds since the first channel was created; None: it never was, or nothing told of it."""
    cause: int | None
    """Q.850; None: the PBX was gone before it could say."""
    sentences: tuple[Sentence, ...]

    def texts(self, starts: int) -> list[str]:
        """What is heard of it where so many streams were started on it."""
        return [one.saying.text for one in self.sentences if one.saying.script < starts]


@dataclass(frozen=True, slots=True)
class Expected:
    name: str
    call: str
    announced: bool
    """Nobody is bridged: the dialplan has to announce the leg whose uuid is the call's."""
    stream: str
    rate: int
    fate: Fate
    again: Again
    legs: tuple[Leg, ...]

    @property
    def group(self) -> tuple[str, str, int]:
        """Recordings of one group can be replayed to one daemon: module, stream, rate."""
        return load(self.name).module, self.stream, self.rate

    @property
    def slow(self) -> bool:
        """Whether the recorded server took its time to answer the upgrade: here the module connects late."""
        return "handshake-slow" in self.name

    @property
    def alone(self) -> bool:
        """Whether its end is the end of FreeSWITCH."""
        return self.name.startswith("fs-")

    @property
    def voices(self) -> Voices:
        return {leg.uuid: [one.saying for one in leg.sentences] for leg in self.legs}


@cache
def all_expected() -> dict[str, Expected]:
    """By the recording's name."""
    told = json.loads((CAPTURES / "expected.json").read_text(encoding="utf-8"))
    return {
        name: Expected(
            name, one["call"], one["announced"], one["stream"], one["rate"], one["fate"], one["again"],
            tuple(_leg(uuid, leg) for uuid, leg in one["legs"].items()),
        )
        for name, one in told.items()
    }  # fmt: skip


def _leg(uuid: str, told: dict[str, object]) -> Leg:
    values = {**told}
    says = values.pop("says")
    assert isinstance(says, list)
    sentences = [Sentence(Saying(s["start"], s["at_ms"], s["text"]), s["call_ms"]) for s in says]
    return Leg(uuid=uuid, sentences=tuple(sentences), **values)  # type: ignore[arg-type]
