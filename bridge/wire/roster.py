"""Which of Asterisk's channels are legs, of which call and in which role: PBX events in, decisions out.

A call is ours once its dialplan has said so (`UserEvent(RTZR,...)`) or a rule has chosen it: the channel that
announced or calls is the caller's leg, and every channel that a leg dials is a callee's. Decisions only; the
switchboard carries them out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.types import CallId, Role
from bridge.wire import pbxevents as pbx
from bridge.wire.rules import CallRule, Choice, Direction, Facts, choose, matches

_DIALLING = ("", "RINGING", "PROGRESS", "PROCEEDING", "ANSWER")
"""A dial of any other status is over, and a leg on its channel would never be told to end."""


_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """What the dialplan's one line leaves on a channel: the call's linkedid and the announcer's uniqueid."""

    call: CallId
    announcer: str

    @classmethod
    def read(cls, value: str | None) -> "Mark | None":
        """From `linkedid/uniqueid`; None for anything else."""
        call, slash, announcer = (value or "").partition("/")
        return cls(call, announcer) if call and slash and announcer else None


@dataclass(frozen=True, slots=True)
class StartLeg:
    channel: pbx.Channel
    call: CallId
    role: Role
    late: bool = False
    """Whether it was up already when it was found: what was said before is not known."""
    rule: str = ""
    """Which one chose the call, if one did."""


@dataclass(frozen=True, slots=True)
class AnswerLeg:
    channel: str
    at_s: float | None
    """Unix seconds, the PBX's clock, at the earliest if it was missed; None: before the leg began."""


@dataclass(frozen=True, slots=True)
class EndLeg:
    channel: str
    cause: str


@dataclass(frozen=True, slots=True)
class EndTap:
    """One of our own channels is gone."""

    channel: str


@dataclass(frozen=True, slots=True)
class RemoveStray:
    """One of our own channels that nothing here runs."""

    channel: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """The PBX has to be asked for the linkedid: announced without a readable mark, or chosen by `rule`."""

    channel: pbx.Channel
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """A rule has chosen the call not to be heard."""

    channel: str
    choice: Choice


Decision = StartLeg | AnswerLeg | EndLeg | EndTap | RemoveStray | LookUp | Pass


@dataclass(frozen=True, slots=True)
class Known:
    """What ran here at one moment, by channel id."""

    channels: frozenset[str]
    legs: frozenset[str]
    taps: frozenset[str]


@dataclass(slots=True)
class _Asked:
    """A channel that a rule has chosen, while its linkedid is asked for."""

    rule: str
    peers: list[pbx.Channel] = field(default_factory=list)
    """Whom it has dialled meanwhile."""
    channel: pbx.Channel | None = None
    linkedid: CallId = ""
    """The answer, once it is there."""


@dataclass(slots=True)
class Roster:
    """The legs that are up, by channel id."""

    user_event: str
    own_prefix: str
    """How the ids of our own channels begin."""
    rules: tuple[CallRule, ...] = ()
    trunks: tuple[str, ...] = ()
    """Patterns of the contexts in which calls come from outside."""
    _legs: dict[str, CallId] = field(default_factory=dict)
    _created: dict[str, float] = field(default_factory=dict)
    _up: set[str] = field(default_factory=set)
    _gone: dict[str, None] = field(default_factory=dict)
    """The newest channels that were destroyed: what is still on its way about them comes too late."""
    _facts: dict[str, Facts] = field(default_factory=dict)
    """Of channels that call and that no rule has chosen yet."""
    _decided: dict[str, Choice] = field(default_factory=dict)
    """What a rule said of a channel that calls."""
    _called: set[str] = field(default_factory=set)
    """Channels that were dialled: what they do in the dialplan is no call of their own."""
    _pending: dict[str, _Asked] = field(default_factory=dict)
    """In the order in which they were chosen."""
    _speaking: set[str] = field(default_factory=set)
    """Channels of the PBX's own that carry audio."""
    _heard_s: float | None = None
    _missed_since_s: float | None = None
    """The PBX's time from which on events were missed, when the connection was lost."""

    def take(self, event: pbx.PbxEvent) -> list[Decision]:
        """Decide on one event, in the order in which the PBX sent it."""
        self._heard_s = event.at
        match event:
            case pbx.ChannelCreated(channel=channel):
                self._created[channel.id] = channel.created
                self._count(channel)
                return self._asked(channel) if channel.calls else []
            case pbx.ChannelUserevent(name=name, channel=pbx.Channel() as channel) if name == self.user_event:
                return self._announced(channel, Mark.read(event.fields.get("Call")))
            case pbx.Dial(caller=pbx.Channel() as caller, peer=peer, status=status) if status in _DIALLING:
                return self._dialed(caller, peer)
            case pbx.ChannelStateChange(channel=channel) if channel.up:
                self._up.add(channel.id)
                if channel.id in self._legs:
                    return [AnswerLeg(channel.id, event.at)]
                return self._asked(channel) if channel.id in self._facts else []
            case pbx.ChannelVarset(channel=pbx.Channel() as channel, variable=name, value=value):
                return self._set(channel, name, value)
            case pbx.ChannelDestroyed(channel=channel):
                return self._destroyed(channel.id, f"cause {event.cause}")
        return []

    def _announced(self, channel: pbx.Channel, mark: Mark | None) -> list[Decision]:
        choice = self._choice(channel, None) if self.rules else None
        if choice is not None and not choice.tap:
            return []
        if mark is None or mark.announcer != channel.id:
            return [LookUp(channel)]
        rule = "" if choice is None else choice.rule
        return self.start(channel, mark.call, Role.CALLER, rule=rule)

    def _dialed(self, caller: pbx.Channel, peer: pbx.Channel) -> list[Decision]:
        decisions = self._asked(caller, peer)
        if self.rules:
            self._called.add(peer.id)
        if caller.id in self._pending:
            self._pending[caller.id].peers.append(peer)
        call = self._legs.get(caller.id)
        return decisions + (self.start(peer, call, Role.CALLEE) if call is not None else [])

    # Rules.

    def _asked(self, channel: pbx.Channel, peer: pbx.Channel | None = None) -> list[Decision]:
        """Ask the rules about a channel that calls, and perhaps now dials `peer`, until one has chosen it."""
        known = channel.id in self._decided or channel.id in self._legs or channel.id in self._called
        if not self.rules or known or self._own(channel):
            return []
        choice = self._choice(channel, peer)
        if choice is None:
            return []
        if not choice.tap:
            return [Pass(channel.id, choice)]
        self._pending[channel.id] = _Asked(choice.rule)
        return [LookUp(channel, choice.rule)]

    def _set(self, channel: pbx.Channel, name: str, value: str) -> list[Decision]:
        """A variable is one more fact of a channel that calls."""
        facts = self._facts.get(channel.id)
        if facts is None:
            return []
        bare = name.removeprefix("_").removeprefix("_")  # for `Set(__TENANT=acme)`, the event's name has them
        self._facts[channel.id] = replace(facts, variables={**facts.variables, name: value, bare: value})
        return self._asked(channel)

    def _choice(self, channel: pbx.Channel, peer: pbx.Channel | None) -> Choice | None:
        if channel.id in self._decided:
            return self._decided[channel.id]
        facts = self._facts[channel.id] = self._learnt(channel, peer)
        choice = choose(self.rules, facts, channel.id)
        if choice is not None:
            self._decided[channel.id] = choice
            del self._facts[channel.id]
        return choice

    def _learnt(self, channel: pbx.Channel, peer: pbx.Channel | None) -> Facts:
        """What is known now; where it was taken up and what was dialled there do not change."""
        facts = self._facts.get(channel.id)
        if facts is None:
            facts = facts_of(channel, self.trunks)
        if not facts.caller:  # some channels get their number only after they were made
            facts = replace(facts, caller=channel.number)
        if facts.direction is None and peer is not None and not peer.local:
            outside = matches(self.trunks, peer.context)
            facts = replace(facts, direction=Direction.OUT if outside else Direction.INTERNAL)
        if channel.application == "Queue":
            facts = replace(facts, queue=channel.application_data.partition(",")[0])
        return facts

    def chosen(self, channel: pbx.Channel, linkedid: CallId | None, rule: str) -> list[Decision]:
        """The answer to a `LookUp` of a channel that a rule has chosen; None: there is none to be had."""
        asked = self._pending.get(channel.id)
        if asked is None:
            return []  # it is gone
        if linkedid is None:
            del self._pending[channel.id]
        else:
            asked.rule, asked.channel, asked.linkedid = rule, channel, linkedid
        return self._settle()

    def _settle(self) -> list[Decision]:
        """Act on answers. Half of a Local channel waits for those who were asked for before it: it may be on
        the way to somebody whom one of them calls, and answers come in any order."""
        decisions: list[Decision] = []
        waiting = False
        for id_, asked in tuple(self._pending.items()):
            if asked.channel is None:
                waiting = True
            elif not (waiting and asked.channel.local):
                del self._pending[id_]
                decisions += self._begun(asked, asked.channel)
        return decisions

    def _begun(self, asked: _Asked, channel: pbx.Channel) -> list[Decision]:
        """A leg, unless its call is followed already (then it is on the way to somebody who is called)."""
        if asked.linkedid in self._legs.values():
            return []
        decisions = self.start(channel, asked.linkedid, Role.CALLER, rule=asked.rule)
        for peer in asked.peers if decisions else ():
            decisions += self.start(peer, asked.linkedid, Role.CALLEE)
        return decisions

    def _destroyed(self, channel: str, cause: str) -> list[Decision]:
        self._drop(channel)
        if channel.startswith(self.own_prefix):
            return [EndTap(channel)]
        self._gone[channel] = None
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        ended: list[Decision] = [EndLeg(channel, cause)] if self._legs.pop(channel, None) is not None else []
        return ended + self._settle()

    def _drop(self, channel: str) -> None:
        """It is gone, and so is what was known of it."""
        for known in (self._created, self._facts, self._decided, self._pending):
            known.pop(channel, None)
        self._up.discard(channel)
        self._speaking.discard(channel)
        self._called.discard(channel)

    def start(
        self, channel: pbx.Channel, call: CallId, role: Role, *, found: bool = False, rule: str = ""
    ) -> list[Decision]:
        """A leg on this channel, unless there is one, the channel is ours, or it is gone by now."""
        if channel.id in self._legs or channel.id in self._gone or self._own(channel):
            return []
        self._legs[channel.id] = call
        answered = channel.up or channel.id in self._up
        start = StartLeg(channel, call, role, late=found and answered, rule=rule)
        return [start, AnswerLeg(channel.id, None)] if answered else [start]

    def _own(self, channel: pbx.Channel) -> bool:
        return channel.id.startswith(self.own_prefix)

    @property
    def speaking(self) -> int:
        """How many channels of the PBX's own carry audio, and so have RTP ports, at the most."""
        return len(self._speaking)

    def _count(self, channel: pbx.Channel) -> None:
        if not channel.local and not self._own(channel):
            self._speaking.add(channel.id)

    def lost(self) -> None:
        """The connection is lost: what happens from now on is missed."""
        if self._missed_since_s is None:
            self._missed_since_s = self._heard_s

    def forget(self, channel: str) -> None:
        """Its leg has ended, whether or not the PBX has said that the channel is gone."""
        self._legs.pop(channel, None)

    def created_s(self, call: CallId, channel: pbx.Channel) -> float:
        """When the call's first channel was created: the linkedid is its uniqueid."""
        return self._created.get(call, channel.created)

    def known(self, taps: Iterable[str]) -> Known:
        """What is known at this moment; `taps` are our own channels that are in use."""
        return Known(frozenset(self._created), frozenset(self._legs), frozenset(taps))

    def reconcile(
        self,
        channels: Iterable[pbx.Channel],
        marks: Mapping[str, Mark],
        known: Known,
        taps: frozenset[str] = frozenset(),
        families: Mapping[str, CallId] | None = None,
    ) -> list[Decision]:
        """Decide on all that the PBX has; `known` is from before it was asked, `taps` are in use now.
        `families` has the linkedids of channels without a mark, where rules may choose them.

        What began since need not be in `channels`, and is not gone for that; nor is it a stray if it is.
        """
        here = {channel.id: channel for channel in channels}
        for missed in known.channels - here.keys():
            self._drop(missed)
        for channel in here.values():
            self._created[channel.id] = channel.created
            self._count(channel)
        decisions = self._settle()
        for gone in known.legs - here.keys():
            decisions += self._destroyed(gone, "gone")
        decisions += [EndTap(tap) for tap in known.taps - here.keys()]
        for channel in here.values():
            decisions += self._found(channel, marks.get(channel.id), known.taps | taps)
        if families:
            decisions += self._unmarked(here, families)
        self._missed_since_s = None
        return decisions

    def _found(self, channel: pbx.Channel, mark: Mark | None, taps: frozenset[str]) -> list[Decision]:
        if channel.id.startswith(self.own_prefix):
            return [] if channel.id in taps else [RemoveStray(channel.id)]
        if channel.id in self._legs:
            return [AnswerLeg(channel.id, self._missed_since_s)] if channel.up else []
        if mark is None:
            return []
        if channel.name.endswith(";2") and mark.announcer != channel.id:
            return []  # the far half of a dialed Local channel carries the mark too, but no party's voice
        role = Role.CALLER if mark.announcer == channel.id else Role.CALLEE
        return self.start(channel, mark.call, role, found=True)

    def _unmarked(self, here: Mapping[str, pbx.Channel], families: Mapping[str, CallId]) -> list[Decision]:
        """Calls that nobody announced and that were there before us: the rules choose by what they do now."""
        decisions: list[Decision] = []
        ours = [one for one in here.values() if one.id in families and not self._own(one)]
        for one in ours:
            call = families[one.id]
            if not one.dialled and (one.dials or not one.local) and call not in self._legs.values():
                decisions += self._adopted(one, call)
        for one in ours:
            if one.dialled and families[one.id] in self._legs.values():
                decisions += self.start(one, families[one.id], Role.CALLEE, found=True)
        return decisions

    def _adopted(self, channel: pbx.Channel, call: CallId) -> list[Decision]:
        choice = self._choice(channel, None)
        if choice is None or not choice.tap:
            return []
        return self.start(channel, call, Role.CALLER, found=True, rule=choice.rule)


def facts_of(channel: pbx.Channel, trunks: Sequence[str]) -> Facts:
    """What a channel that calls tells of its call by itself."""
    return Facts(
        context=channel.context,
        extension=channel.extension,
        caller=channel.number,
        channel=channel.name,
        direction=Direction.IN if matches(trunks, channel.context) else None,
    )
