"""What FreeSWITCH tells over ESL, in the words of `pbxevents`: the same roster follows both PBXs.

Pure, but for what a `Follower` remembers of the channels that are up. The connection is in `bridge.net.esl`,
what is asked of the PBX in `bridge.net.freeswitch`. Sources: the events of FreeSWITCH 1.10.12 and 1.11.2 in
tests/captures/freeswitch. What it lists is in `freeswitchlists`.

A channel is up here once its party is heard by somebody: bridged, in a conference, or announced by the
dialplan and answered. A stream that is started sooner would cost the caller its ringback.

The halves of a loopback channel are nobody, and nothing is told of them: what the one dials or does, whoever
dialled the other one does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bridge.wire.esl import EslEvent
from bridge.wire.pbxevents import (
    Channel,
    ChannelCallerId,
    ChannelCreated,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelLeftBridge,
    ChannelStateChange,
    ChannelUserevent,
    ChannelVarset,
    Dial,
    PbxError,
    PbxEvent,
)
from bridge.wire.tapvalues import checked_id
from bridge.wire.wishes import VARIABLE

ANNOUNCED = "rtzr::call"
"""The event by which a dialplan says that a call is for us, its subclass."""
PAUSE, RESUME = "rtzr::pause", "rtzr::resume"
"""Those by which it says that from now on nothing of the call is to be heard, or all again."""
MARK = "RTZR_CALL"
"""The channel variable that it sets before."""
CONFERENCE = "conference::maintenance"
CHECK = "rtzr_check"
"""The channel variable of a call that `rtzr-bridge check` makes: nobody is in it, and nobody follows it."""
QUEUE = "cc_queue"
"""mod_callcenter's variable, on the channel of whoever waits in one."""
OTHER_HALF = "other_loopback_leg_uuid"
"""The variable by which each half of a loopback channel names the other. Source: mod_loopback.c."""
UNSET = "_undef_"
"""What `uuid_getvar` says of a variable that is not there."""

EVENTS = (
    "CHANNEL_CREATE", "CHANNEL_ORIGINATE", "CHANNEL_ANSWER", "CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE",
    "CHANNEL_HANGUP", "CHANNEL_DESTROY", "CALL_UPDATE",
)  # fmt: skip
VARIABLES_SET = "CHANNEL_EXECUTE_COMPLETE"
"""Comes for every step of every dialplan: asked for only where rules look at variables."""

KEYS = "DTMF"
"""Comes for every key that is pressed."""
_CUSTOM = (ANNOUNCED, PAUSE, RESUME)
_SETTERS = ("set", "export", "multiset")

PLACEHOLDER = "Outbound Call"
"""What FreeSWITCH calls a callee of whom it knows no name."""
_UNKNOWN_CAUSE = 0
_CAUSES = {
    "UNALLOCATED_NUMBER": 1, "NO_ROUTE_TRANSIT_NET": 2, "NO_ROUTE_DESTINATION": 3, "CHANNEL_UNACCEPTABLE": 6,
    "NORMAL_CLEARING": 16, "USER_BUSY": 17, "NO_USER_RESPONSE": 18, "NO_ANSWER": 19, "SUBSCRIBER_ABSENT": 20,
    "CALL_REJECTED": 21, "NUMBER_CHANGED": 22, "EXCHANGE_ROUTING_ERROR": 25, "DESTINATION_OUT_OF_ORDER": 27,
    "INVALID_NUMBER_FORMAT": 28, "FACILITY_REJECTED": 29, "NORMAL_UNSPECIFIED": 31,
    "NORMAL_CIRCUIT_CONGESTION": 34, "NETWORK_OUT_OF_ORDER": 38, "NORMAL_TEMPORARY_FAILURE": 41,
    "SWITCH_CONGESTION": 42, "REQUESTED_CHAN_UNAVAIL": 44, "OUTGOING_CALL_BARRED": 52,
    "INCOMING_CALL_BARRED": 54, "BEARERCAPABILITY_NOTAVAIL": 58, "SERVICE_UNAVAILABLE": 63,
    "INCOMPATIBLE_DESTINATION": 88, "RECOVERY_ON_TIMER_EXPIRE": 102, "INTERWORKING": 127,
    "ORIGINATOR_CANCEL": 16, "LOSE_RACE": 16, "MANAGER_REQUEST": 16, "ALLOTTED_TIMEOUT": 16,
    "MEDIA_TIMEOUT": 16, "ATTENDED_TRANSFER": 16, "BLIND_TRANSFER": 16, "PICKED_OFF": 16,
    "SYSTEM_SHUTDOWN": 16,
}  # fmt: skip
"""Q.850 numbers. FreeSWITCH's own causes have numbers above 127, and each is 16 in its hangup_cause_q850
(call-22, fs-52; switch_channel_cause_q850)."""


def cause_of(name: str) -> int:
    """The Q.850 number of a Hangup-Cause; 0 for one that is unknown."""
    return _CAUSES.get(name, _UNKNOWN_CAUSE)


def channel_of(headers: Mapping[str, str]) -> Channel:
    """Whom an event is about. Raises PbxError."""
    outbound = headers.get("Call-Direction") == "outbound"
    side = "Callee" if outbound else "Caller"
    number = headers.get(f"Caller-{side}-ID-Number") or (
        headers.get("Caller-Destination-Number", "") if outbound else ""
    )
    name = headers.get(f"Caller-{side}-ID-Name", "")
    called = headers.get("Other-Type") == "originator"
    return Channel(
        id=needed(headers, "Unique-ID"),
        name=headers.get("Channel-Name", ""),
        state="Down" if outbound else "Ring",
        number=number,
        caller_name="" if name == PLACEHOLDER else name,
        created=seconds(
            headers.get("Caller-Channel-Created-Time") or needed(headers, "Event-Date-Timestamp")
        ),
        application=application_of(called),
        application_data="",
        context=context_of(headers.get("Channel-Name", ""), headers.get("Caller-Context", ""), called),
        extension=headers.get("Caller-Destination-Number", ""),
    )


def context_of(name: str, context: str, called: bool) -> str:
    """Of a channel that was dialled FreeSWITCH gives its caller's: nothing in it says where it leads, but the
    profile that it goes out by does, as in sofia/external/0212345678@kt."""
    _, _, rest = name.partition("/")
    profile = rest.partition("/")[0]
    return profile if called and profile else context


def at_of(headers: Mapping[str, str]) -> float:
    """When an event was, by the PBX's clock, in Unix seconds. Raises PbxError."""
    return seconds(headers.get("Event-Date-Timestamp", ""))


def application_of(called: bool) -> str:
    """Asterisk's name for what runs on a channel that was dialled; nobody asks about any other's here."""
    return "AppDial" if called else ""


def needed(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise PbxError(f"event without {name}")
    return value


def seconds(microseconds: str) -> float:
    if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 20):
        raise PbxError("time of an event is not a number")
    return int(microseconds) / 1_000_000


@dataclass(slots=True)
class _Known:
    """A channel that is up."""

    channel: Channel
    answered: bool = False
    announced: bool = False
    heard: bool = False
    """Told as Up."""
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Follower:
    """Events in the order in which they came become those of `pbxevents`; `wanted` variables are told of."""

    wanted: frozenset[str] = frozenset()
    _known: dict[str, _Known] = field(default_factory=dict)
    _calls: dict[str, str] = field(default_factory=dict)
    """By channel, whoever originated it."""
    _ended: set[str] = field(default_factory=set)
    """Channels that were hung up, until the PBX has taken them down."""

    def take(self, event: EslEvent) -> list[PbxEvent]:
        """What it means; nothing, if we have no use for it. Raises PbxError for one that cannot be read."""
        headers = event.headers
        at = at_of(headers)
        if f"variable_{CHECK}" in headers:
            return []
        if event.name == "CUSTOM" and event.subclass == CONFERENCE:
            return self._conference(headers, at)
        if event.name not in (*EVENTS, VARIABLES_SET, KEYS) and event.subclass not in _CUSTOM:
            return []
        if event.name in ("CHANNEL_HANGUP", "CHANNEL_DESTROY"):
            return self._gone(headers, at, taken_down=event.name == "CHANNEL_DESTROY")
        if headers.get("Unique-ID") in self._ended:
            return []
        known = self._see(headers)
        if not known.channel.person:
            return self._looped(event, known, at)
        return [*self._news(event, known, at), *self._variables(event, known, at)]

    def call_of(self, channel: str) -> str | None:
        """The call that a channel was made for: the one of whoever originated it; None of one that was not
        seen."""
        if channel not in self._known:
            return None
        seen: set[str] = set()
        while (before := self._calls.get(channel)) is not None and channel not in seen:
            seen.add(channel)
            channel = before
        return channel

    def forget(self) -> None:
        """The connection is lost: what was known is asked for anew."""
        self._known.clear()
        self._calls.clear()
        self._ended.clear()

    def adopt(self, channel: Channel, originator: str = "") -> None:
        """A channel that was there before us, or while we were away."""
        if channel.id not in self._known and channel.id not in self._ended:
            self._known[channel.id] = _Known(channel, answered=channel.up, heard=channel.up)
            if originator:
                self._calls[channel.id] = originator

    # One event.

    def _see(self, headers: Mapping[str, str]) -> _Known:
        channel = channel_of(headers)
        known = self._known.get(channel.id)
        if known is None:
            known = self._known[channel.id] = _Known(channel)
        if headers.get("Other-Type") == "originator" and channel.id not in self._calls:
            self._calls[channel.id] = headers.get("Other-Leg-Unique-ID", "")
            was = known.channel
            context = context_of(was.name, was.context, called=True)
            known.channel = replace(was, application=application_of(called=True), context=context)
        elif far_half(channel.name) and (other := headers.get(f"variable_{OTHER_HALF}")):
            self._calls.setdefault(channel.id, other)
        if queue := headers.get(f"variable_{QUEUE}", ""):
            known.channel = replace(known.channel, application="Queue", application_data=queue)
        return known

    def _news(self, event: EslEvent, known: _Known, at: float) -> list[PbxEvent]:
        match event.name:
            case "CHANNEL_CREATE":
                return [ChannelCreated(at, known.channel)]
            case "CHANNEL_ORIGINATE":
                return self._dialled(known, at)
            case "CHANNEL_ANSWER":
                known.answered = True
                return self._up(known, at) if known.announced else []
            case "CHANNEL_BRIDGE" | "CHANNEL_UNBRIDGE":
                return self._met(event.headers, at, left=event.name == "CHANNEL_UNBRIDGE")
            case "CALL_UPDATE":
                return self._named(event.headers, known, at)
            case "CUSTOM":
                return self._said(event, known, at)
            case "DTMF":
                return [ChannelDtmfReceived(at, known.channel, event.headers.get("DTMF-Digit", ""))]
        return []

    def _looped(self, event: EslEvent, half: _Known, at: float) -> list[PbxEvent]:
        """Something happens to half of a loopback channel."""
        if event.name in ("CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE"):
            return self._met(event.headers, at, left=event.name == "CHANNEL_UNBRIDGE")
        caller = self._person(half.channel.id)
        if event.name != "CUSTOM" or caller is None:
            return []
        return self._said(event, caller, at)

    def _person(self, channel: str) -> _Known | None:
        """Itself; of half of a loopback channel, whoever dialled that."""
        seen: set[str] = set()
        while (known := self._known.get(channel)) is not None and not known.channel.person:
            seen.add(channel)
            channel = self._calls.get(channel, "")
            if channel in seen:
                return None
        return known

    def _lead(self, one: _Known, other: _Known, at: float) -> list[PbxEvent]:
        """A loopback channel that nobody dialled leads whoever is bridged with it to those behind it."""
        half, id_ = other.channel.id, one.channel.id
        if other.channel.person or not one.channel.person or half in self._calls or self.call_of(id_) == half:
            return []
        self._calls[half] = id_
        behind = [
            self._known[peer]
            for peer, before in self._calls.items()
            if peer in self._known and before != id_ and self._person(before) is one
        ]
        return [event for peer in behind if peer.channel.person for event in self._dialled(peer, at)]

    def _dialled(self, peer: _Known, at: float) -> list[PbxEvent]:
        caller = self._person(self._calls.get(peer.channel.id, ""))
        return [Dial(at, None if caller is None else caller.channel, peer.channel, "")]

    def _up(self, known: _Known, at: float) -> list[PbxEvent]:
        if known.heard:
            return []
        known.heard = True
        known.channel = replace(known.channel, state="Up")
        return [ChannelStateChange(at, known.channel)]

    def _met(self, headers: Mapping[str, str], at: float, *, left: bool) -> list[PbxEvent]:
        """Two people hear each other from now on, or no more."""
        pair = [needed(headers, f"Bridge-{side}-Unique-ID") for side in "AB"]
        both = [one for one in map(self._known.get, pair) if one is not None]
        together = [one for one in both if one.channel.person]
        bridge = bridge_id(*pair)
        if left:
            return [ChannelLeftBridge(at, one.channel, bridge) for one in together]
        up = [event for one in together for event in self._up(one, at)]
        led = [event for one in together for other in both for event in self._lead(one, other, at)]
        return [*up, *led, *(ChannelEnteredBridge(at, one.channel, bridge) for one in together)]

    def _named(self, headers: Mapping[str, str], known: _Known, at: float) -> list[PbxEvent]:
        """Number and name may be known better now; of a caller they stay what they were at first."""
        if known.channel.state == "Ring" or headers.get("Call-Direction") != "outbound":
            return []
        now = channel_of(headers)
        named = replace(known.channel, number=now.number, caller_name=now.caller_name)
        if named == known.channel:
            return []
        known.channel = named
        return [ChannelCallerId(at, named)]

    def _said(self, event: EslEvent, known: _Known, at: float) -> list[PbxEvent]:
        """By the dialplan."""
        if event.subclass != ANNOUNCED:
            return [ChannelUserevent(at, known.channel, event.subclass, {})]
        return self._announced(event.headers, known, at)

    def _announced(self, headers: Mapping[str, str], known: _Known, at: float) -> list[PbxEvent]:
        known.announced = True
        own = headers.get("Unique-ID") == known.channel.id
        known.answered = known.answered or (own and headers.get("Answer-State") == "answered")
        told = {"Call": headers.get(f"variable_{MARK}", "")}
        event = ChannelUserevent(at, known.channel, ANNOUNCED, told)
        return [event, *(self._up(known, at) if known.answered else [])]

    def _conference(self, headers: Mapping[str, str], at: float) -> list[PbxEvent]:
        """Source: conference_event.c: Action, Conference-Name and the channel's own headers."""
        action = headers.get("Action")
        if action not in ("add-member", "del-member") or "Unique-ID" not in headers:
            return []
        known = self._person(self._see(headers).channel.id)
        if known is None:
            return []
        bridge = conference_id(headers.get("Conference-Name", ""))
        if action == "del-member":
            return [ChannelLeftBridge(at, known.channel, bridge)]
        return [*self._up(known, at), ChannelEnteredBridge(at, known.channel, bridge)]

    def _gone(self, headers: Mapping[str, str], at: float, *, taken_down: bool) -> list[PbxEvent]:
        channel = needed(headers, "Unique-ID")
        if taken_down:
            self._ended.discard(channel)
        else:
            self._ended.add(channel)
        known = self._known.pop(channel, None)
        before = self._calls.pop(channel, None)
        if known is not None and not known.channel.person and before is not None:  # it has bowed out
            self._calls |= {peer: before for peer, half in self._calls.items() if half == channel}
        if known is None or not known.channel.person:
            return []  # its end was told already, or its beginning never
        return [ChannelDestroyed(at, known.channel, cause_of(headers.get("Hangup-Cause", "")))]

    def _variables(self, event: EslEvent, known: _Known, at: float) -> Iterator[PbxEvent]:
        for name in self.wanted:
            value = event.headers.get(f"variable_{name}")
            news = _sets(event, name) if name == VARIABLE else known.variables.get(name) != value
            if value is not None and news:
                known.variables[name] = value
                yield ChannelVarset(at, known.channel, name, value)


def _sets(event: EslEvent, name: str) -> bool:
    """Whether the event tells of a variable that was set, or of a channel that began with it. Every event has
    all variables, as they were when it was made: what we have set since could be taken for set back."""
    applied = event.headers.get("Application") in _SETTERS and name in event.headers.get(
        "Application-Data", ""
    )
    return event.name == "CHANNEL_CREATE" or (event.name == VARIABLES_SET and applied)


def far_half(name: str) -> bool:
    """Of a loopback channel: a channel that came in, as if by itself. Source: mod_loopback.c."""
    return name.startswith("loopback/") and name.endswith("-b")


def bridge_id(one: str, other: str) -> str:
    """FreeSWITCH's bridges have no id of their own: two channels are together."""
    return f"{one}+{other}"


def conference_id(name: str) -> str:
    """By its name, which one has at a time: of the id in its events no list tells."""
    return f"conference.{name}"


# What is asked for.


def tone_call(channel: str, hz: int, seconds: int) -> tuple[str, ...]:
    """The words of the command that makes a call within the PBX: a tone is heard on `channel`, whose id we
    choose, and it is over by itself once the tone is. Raises PbxError.

    Sources: mod_loopback.c (`app=`, which takes all that follows as the application's; both halves get the
    variables), switch_utils.c and switch_ivr_originate.c (a dial string is parted at commas: hence `\\,`).
    """
    given = f"{{origination_uuid={checked_id(channel)},{CHECK}=true}}"
    tone = f"%({1000 * seconds}\\,0\\,{hz})"
    return "originate", f"{given}loopback/app=playback:tone_stream://{tone}", "&park()"
