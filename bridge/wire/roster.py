"""Which of Asterisk's channels are legs, of which call and in which role: ARI events in, decisions out.

A call is ours once its dialplan has said so (`UserEvent(RTZR,...)`): the announcing channel is the caller's
leg, and every channel that a leg dials is a callee's. Decisions only; the switchboard carries them out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.types import CallId, Role
from bridge.wire import ari

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
    channel: ari.Channel
    call: CallId
    role: Role
    late: bool = False
    """Whether it was up already when it was found: what was said before is not known."""


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
    """Announced without a readable mark: the PBX has to be asked for the linkedid."""

    channel: ari.Channel


Decision = StartLeg | AnswerLeg | EndLeg | EndTap | RemoveStray | LookUp


@dataclass(frozen=True, slots=True)
class Known:
    """What ran here at one moment, by channel id."""

    channels: frozenset[str]
    legs: frozenset[str]
    taps: frozenset[str]


@dataclass(slots=True)
class Roster:
    """The legs that are up, by channel id."""

    user_event: str
    own_prefix: str
    """How the ids of our own channels begin."""
    _legs: dict[str, CallId] = field(default_factory=dict)
    _created: dict[str, float] = field(default_factory=dict)
    _up: set[str] = field(default_factory=set)
    _gone: dict[str, None] = field(default_factory=dict)
    """The newest channels that were destroyed: what is still on its way about them comes too late."""
    _heard_s: float | None = None
    _missed_since_s: float | None = None
    """The PBX's time from which on events were missed, when the connection was lost."""

    def take(self, event: ari.AriEvent) -> list[Decision]:
        """Decide on one event, in the order in which the PBX sent it."""
        self._heard_s = event.at
        match event:
            case ari.ChannelCreated(channel=channel):
                self._created[channel.id] = channel.created
            case ari.ChannelUserevent(name=name, channel=ari.Channel() as channel) if name == self.user_event:
                return self._announced(channel, Mark.read(event.fields.get("Call")))
            case ari.Dial(caller=ari.Channel() as caller, peer=peer, status=status) if status in _DIALLING:
                return self._dialed(caller, peer)
            case ari.ChannelStateChange(channel=channel) if channel.up:
                self._up.add(channel.id)
                return [AnswerLeg(channel.id, event.at)] if channel.id in self._legs else []
            case ari.ChannelDestroyed(channel=channel):
                return self._destroyed(channel.id, f"cause {event.cause}")
        return []

    def _announced(self, channel: ari.Channel, mark: Mark | None) -> list[Decision]:
        if mark is None or mark.announcer != channel.id:
            return [LookUp(channel)]
        return self.start(channel, mark.call, Role.CALLER)

    def _dialed(self, caller: ari.Channel, peer: ari.Channel) -> list[Decision]:
        call = self._legs.get(caller.id)
        return self.start(peer, call, Role.CALLEE) if call is not None else []

    def _destroyed(self, channel: str, cause: str) -> list[Decision]:
        self._created.pop(channel, None)
        self._up.discard(channel)
        if channel.startswith(self.own_prefix):
            return [EndTap(channel)]
        self._gone[channel] = None
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        return [EndLeg(channel, cause)] if self._legs.pop(channel, None) is not None else []

    def start(self, channel: ari.Channel, call: CallId, role: Role, *, found: bool = False) -> list[Decision]:
        """A leg on this channel, unless there is one, the channel is ours, or it is gone by now."""
        if channel.id in self._legs or channel.id in self._gone or channel.id.startswith(self.own_prefix):
            return []
        self._legs[channel.id] = call
        answered = channel.up or channel.id in self._up
        start = StartLeg(channel, call, role, late=found and answered)
        return [start, AnswerLeg(channel.id, None)] if answered else [start]

    def lost(self) -> None:
        """The connection is lost: what happens from now on is missed."""
        if self._missed_since_s is None:
            self._missed_since_s = self._heard_s

    def forget(self, channel: str) -> None:
        """Its leg has ended, whether or not the PBX has said that the channel is gone."""
        self._legs.pop(channel, None)

    def created_s(self, call: CallId, channel: ari.Channel) -> float:
        """When the call's first channel was created: the linkedid is its uniqueid."""
        return self._created.get(call, channel.created)

    def known(self, taps: Iterable[str]) -> Known:
        """What is known at this moment; `taps` are our own channels that are in use."""
        return Known(frozenset(self._created), frozenset(self._legs), frozenset(taps))

    def reconcile(
        self,
        channels: Iterable[ari.Channel],
        marks: Mapping[str, Mark],
        known: Known,
        taps: frozenset[str] = frozenset(),
    ) -> list[Decision]:
        """Decide on all that the PBX has; `known` is from before it was asked, `taps` are in use now.

        What began since need not be in `channels`, and is not gone for that; nor is it a stray if it is.
        """
        here = {channel.id: channel for channel in channels}
        for missed in known.channels - here.keys():
            self._created.pop(missed, None)
            self._up.discard(missed)
        self._created |= {channel.id: channel.created for channel in here.values()}
        decisions: list[Decision] = []
        for gone in known.legs - here.keys():
            decisions += self._destroyed(gone, "gone")
        decisions += [EndTap(tap) for tap in known.taps - here.keys()]
        for channel in here.values():
            decisions += self._found(channel, marks.get(channel.id), known.taps | taps)
        self._missed_since_s = None
        return decisions

    def _found(self, channel: ari.Channel, mark: Mark | None, taps: frozenset[str]) -> list[Decision]:
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
