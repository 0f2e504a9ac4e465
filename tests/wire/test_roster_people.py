"""bridge/wire/roster.py on what a company does with calls, as a real Asterisk told it: it follows people.

The recordings are in tests/captures/asterisk/people. A look-up is answered some events later, as in life.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from panoramisk.message import Message

from bridge.types import Role
from bridge.wire import ami, ari, pbxevents
from bridge.wire.decisions import (
    AnswerLeg,
    Decision,
    EndLeg,
    LookUp,
    Merge,
    StartLeg,
)
from bridge.wire.roster import Roster
from bridge.wire.rules import CallRule, Condition

FOLDER = Path(__file__).parents[1] / "captures" / "asterisk" / "people"
SCENES = sorted(path.name.removesuffix(".ari.jsonl") for path in FOLDER.glob("*.ari.jsonl"))
RULES = (CallRule("company", (Condition("context", ("company", "from-trunk")),)),)
MERGED = {"attended_by_refer": 1, "conference": 3, "park": 1, "pickup": 1}
"""Into the eldest: in the conference, the eldest of three comes last."""


def over_ari(scene: str) -> Iterator[pbxevents.PbxEvent]:
    for line in (FOLDER / f"{scene}.ari.jsonl").read_text(encoding="utf-8").splitlines():
        event = ari.parse(line)
        if event is not None and not isinstance(event, ari.ApplicationReplaced):
            yield event


def messages(scene: str) -> Iterator[Message]:
    text = (FOLDER / f"{scene}.ami.txt").read_text(encoding="utf-8").replace("\r\n", "\n")
    for part in text.split("\n\n"):
        message = Message.from_line(part.strip().replace("\n", "\r\n"))
        if message is not None and "Event" in message:
            yield message


def over_ami(scene: str) -> Iterator[pbxevents.PbxEvent]:
    reader = ami.Reader()
    for number, message in enumerate(messages(scene)):
        event = reader.event(message, 1000.0 + number / 100)
        if event is not None:
            yield event


def families(scene: str) -> dict[str, str]:
    """The linkedid that each channel began with."""
    found: dict[str, str] = {}
    for message in messages(scene):
        if "Uniqueid" in message and "Linkedid" in message:
            found.setdefault(str(message.uniqueid), str(message.linkedid))
        if "DestUniqueid" in message:
            found.setdefault(str(message.destuniqueid), str(message.destlinkedid))
    return found


@dataclass
class Followed:
    """A scene as it is decided on; with `dice` each look-up is answered up to eight events late."""

    linkedids: dict[str, str]
    dice: random.Random | None = None
    roster: Roster = field(default_factory=lambda: Roster("RTZR", "rtzr.tap.", RULES, ("from-trunk",)))
    starts: list[StartLeg] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    waiting: list[tuple[int, LookUp]] = field(default_factory=list)

    def play(self, events: list[pbxevents.PbxEvent]) -> None:
        for now, event in enumerate(events):
            self.take(self.roster.take(event), now)
            for due, asked in [one for one in self.waiting if one[0] <= now]:
                self.waiting.remove((due, asked))
                linkedid = self.linkedids[asked.channel.id]
                self.take(self.roster.chosen(asked.channel, linkedid, asked.rule), now)

    def take(self, decisions: list[Decision], now: int) -> None:
        for decision in decisions:
            match decision:
                case StartLeg():
                    self.starts.append(decision)
                case AnswerLeg(channel):
                    self.answered.add(channel)
                case EndLeg(channel, cause):
                    self.ended[channel] = cause
                case Merge():
                    self.merges.append(decision)
                case LookUp():
                    self.waiting.append((now + (self.dice.randrange(9) if self.dice else 0), decision))


def followed(
    events: list[pbxevents.PbxEvent], linkedids: dict[str, str], dice: random.Random | None
) -> Followed:
    seen = Followed(linkedids, dice)
    seen.play(events)
    one = seen.roster
    assert not one.known(()).legs, "every leg has its end"
    kept = (
        one._pending,
        one._seen._names,
        one._meetings._in,
        one._locals._diallers,
        one._locals._calls,
        one._locals._legs,
        one._locals._leading,
        one._merged,
        one._ages,
    )
    assert not any([*kept, one.guests.here]), kept
    return seen


def people(events: list[pbxevents.PbxEvent]) -> dict[str, str]:
    """Who met somebody: number by channel id."""
    return {
        event.channel.id: event.channel.number
        for event in events
        if isinstance(event, pbxevents.ChannelEnteredBridge) and event.channel.person and not event.holding
    }


@pytest.mark.parametrize("way", [over_ari, over_ami])
@pytest.mark.parametrize("scene", SCENES)
def test_everybody_who_speaks_is_a_leg_and_nobody_twice(scene: str, way: object) -> None:
    events = list(over_ari(scene) if way is over_ari else over_ami(scene))
    met, linkedids = people(events), families(scene)
    for dice in (None, *(random.Random(seed) for seed in range(20))):
        seen = followed(events, linkedids, dice)
        started = [start.channel.id for start in seen.starts]
        assert len(started) == len(set(started))
        assert met.keys() <= set(started), "not heard"
        assert met.keys() <= seen.answered
        locals_ = [start.channel for start in seen.starts if start.channel.local]
        assert all(seen.ended[one.id] == "led on" for one in locals_ if one.id in seen.answered)
        callers = [start for start in seen.starts if start.role is Role.CALLER]
        assert {start.rule for start in callers} == {"company"}
        assert len({start.call for start in callers}) == len(callers), "one caller a call"


@pytest.mark.parametrize("way", [over_ari, over_ami])
@pytest.mark.parametrize("scene", SCENES)
def test_calls_that_meet_say_so_once(scene: str, way: object) -> None:
    events = list(over_ari(scene) if way is over_ari else over_ami(scene))
    seen = followed(events, families(scene), None)
    merges = [(one.call, one.into) for one in seen.merges]
    assert len(merges) == len(set(merges))
    calls = {start.call for start in seen.starts}
    assert {call for pair in merges for call in pair} <= calls
    if scene in MERGED:
        assert len(merges) == MERGED[scene]
    elif len(calls) == 1:
        assert merges == []


def test_a_masked_caller_keeps_the_number_of_the_telephone() -> None:
    for way in (over_ari, over_ami):
        events = list(way("outgoing_masked"))
        seen = followed(events, families("outgoing_masked"), None)
        (caller,) = [start.channel for start in seen.starts if start.role is Role.CALLER]
        assert caller.name.startswith("PJSIP/1005-")
        assert caller.number == "1005"


@pytest.mark.parametrize("seed", range(20))
def test_whoever_picks_up_is_of_the_call_that_rang_or_says_so(seed: int) -> None:
    """Its own call is there before it has picked up; whether that is known by then is a matter of luck."""
    events = list(over_ari("pickup"))
    seen = followed(events, families("pickup"), random.Random(seed))
    call = seen.starts[0].call
    (picker,) = [start for start in seen.starts if start.channel.number == "1028"]
    if picker.call == call:
        assert (picker.role, seen.merges) == (Role.CALLEE, [])
    else:
        assert seen.merges == [Merge(picker.call, call)]
