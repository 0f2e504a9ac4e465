"""What the rules said of each call of a log: its events once more through the very roster of the daemon.

Pure. How a log is read is `eventlog`'s, what is printed `explain.log`'s. One thing is unlike the daemon: it
has to ask the PBX for the linkedid of a channel, while events go on; here the answer is there at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.types import CallId, Role
from bridge.wire import pbxevents as pbx
from bridge.wire.decisions import Decision, LookUp, StartLeg
from bridge.wire.eventlog import Row, Told
from bridge.wire.roster import Roster
from bridge.wire.rules import CallRule, Direction, Facts, Line, choose, explain, matches
from bridge.wire.selection import Selection


@dataclass(frozen=True, slots=True)
class Asked:
    """A channel that called, all that was known when the rules were asked last, and what each said."""

    channel: str
    facts: Facts
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Retold:
    """One call. `asked` ends with the channel that decided it, if one did."""

    call: CallId
    began: float | str
    """Unix seconds, or as the log writes it; 0 where it does not tell."""
    asked: list[Asked] = field(default_factory=list)
    rule: str = ""
    """Which one chose it, or chose to leave it alone."""
    announced: bool = False
    """The dialplan's announcement, and no rule, did."""
    tapped: bool | None = None
    """None: nobody decided."""
    after_s: float | None = None
    """From the channel's beginning to the decision, where the log tells the time."""


class _Listening(Selection):
    """The daemon's own, which also keeps what it knew of a channel when it asked the rules."""

    told: dict[str, tuple[pbx.Channel, Facts]]

    def _learnt(self, channel: pbx.Channel, peer: pbx.Channel | None) -> Facts:
        facts = super()._learnt(channel, peer)
        self.told[channel.id] = channel, facts
        return facts


class _Teller:
    def __init__(self, roster: Roster, linkedid: Callable[[str], CallId]) -> None:
        rules = roster.rules
        roster.selection = self._asked = _Listening(rules, roster.trunks)
        self._asked.told = {}
        self._roster = roster
        self._rules = rules
        self._linkedid = linkedid
        self.calls: dict[CallId, Retold] = {}
        self._channels: dict[str, pbx.Channel] = {}

    def take(self, event: pbx.PbxEvent) -> None:
        self._asked.told.clear()
        decisions = self._roster.take(event)
        for channel, facts in self._asked.told.values():
            self._ask(channel, facts, event.at)
        for decision in decisions:
            self._note(decision, event.at)

    def _ask(self, channel: pbx.Channel, facts: Facts, at: float) -> None:
        call = self._call(self._linkedid(channel.id), channel)
        if call.tapped:
            return
        asked = Asked(channel.id, facts, tuple(explain(self._rules, facts, channel.id)))
        call.asked = [one for one in call.asked if one.channel != channel.id] + [asked]
        choice = choose(self._rules, facts, channel.id)
        if choice is not None and not choice.tap:  # of an announced call no decision says so
            self._decide(call, channel.id, choice.rule, tap=False, at=at)

    def _call(self, id_: CallId, channel: pbx.Channel) -> Retold:
        self._channels.setdefault(channel.id, channel)
        return self.calls.setdefault(id_, Retold(id_, channel.created))

    def _note(self, decision: Decision, at: float) -> None:
        match decision:
            case LookUp(channel, None, leads=False):
                self._more(self._roster.start(channel, self._linkedid(channel.id), Role.CALLER), at)
            case LookUp(channel, rule):
                self._more(self._roster.chosen(channel, self._linkedid(channel.id), rule), at)
            case StartLeg(channel, call, Role.CALLER):
                self._decide(self._call(call, channel), channel.id, decision.rule, tap=True, at=at)

    def _more(self, decisions: Iterable[Decision], at: float) -> None:
        for decision in decisions:
            self._note(decision, at)

    def _decide(self, call: Retold, channel: str, rule: str, *, tap: bool, at: float) -> None:
        if call.tapped is not None and not (tap and not call.tapped):
            return
        call.tapped, call.rule, call.announced = tap, rule, not rule
        call.asked.sort(key=lambda one: one.channel == channel)  # stable: the one that decided comes last
        created = self._channels[channel].created
        call.after_s = max(0.0, at - created) if created and at else None


def retold(
    told: Sequence[Told], rules: tuple[CallRule, ...], trunks: tuple[str, ...], user_event: str, prefix: str
) -> list[Retold]:
    """Every call in which a channel called, in order. `prefix`: how the ids of our own channels begin."""
    families = _families(told)
    teller = _Teller(Roster(user_event, prefix, rules, trunks), lambda id_: families.get(id_, id_))
    for one in told:
        teller.take(one.event)
    return list(teller.calls.values())


def recorded(rows: Iterable[Row], rules: Sequence[CallRule], trunks: Sequence[str]) -> list[Retold]:
    """What the rules say of calls that are over, by what a CDR keeps of them."""
    calls = []
    for row in rows:
        direction = Direction.IN if matches(trunks, row.context) else None
        facts = Facts(row.context, row.extension, row.queue, row.caller, row.channel, direction)
        choice = choose(rules, facts, row.call)
        call = Retold(row.call, row.began, [Asked("", facts, tuple(explain(rules, facts, row.call)))])
        if choice is not None:
            call.tapped, call.rule = choice.tap, choice.rule
        calls.append(call)
    return calls


def _channels(event: pbx.PbxEvent) -> dict[str, pbx.Channel]:
    """All that an event tells of, by id."""
    named = [event.caller, event.peer] if isinstance(event, pbx.Dial) else [event.channel]
    return {one.id: one for one in named if one is not None}


def _families(told: Sequence[Told]) -> Mapping[str, CallId]:
    """Each channel's linkedid: as the PBX told it first, or else that of who made it: the caller that dials
    it, and of a Local channel's second half the first one."""
    families: dict[str, CallId] = {}
    makers: dict[str, str] = {}
    firsts = {
        one.name: one.id
        for entry in told
        for one in _channels(entry.event).values()
        if one.name.endswith(";1")
    }
    for entry in told:
        for id_, linkedid in entry.linkedids.items():
            families.setdefault(id_, linkedid)
        for one in _channels(entry.event).values():
            first = firsts.get(f"{one.name.removesuffix(';2')};1") if one.name.endswith(";2") else None
            if first is not None:
                makers.setdefault(one.id, first)
        if isinstance(entry.event, pbx.Dial) and entry.event.caller is not None:
            makers.setdefault(entry.event.peer.id, entry.event.caller.id)
    return {id_: families.get(id_) or _root(id_, makers) for id_ in {*families, *makers}}


def _root(id_: str, makers: Mapping[str, str]) -> str:
    seen = {id_}
    while (maker := makers.get(id_)) is not None and maker not in seen:
        seen.add(id_ := maker)
    return id_
