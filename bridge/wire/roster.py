"""Which of the PBX's channels are legs, of which call and in which role: PBX events in, decisions out.

A call is ours once its dialplan has said so (its `user_event`) or a rule has chosen it: the channel that
announced or calls is the caller's leg; every channel that a leg dials is a callee's, and so is whoever comes
into a bridge where a leg is. A leg is a person's channel, which keeps its id through hold, transfers, parking
and pickup. Half of a Local channel is nobody: a tap on it repeats whoever is behind it, and keeps Asterisk
from taking it out of the way. So it is a leg only as long as it leads to nobody else.

Decisions only; the switchboard carries them out. What rules say is in `selection`, who hears whom in
`meetings`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.types import CallId, Role
from bridge.wire import pbxevents as pbx
from bridge.wire.census import Census, Known, Mark, called, callers
from bridge.wire.decisions import (
    AnswerLeg,
    Decision,
    EndLeg,
    EndTap,
    GiveBack,
    KnowParty,
    LookUp,
    Merge,
    Pass,
    RemoveBridge,
    RemoveStray,
    StartLeg,
)
from bridge.wire.guests import Guests
from bridge.wire.locals import Locals
from bridge.wire.meetings import Meetings
from bridge.wire.rules import CallRule
from bridge.wire.seen import Seen
from bridge.wire.selection import Asked, Selection
from bridge.wire.taporder import tap_of

_DIALLING = ("", "RINGING", "PROGRESS", "PROCEEDING", "ANSWER")
"""A dial of any other status is over, and a leg on its channel would never be told to end."""


@dataclass(slots=True)
class Roster:
    """The legs that are up, by channel id."""

    user_event: str
    own_prefix: str
    """How the ids of our own channels and bridges begin."""
    rules: tuple[CallRule, ...] = ()
    trunks: tuple[str, ...] = ()
    app: str = ""
    """Our Stasis application."""
    guests: Guests = field(init=False)
    selection: Selection = field(init=False)
    _seen: Seen = field(init=False)
    _meetings: Meetings = field(default_factory=Meetings)
    _legs: dict[str, CallId] = field(default_factory=dict)
    _locals: Locals = field(default_factory=Locals)
    _pending: dict[str, Asked] = field(default_factory=dict)
    """In the order in which they were asked for."""
    _merged: set[tuple[CallId, CallId]] = field(default_factory=set)
    _ages: dict[CallId, float] = field(default_factory=dict)
    """When each followed call began."""
    _heard_s: float | None = None
    _missed_since_s: float | None = None
    """The PBX's time from which on events were missed, when the connection was lost."""

    def __post_init__(self) -> None:
        self.guests = Guests(self.app, self.own_prefix)
        self.selection = Selection(self.rules, self.trunks)
        self._seen = Seen(self.own_prefix)

    def take(self, event: pbx.PbxEvent) -> list[Decision]:
        """Decide on one event, in the order in which the PBX sent it."""
        self._heard_s = event.at
        match event:
            case pbx.ChannelCreated(channel=channel):
                self._seen.see(channel)
                return self._asked(channel) if channel.calls else []
            case pbx.ChannelCallerId(channel=channel):
                return self._named(channel)
            case pbx.ChannelUserevent(name=name, channel=pbx.Channel() as channel) if name == self.user_event:
                mark = Mark.read(event.fields.get("Call"))
                return self.announced(channel, mark.call if mark and mark.announcer == channel.id else None)
            case pbx.Dial(caller=pbx.Channel() as caller, peer=peer, status=status) if status in _DIALLING:
                return self._dialled(caller, peer, status)
            case pbx.ChannelStateChange(channel=channel) if channel.up:
                return self._answered(channel, event.at)
            case pbx.ChannelVarset(channel=pbx.Channel() as channel, variable=name, value=value):
                return self._asked(channel) if self.selection.set(channel, name, value) else []
            case pbx.ChannelDestroyed(channel=channel):
                return self._destroyed(channel.id, f"cause {event.cause}")
        return self._moved(event)

    def _moved(self, event: pbx.PbxEvent) -> list[Decision]:
        """Into a bridge or our application, or out of it."""
        match event:
            case pbx.ChannelEnteredBridge(channel=channel, bridge=bridge, holding=False):
                return [] if self._seen.own(channel.id) else self._met(self._meetings.enter(channel, bridge))
            case pbx.ChannelLeftBridge(channel=channel, bridge=bridge):
                self._meetings.leave(channel.id, bridge)
            case pbx.StasisStart(channel=channel) if not self._seen.own(channel.id):
                return self._sent(channel)
            case pbx.StasisEnd(channel=channel):
                self.guests.leave(channel.id)
        return []

    def _answered(self, channel: pbx.Channel, at_s: float) -> list[Decision]:
        self._seen.up.add(channel.id)
        if channel.id in self._legs:
            return [AnswerLeg(channel.id, at_s)]
        return self._asked(channel) if self.selection.open(channel.id) else []

    def announced(self, channel: pbx.Channel, call: CallId | None) -> list[Decision]:
        """The dialplan says that this is a call for us, or sends its audio; None: of a linkedid that has to
        be asked for. A rule may forbid it."""
        root = self._locals.root(channel)
        if self.selection.forbids(root.id) or (root is not channel and root.id in self._legs):
            return []  # that is told; or it is on the way to somebody whom that one calls
        choice = self.selection.choice(channel, None)
        if choice is not None and not choice.tap:
            return [Pass(channel.id, choice)]
        if call is None:
            return [LookUp(channel)]
        return self.start(channel, call, Role.CALLER, rule="" if choice is None else choice.rule)

    def _sent(self, channel: pbx.Channel, *, late: bool = False) -> list[Decision]:
        """The dialplan has sent a call to us, to stay."""
        if not self.guests.come(channel.id):
            return [GiveBack(channel.id)]
        choice = self.selection.choice(channel, None)
        if choice is not None and not choice.tap:
            return [Pass(channel.id, choice), GiveBack(channel.id)]
        if channel.id in self._legs or channel.id in self._pending:
            return []
        if choice is None:
            return [LookUp(channel, late=late)]
        self._pending[channel.id] = Asked(choice.rule, late=late)
        return [LookUp(channel, choice.rule, late=late)]

    # Who is dialled.

    def _dialled(self, caller: pbx.Channel, peer: pbx.Channel, status: str) -> list[Decision]:
        if self._seen.own(caller.id):  # a snoop of ours dials us
            self._seen.speaking.discard(peer.id)
            return []
        if self.selection.rules:
            self._seen.called.add(peer.id)
        if peer.local:
            self._locals.dial(peer, caller)
        led = self._led_on(self._locals.lead(caller)) if caller.local else []
        root = self._locals.root(caller)
        call = self._legs.get(caller.id) or self._legs.get(root.id) or self._locals.call(caller)
        if call is not None:
            return led + self._called_by(call, peer, status)
        return led + self._asked(caller, peer) + self._may_lead(caller, root, peer, status)

    def _called_by(self, call: CallId, peer: pbx.Channel, status: str) -> list[Decision]:
        """A leg of this call dials `peer`. Half of a Local channel may yet lead to somebody: nothing is lost
        by waiting until something rings."""
        if peer.local:
            self._locals.join(peer, call)
            if not (status or peer.up):
                return []
        return self.start(peer, call, Role.CALLEE)

    def _led_on(self, half: str | None) -> list[Decision]:
        """A half of a Local channel is no leg any more."""
        return [] if half is None or self._legs.pop(half, None) is None else [EndLeg(half, "led on")]

    def _may_lead(
        self, caller: pbx.Channel, root: pbx.Channel, peer: pbx.Channel, status: str
    ) -> list[Decision]:
        """Who is no leg dials somebody: perhaps it will be one, or it is on the way to somebody of a call
        that is followed, such as a Local channel of an attended transfer."""
        asked = self._pending.get(caller.id) or self._pending.get(root.id)
        if asked is not None:
            asked.peers.append((peer, status))
            return []
        if root is not caller or not (caller.local and self._legs) or self.selection.forbids(caller.id):
            return []
        self._pending[caller.id] = Asked(None, [(peer, status)])
        return [LookUp(caller, leads=True)]

    def _asked(self, channel: pbx.Channel, peer: pbx.Channel | None = None) -> list[Decision]:
        """Ask the rules about a channel that calls, and perhaps now dials `peer`, until one has chosen it. If
        it is half of a Local channel, what it does is done for whoever began."""
        root = self._locals.root(channel)
        if self._decided(channel.id) or self._decided(root.id):
            return []
        if channel.local and channel.calls and peer is None:
            self.selection.note(channel)  # who has dialled it is told only now
            return []
        choice = self.selection.choice(channel, peer)
        if choice is None:
            return []
        if not choice.tap:
            return [Pass(channel.id, choice)]
        asked = self._pending.setdefault(root.id, Asked(choice.rule))
        asked.rule = choice.rule
        return [LookUp(root, choice.rule)]

    def _decided(self, channel: str) -> bool:
        """Whether there is nothing to ask the rules about any more, or never was."""
        ours = channel in self._legs or self._seen.own(channel)
        return ours or channel in self._seen.called or self.selection.decided(channel) is not None

    def chosen(self, channel: pbx.Channel, linkedid: CallId | None, rule: str | None) -> list[Decision]:
        """The answer to a `LookUp` of a channel that a rule has chosen, or that leads to somebody; None:
        there is none to be had."""
        asked = self._pending.get(channel.id)
        if asked is None:
            return []  # it is gone
        if linkedid is None:
            del self._pending[channel.id]
        else:
            asked.rule, asked.channel, asked.linkedid = rule or asked.rule, channel, linkedid
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

    def _begun(self, asked: Asked, channel: pbx.Channel) -> list[Decision]:
        """A leg, unless its call is followed already: then it is on the way to those whom it dials."""
        decisions: list[Decision] = []
        call, rule = asked.linkedid, asked.rule
        if call not in self._legs.values() or channel.id in self.guests.here:
            if rule is not None:
                decisions = self.start(channel, call, Role.CALLER, found=asked.late, rule=rule)
            if not decisions:
                return []
        for peer, status in asked.peers:
            decisions += self._called_by(call, peer, status)
        return decisions + self._met(self._meetings.around(channel.id))

    # Who meets whom.

    def _met(self, together: tuple[pbx.Channel, ...], *, found: bool = False) -> list[Decision]:
        """Who comes to a followed call is part of it, and two calls that meet are one."""
        calls = {self._legs[one.id]: None for one in together if one.id in self._legs}
        if not calls:
            return []
        first = min(calls, key=lambda call: self._ages.get(call, 0.0))
        decisions: list[Decision] = []
        for one in together:
            if one.id not in self._legs and one.person and not self.selection.forbids(one.id):
                decisions += self.start(one, first, Role.CALLEE, found=found)
        return decisions + self._merge(calls, first)

    def _merge(self, calls: Iterable[CallId], first: CallId) -> list[Decision]:
        pairs = {(call, first): None for call in calls if call != first and (call, first) not in self._merged}
        self._merged |= pairs.keys()
        return [Merge(*pair) for pair in pairs]

    def _named(self, channel: pbx.Channel) -> list[Decision]:
        """Its number or name is another now; what was known of it stays."""
        news = self._seen.name(channel) and channel.id in self._legs
        return [KnowParty(self._seen.first_named(channel))] if news else []

    # Beginning and end.

    def start(
        self, channel: pbx.Channel, call: CallId, role: Role, *, found: bool = False, rule: str = ""
    ) -> list[Decision]:
        """A leg on this channel, unless there is one, the channel is ours, or it is gone by now."""
        if channel.id in self._legs or self._seen.gone(channel.id) or self._seen.own(channel.id):
            return []
        if channel.local and not self._locals.stand_in(channel, call):
            return []  # whoever it would stand in for is a leg
        self._legs[channel.id] = call
        self._ages.setdefault(call, self.created_s(call, channel))
        answered = self._seen.answered(channel)
        start = StartLeg(self._seen.first_named(channel), call, role, late=found and answered, rule=rule)
        return [start, AnswerLeg(channel.id, None)] if answered else [start]

    def _destroyed(self, channel: str, cause: str) -> list[Decision]:
        halves = self._locals.standing(self._seen.pair(channel))  # nothing can be heard on the other one now
        self._drop(channel)
        if self._seen.own(channel):
            return [EndTap(tap_of(channel))]
        self._seen.bury(channel)
        return [end for one in (channel, *halves) for end in self._end(one, cause)] + self._settle()

    def _end(self, channel: str, cause: str) -> list[Decision]:
        call = self._legs.pop(channel, None)
        if call is None:
            return []
        if call not in self._legs.values():
            self._merged = {pair for pair in self._merged if call not in pair}
            self._ages.pop(call, None)
        return [EndLeg(channel, cause)]

    def _drop(self, channel: str) -> None:
        """It is gone, and so is what was known of it."""
        self._pending.pop(channel, None)
        self._locals.drop(self._seen.pair(channel))
        self.guests.drop(channel)
        self._seen.drop(channel)
        self.selection.drop(channel)
        self._meetings.drop(channel)

    @property
    def speaking(self) -> int:
        """How many channels of the PBX's own carry audio, and so have RTP ports, at the most."""
        return len(self._seen.speaking)

    def lost(self) -> None:
        """The connection is lost: what happens from now on is missed."""
        if self._missed_since_s is None:
            self._missed_since_s = self._heard_s

    def forget(self, channel: str) -> None:
        """Its leg has ended, whether or not the PBX has said that the channel is gone."""
        self._legs.pop(channel, None)

    def created_s(self, call: CallId, channel: pbx.Channel) -> float:
        """When the call's first channel was created: the linkedid is its uniqueid."""
        return self._seen.created.get(call, channel.created)

    # Comparing.

    def known(self, taps: Iterable[str]) -> Known:
        """What is known at this moment; `taps` are those of ours that are in use."""
        return Known(frozenset(self._seen.created), frozenset(self._legs), frozenset(taps))

    def reconcile(self, census: Census, known: Known, taps: frozenset[str] = frozenset()) -> list[Decision]:
        """Decide on all that the PBX has; `known` is from before it was asked, `taps` are in use now.

        What began since need not be in the census, and is not gone for that; nor is it a stray if it is.
        """
        here = {channel.id: channel for channel in census.channels}
        for missed in known.channels - here.keys():
            self._drop(missed)
        for channel in here.values():
            self._seen.see(channel)
        dialling = [one for one in here.values() if one.local and one.dials]
        decisions = [end for one in dialling for end in self._led_on(self._locals.lead(one))] + self._settle()
        for gone in known.legs - here.keys():
            decisions += self._destroyed(gone, "gone")
        decisions += [EndTap(tap) for tap in known.taps - {tap_of(id_) for id_ in here}]
        self.selection.announced(here, census.marks.values())
        for channel in here.values():
            decisions += self._found(channel, census.marks.get(channel.id), known.taps | taps)
        decisions += self._unmarked(here, census.families)
        decisions += self._together(census.bridges, here, known.taps | taps)
        self._missed_since_s = None
        return decisions

    def _found(self, channel: pbx.Channel, mark: Mark | None, taps: frozenset[str]) -> list[Decision]:
        if self._seen.own(channel.id):
            return [] if tap_of(channel.id) in taps else [RemoveStray(channel.id)]
        if channel.id in self._legs:
            return [AnswerLeg(channel.id, self._missed_since_s)] if channel.up else []
        if self.guests.stays(channel):
            return self._sent(channel, late=True)
        if mark is None or self._locals.leads_on(channel) or self.selection.forbids(mark.announcer):
            return []
        if channel.name.endswith(";2") and mark.announcer != channel.id:
            return []  # the far half of a dialed Local channel carries the mark too, but no party's voice
        role = Role.CALLER if mark.announcer == channel.id else Role.CALLEE
        return self.start(channel, mark.call, role, found=True, rule=self.selection.rule(mark.announcer))

    def _unmarked(self, here: Mapping[str, pbx.Channel], families: Mapping[str, CallId]) -> list[Decision]:
        """Calls that nobody announced and that were there before us: the rules choose by what they do now."""
        ours = [one for one in here.values() if one.id in families and not self._seen.own(one.id)]
        decisions = [each for one in callers(ours, families) for each in self._adopted(one, families[one.id])]
        for one in called(ours, families, self._legs):
            if not self._locals.leads_on(one):
                decisions += self.start(one, families[one.id], Role.CALLEE, found=True)
        return decisions

    def _adopted(self, channel: pbx.Channel, call: CallId) -> list[Decision]:
        """The rules are asked in any case: one that is forbidden may be in a bridge with one that is not."""
        choice = self.selection.choice(channel, None)
        if choice is None or not choice.tap or call in self._legs.values():
            return []
        return self.start(channel, call, Role.CALLER, found=True, rule=choice.rule)

    def _together(
        self, bridges: Iterable[pbx.Bridge], here: Mapping[str, pbx.Channel], taps: frozenset[str]
    ) -> list[Decision]:
        """Those who were in a bridge before us, and bridges of ours that nothing runs."""
        strays = [one for one in bridges if self._seen.own(one.id) and tap_of(one.id) not in taps]
        decisions: list[Decision] = [RemoveBridge(one.id) for one in strays]
        for together in self._meetings.compare((one for one in bridges if not self._seen.own(one.id)), here):
            decisions += self._met(together, found=True)
        return decisions
