"""Asterisk's REST interface as values: events read from text, requests described.

Pure. The sockets are in `bridge.net.ari`; which channel is tapped, and when, is the switchboard's decision.
Sources: rest-api/api-docs/{events,channels,applications}.json of Asterisk 22; recorded events in
tests/captures/asterisk/.
"""

import ipaddress
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args
from urllib.parse import quote

from bridge.types import Codec

_MAX_TEXT = 1 << 20
_MAX_FIELD = 4096
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")
_CHANNEL_ID = re.compile(r"[!-+\--~]{1,149}")
"""Printable ASCII without space and comma: the id becomes an argument in the dialplan and a path in a URL."""


class AriError(ValueError):
    """Text that is not an event or a reply of ARI, or a value that cannot go into a request."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it was when the event or reply was made."""

    id: str
    name: str
    """Technology, peer and counter: `PJSIP/alice-0000002a`, `Local/100@phones-00000001;1`."""
    state: str
    """Down, Ring (it calls), Ringing (it is called), Up, ..."""
    number: str = field(repr=False)
    """The party's own number: the caller's on the caller's channel, the dialled one on the callee's."""
    caller_name: str = field(repr=False)
    created: float
    """Unix seconds by the PBX's clock."""
    application: str
    """What the dialplan runs on it now: Dial, ChanSpy, AppDial (a dialled channel), Stasis, ..."""
    application_data: str = field(repr=False)

    @property
    def up(self) -> bool:
        return self.state == "Up"


@dataclass(frozen=True, slots=True)
class ChannelCreated:
    at: float
    """Unix seconds by the PBX's clock, in this and every other event."""
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelStateChange:
    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelHangupRequest:
    """Somebody wants it gone; it can come twice, and its ChannelDestroyed follows."""

    at: float
    channel: Channel
    cause: int


@dataclass(frozen=True, slots=True)
class ChannelDestroyed:
    at: float
    channel: Channel
    cause: int
    """Q.850: 16 normal clearing, 17 busy, 19 no answer, ..., 0 unknown."""


@dataclass(frozen=True, slots=True)
class ChannelUserevent:
    at: float
    channel: Channel | None
    name: str
    fields: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dial:
    """`peer` is being dialled, by `caller` (None: by an originate)."""

    at: float
    caller: Channel | None
    peer: Channel
    status: str
    """Empty at the beginning, then RINGING, PROGRESS, ANSWER, BUSY, NOANSWER, CANCEL, ..."""


@dataclass(frozen=True, slots=True)
class ChannelEnteredBridge:
    at: float
    channel: Channel
    bridge: str


@dataclass(frozen=True, slots=True)
class ChannelLeftBridge:
    at: float
    channel: Channel
    bridge: str


@dataclass(frozen=True, slots=True)
class ApplicationReplaced:
    """Another client connected with our application name; this connection will stay silent for ever."""

    at: float


AriEvent = (
    ChannelCreated
    | ChannelStateChange
    | ChannelHangupRequest
    | ChannelDestroyed
    | ChannelUserevent
    | Dial
    | ChannelEnteredBridge
    | ChannelLeftBridge
    | ApplicationReplaced
)


def parse(text: str | bytes) -> AriEvent | None:
    """One message of the event WebSocket; None for a type that is not ours. Raises AriError."""
    event = _object(_decoded(text), "event")
    kind = _text(event, "type")
    return _read(kind, event, seconds(_text(event, "timestamp"))) if kind in _TYPES else None


def channel(value: object) -> Channel:
    """A Channel object of a reply or an event. Raises AriError."""
    fields = _object(value, "channel")
    caller = _object(fields.get("caller", {}), "caller")
    dialplan = _object(fields.get("dialplan", {}), "dialplan")
    return Channel(
        id=_text(fields, "id"),
        name=_text(fields, "name"),
        state=_text(fields, "state"),
        number=_text(caller, "number", ""),
        caller_name=_text(caller, "name", ""),
        created=seconds(_text(fields, "creationtime")),
        application=_text(dialplan, "app_name", ""),
        application_data=_text(dialplan, "app_data", ""),
    )


def one_channel(text: str | bytes) -> Channel:
    """The reply to POST /channels. Raises AriError."""
    return channel(_decoded(text))


def channels(text: str | bytes) -> tuple[Channel, ...]:
    """The reply to GET /channels. Raises AriError."""
    return tuple(map(channel, _list(_decoded(text, limit=None))))


@dataclass(frozen=True, slots=True)
class Bridge:
    id: str
    channels: tuple[str, ...]
    """Ids of the channels in it."""


def bridges(text: str | bytes) -> tuple[Bridge, ...]:
    """The reply to GET /bridges. Raises AriError."""
    found = (_object(value, "bridge") for value in _list(_decoded(text, limit=None)))
    return tuple(Bridge(_text(b, "id"), tuple(map(str, _list(b.get("channels", []))))) for b in found)


@dataclass(frozen=True, slots=True)
class Pbx:
    """Which Asterisk answers, and since when: another `started` means that every earlier call is gone."""

    version: str
    entity: str
    started: float
    """Unix seconds by the PBX's clock."""


def pbx(text: str | bytes) -> Pbx:
    """The reply to GET /asterisk/info. Raises AriError."""
    info = _object(_decoded(text), "info")
    system, status = _object(info.get("system"), "system"), _object(info.get("status"), "status")
    return Pbx(_text(system, "version"), _text(system, "entity_id"), seconds(_text(status, "startup_time")))


def value(text: str | bytes) -> str:
    """The reply to GET .../variable. Raises AriError."""
    return _text(_object(_decoded(text), "variable"), "value")


def complaint(text: str | bytes) -> str:
    """What the PBX says in the body of a refusal, as one short line; empty when we cannot read it."""
    try:
        body = _object(_decoded(text), "refusal")
    except AriError:
        return ""
    said = body.get("message") or body.get("error") or ""
    return " ".join(str(said).split())[:200]


def seconds(timestamp: str) -> float:
    """Unix seconds of ARI's `2026-11-22T16:40:49.298+0000`. Raises AriError."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise AriError("time stamp is not a date") from None
    if moment.tzinfo is None:
        raise AriError("time stamp has no zone")
    return moment.timestamp()


_TYPES = tuple(kind.__name__ for kind in get_args(AriEvent))
"""ARI's own names, which the classes above carry."""


def _read(kind: str, event: dict[str, Any], at: float) -> AriEvent:
    match kind:
        case "ChannelCreated":
            return ChannelCreated(at, channel(event.get("channel")))
        case "ChannelStateChange":
            return ChannelStateChange(at, channel(event.get("channel")))
        case "ChannelHangupRequest":
            return ChannelHangupRequest(at, channel(event.get("channel")), _cause(event))
        case "ChannelDestroyed":
            return ChannelDestroyed(at, channel(event.get("channel")), _cause(event))
        case "ChannelUserevent":
            fields = _texts(event.get("userevent", {}))
            return ChannelUserevent(
                at, _optional_channel(event, "channel"), _text(event, "eventname"), fields
            )
        case "Dial":
            caller = _optional_channel(event, "caller")
            return Dial(at, caller, channel(event.get("peer")), _text(event, "dialstatus"))
        case "ChannelEnteredBridge":
            return ChannelEnteredBridge(at, channel(event.get("channel")), _bridge_id(event))
        case "ChannelLeftBridge":
            return ChannelLeftBridge(at, channel(event.get("channel")), _bridge_id(event))
        case _:
            return ApplicationReplaced(at)


def _decoded(text: str | bytes, limit: int | None = _MAX_TEXT) -> object:
    if limit is not None and len(text) > limit:
        raise AriError(f"message longer than {limit}")
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        raise AriError("not JSON") from None
    return decoded


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AriError(f"{what} is not an object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise AriError("not a list")
    return value


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    text = fields.get(name, default)
    if not isinstance(text, str):
        raise AriError(f"{name} is not a text")
    if len(text) > _MAX_FIELD:
        raise AriError(f"{name} is longer than {_MAX_FIELD}")
    return text


def _texts(value: object) -> dict[str, str]:
    fields = _object(value, "userevent")
    return {name: text[:_MAX_FIELD] for name, text in fields.items() if isinstance(text, str)}


def _optional_channel(event: dict[str, Any], name: str) -> Channel | None:
    return None if event.get(name) is None else channel(event[name])


def _cause(event: dict[str, Any]) -> int:
    cause = event.get("cause", 0)
    if not isinstance(cause, int) or isinstance(cause, bool):
        raise AriError("cause is not a number")
    return cause


def _bridge_id(event: dict[str, Any]) -> str:
    return _text(_object(event.get("bridge"), "bridge"), "id")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, relative to ARI's base URL. The path is quoted already, the query is not."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = field(default=None, repr=False)


def subscription(app: str) -> Request:
    """Ask for the events of all channels and bridges (an empty id is all).

    Never `subscribeAll` on the WebSocket: tearing it down can deadlock ARI (asterisk issue 2170).
    """
    query = {"eventSource": "channel:,bridge:"}
    return Request("POST", f"applications/{quote(app, safe='')}/subscription", query)


def event_filter(app: str) -> Request:
    """Ask for the event types that `parse` knows; ChannelVarset and ChannelDialplan are most of all others.

    A list without ApplicationReplaced would keep that one from us too (seen on 22.10.1).
    """
    body = {"allowed": [{"type": name} for name in _TYPES]}
    return Request("PUT", f"applications/{quote(app, safe='')}/eventFilter", body=body)


def originate_tap(tap: str, tapped: str, host: str, port: int, codec: Codec, context: str) -> Request:
    """Start a UnicastRTP channel `tap`, sending to `host`:`port`, in the dialplan's `context` that spies on
    `tapped`.

    It leaves no call record, and ends by itself with the tapped channel. Raises AriError for a value that
    could be taken for more than one argument.
    """
    query = {
        "endpoint": f"UnicastRTP/{_host(host)}:{_port(port)}/c({codec.label})",
        "context": context,
        "extension": "s",
        "priority": "1",
        "channelId": _checked_id(tap),
        "formats": codec.label,
    }
    variables = {"RTZR_CHAN": _checked_id(tapped), "CDR_PROP(disable)": "1"}
    return Request("POST", "channels", query, {"variables": variables})


def hangup(channel_id: str) -> Request:
    """Raises AriError for what cannot be a channel's id, as the next one does."""
    return Request("DELETE", f"channels/{quote(_checked_id(channel_id), safe='')}")


def variable(channel_id: str, name: str) -> Request:
    """Ask for a channel's variable or function, whether the channel is in Stasis or not.

    Any id will do, quoted: others may have given theirs a space or a comma.
    """
    return Request("GET", f"channels/{quote(channel_id, safe='')}/variable", {"variable": name})


def _checked_id(text: str) -> str:
    if not _CHANNEL_ID.fullmatch(text):
        raise AriError("not a channel id")
    return text


def _host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise AriError("not a host name or address") from None
        return host
    return f"[{host}]" if address.version == 6 else host


def _port(port: int) -> int:
    if not 0 < port < 65536:
        raise AriError("not a port")
    return port
