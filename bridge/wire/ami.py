"""Asterisk's manager interface (AMI) as values: its events and replies read, its actions written.

Pure, but for what a `Reader` remembers. The socket, and panoramisk, which cuts it into messages, are in
`bridge.net.ami`. Sources: the manager events and actions of Asterisk 22; recorded ones in
tests/captures/asterisk/ami.txt.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import md5
from typing import Any

from bridge.wire.pbxevents import (
    Bridge,
    Channel,
    ChannelCallerId,
    ChannelCreated,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelHangupRequest,
    ChannelHold,
    ChannelLeftBridge,
    ChannelStateChange,
    ChannelUnhold,
    ChannelUserevent,
    ChannelVarset,
    Dial,
    PbxError,
    PbxEvent,
    PbxInfo,
)
from bridge.wire.taporder import TapOrder
from bridge.wire.tapvalues import checked_host, checked_id, checked_port

Message = Mapping[str, Any]
"""Headers by name, whatever their case; a header that is repeated is a list."""
Action = dict[str, str]

_MAX_FIELD = 4096
_UNKNOWN = "<unknown>"
_HOLDING = "holding_bridge"
"""The technology of a bridge in which calls wait."""
_DURATION = re.compile(r"(\d+):(\d\d):(\d\d)")
_ESCAPED = re.compile(r"\\(.)")
_CHANNELS = """
event privilege channel channelstate channelstatedesc calleridnum calleridname connectedlinenum
connectedlinename language accountcode context exten priority uniqueid linkedid userevent timestamp
systemname sequencenumber file line func content
"""
"""Headers of a UserEvent that are the channel's, not the dialplan's."""

_DIALS = ("DialBegin", "DialState", "DialEnd")
_SET = ("UserEvent", "VarSet", "DTMFEnd")
_OF_A_CHANNEL: Mapping[str, Callable[[float, Channel], PbxEvent]] = {
    "Newchannel": ChannelCreated,
    "Newstate": ChannelStateChange,
    "NewCallerid": ChannelCallerId,
    "Hold": ChannelHold,
    "Unhold": ChannelUnhold,
}
_HAPPENED = (
    *_OF_A_CHANNEL, "Hangup", "HangupRequest", "SoftHangupRequest", "QueueCallerJoin", "BridgeEnter",
    "BridgeLeave",
)  # fmt: skip

NEEDED = {
    "Originate": "originate",
    "Hangup": "call",
    "Getvar": "call",
    "CoreShowChannels": "reporting",
}
"""Action that we use: the right that brings it."""
_NEEDLESS = {"Command": "command", "ModuleLoad": "system", "UpdateConfig": "config"}


class AmiError(PbxError):
    """A message that lacks what it should have, or a value that cannot go into an action."""


def events_mask(*, variables: bool, digits: bool = False) -> str:
    """The classes of events that we read; the dialplan's, which are most of all, only with `variables`, and
    keys only with `digits`."""
    return "call,agent,user" + (",dialplan" if variables else "") + (",dtmf" if digits else "")


def login(username: str, secret: str, challenge: str, events: str) -> Action:
    """The answer to `Challenge`: the secret itself never goes over the line."""
    key = md5(f"{challenge}{secret}".encode(), usedforsecurity=False).hexdigest()
    return written(Action="Login", AuthType="MD5", Username=username, Key=key, Events=events)


def originate_tap(order: TapOrder) -> Action:
    """Start a media channel that spies on the tapped one.

    It needs no dialplan, leaves no call record, and ends by itself with the tapped channel. Raises PbxError
    for a value that could be taken for more than one argument.
    """
    return written(
        Action="Originate",
        Channel=order.media.endpoint,
        ChannelId=checked_id(order.media_id),
        Application="ChanSpy",
        Data=f"{checked_id(order.tapped)},qouES",
        Codecs=order.media.codec.label,
        Variable="CDR_PROP(disable)=1",
        Async="true",
    )


def originate_phone(phone: str, host: str, port: int) -> Action:
    """Start a UnicastRTP channel that is silent for a while: a telephone for a self-test. Raises PbxError."""
    return written(
        Action="Originate",
        Channel=f"UnicastRTP/{checked_host(host)}:{checked_port(port)}/c(ulaw)",
        ChannelId=checked_id(phone),
        Application="Wait",
        Data="10",
        Codecs="ulaw",
        Variable="CDR_PROP(disable)=1",
        Async="true",
    )


def told(name: str, channel: str, fields: Mapping[str, str]) -> Action:
    """An event for all who listen to the manager interface."""
    return written(**{"Action": "UserEvent", "UserEvent": name, "ChannelId": channel, **fields})


def variable(channel: str, name: str, value: str) -> Action:
    """Set a channel's variable."""
    return written(Action="Setvar", Channel=channel, Variable=name, Value=value)


def ask(name: str) -> Action:
    """Ask for a global variable, or for what a function says of no channel."""
    return written(Action="Getvar", Variable=name)


def setting(file: str, name: str) -> Action:
    """Ask for a key of `[general]` in one of the PBX's files. It needs no right to read files."""
    return ask(f"AST_CONFIG({file},general,{name})")


def written(**fields: str) -> Action:
    """An action. Raises AmiError for what would end a line: the rest would be a header of its own."""
    for name, value in fields.items():
        if any(sign in value for sign in "\r\n\0"):
            raise AmiError(f"{name} has a line break in it")
    return fields


def refusal(reply: Message) -> str | None:
    """Why an action was refused; None when it was not."""
    if _text(reply, "Response") in ("Success", "Follows", "Goodbye"):
        return None
    return " ".join(_text(reply, "Message").split())[:200] or "refused"


def rights(commands: Message) -> tuple[list[str], list[str]]:
    """What the reply to ListCommands tells of an account: the rights that it lacks, and those beyond need."""
    missing = {right for action, right in NEEDED.items() if action not in commands}
    needless = {right for action, right in _NEEDLESS.items() if action in commands}
    return sorted(missing), sorted(needless)


def info(settings: Message, status: Message) -> PbxInfo:
    """The replies to CoreSettings and CoreStatus. Raises AmiError."""
    began = f"{_text(status, 'CoreStartupDate')}T{_text(status, 'CoreStartupTime')}"
    try:
        started = datetime.fromisoformat(began).astimezone().timestamp()
    except ValueError:
        raise AmiError("start of the PBX is not a date") from None
    return PbxInfo(_text(settings, "AsteriskVersion"), _text(settings, "SystemName"), started)


def bridges(channels: Iterable[Message], listed: Iterable[Message]) -> tuple[Bridge, ...]:
    """Who is with whom, by the replies to CoreShowChannels and BridgeList. Raises AmiError."""
    found: dict[str, set[str]] = {}
    for one in channels:
        if bridge := _text(one, "BridgeId"):
            found.setdefault(bridge, set()).add(_needed(one, "Uniqueid"))
    holding = {_text(one, "BridgeUniqueid") for one in listed if _text(one, "BridgeTechnology") == _HOLDING}
    return tuple(Bridge(one, frozenset(there), one in holding) for one, there in found.items())


@dataclass(slots=True)
class Reader:
    """Messages in, events out; it remembers of each live channel what later messages leave out."""

    _created: dict[str, float] = field(default_factory=dict)
    _queues: dict[str, str] = field(default_factory=dict)
    """By channel id, the queue that it waits in or was answered from."""

    def event(self, message: Message, now_s: float) -> PbxEvent | None:
        """One event, received at `now_s` (Unix seconds); None for one that is not ours. Raises AmiError."""
        kind = _text(message, "Event")
        if kind in _DIALS:
            caller = self._channel(message, now_s) if "Uniqueid" in message else None
            peer = self._channel(message, now_s, "Dest")
            return Dial(now_s, caller, peer, _text(message, "DialStatus"))
        if kind in _SET:
            return self._said(kind, message, now_s)
        return self._happened(kind, message, now_s) if kind in _HAPPENED else None

    def _said(self, kind: str, message: Message, now_s: float) -> PbxEvent | None:
        """What the dialplan says, of a channel or of none, or somebody with a key."""
        channel = self._channel(message, now_s) if "Uniqueid" in message else None
        if kind == "VarSet":
            return ChannelVarset(now_s, channel, _text(message, "Variable"), _text(message, "Value"))
        if kind == "DTMFEnd":
            if channel is None or _text(message, "Direction") != "Received":
                return None
            return ChannelDtmfReceived(now_s, channel, _text(message, "Digit"))
        return ChannelUserevent(now_s, channel, _text(message, "UserEvent"), _own_fields(message))

    def _happened(self, kind: str, message: Message, now_s: float) -> PbxEvent | None:
        """What happens to one channel."""
        if kind == "Newchannel":
            self._created[_needed(message, "Uniqueid")] = now_s
        elif kind == "QueueCallerJoin":
            self._queues[_needed(message, "Uniqueid")] = _text(message, "Queue")
        channel = self._channel(message, now_s)
        if kind in _OF_A_CHANNEL:
            return _OF_A_CHANNEL[kind](now_s, channel)
        match kind:
            case "BridgeEnter":
                holding = _text(message, "BridgeTechnology") == _HOLDING
                return ChannelEnteredBridge(now_s, channel, _needed(message, "BridgeUniqueid"), holding)
            case "BridgeLeave":
                return ChannelLeftBridge(now_s, channel, _needed(message, "BridgeUniqueid"))
            case "Hangup":
                self._created.pop(channel.id, None)
                self._queues.pop(channel.id, None)
                return ChannelDestroyed(now_s, channel, _number(message, "Cause"))
            case "HangupRequest" | "SoftHangupRequest":
                return ChannelHangupRequest(now_s, channel, _number(message, "Cause"))
        return None

    def channels(self, messages: Iterable[Message], now_s: float) -> tuple[Channel, ...]:
        """The reply to CoreShowChannels. Raises AmiError."""
        listed = [one for one in messages if _text(one, "Event") == "CoreShowChannel"]
        for one in listed:
            self._created.setdefault(_needed(one, "Uniqueid"), now_s - _duration_s(_text(one, "Duration")))
        return tuple(self._channel(one, now_s) for one in listed)

    def _channel(self, message: Message, now_s: float, prefix: str = "") -> Channel:
        id_ = _needed(message, f"{prefix}Uniqueid")
        queue = self._queues.get(id_)
        return Channel(
            id=id_,
            name=_needed(message, f"{prefix}Channel"),
            state=_text(message, f"{prefix}ChannelStateDesc"),
            number=_known(message, f"{prefix}CallerIDNum"),
            caller_name=_ESCAPED.sub(r"\1", _known(message, f"{prefix}CallerIDName")),
            created=self._created.get(id_, now_s),
            application=_text(message, "Application") if queue is None else "Queue",
            application_data=_text(message, "ApplicationData") if queue is None else queue,
            context=_text(message, f"{prefix}Context"),
            extension=_text(message, f"{prefix}Exten"),
        )


def _text(message: Message, name: str) -> str:
    """A header's value, the first if it is repeated; empty without one."""
    value = message.get(name, "")
    if isinstance(value, list):
        value = value[0]
    return str(value)[:_MAX_FIELD]


def _needed(message: Message, name: str) -> str:
    value = _text(message, name)
    if not value:
        raise AmiError(f"{_text(message, 'Event')} has no {name}")
    return value


def _known(message: Message, name: str) -> str:
    value = _text(message, name)
    return "" if value == _UNKNOWN else value


def _number(message: Message, name: str) -> int:
    value = _text(message, name)
    return int(value) if value.isascii() and value.isdigit() else 0


def _own_fields(message: Message) -> dict[str, str]:
    return {name: _text(message, name) for name in message if name.lower() not in _CHANNELS.split()}


def _duration_s(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        return 0.0
    hours, minutes, seconds = map(int, found.groups())
    return 3600.0 * hours + 60 * minutes + seconds
