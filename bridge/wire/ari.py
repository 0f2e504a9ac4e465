"""Asterisk's REST interface as values: its events and replies, read from text.

Pure. Requests are in `arirequest`, the sockets in `bridge.net.ari`; which channel is tapped, and when, is the
switchboard's decision.
Sources: rest-api/api-docs/{events,channels,applications}.json of Asterisk 22; recorded events in
tests/captures/asterisk/.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, get_args

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
    StasisEnd,
    StasisStart,
)

_MAX_TEXT = 1 << 20
_MAX_FIELD = 4096

_T = TypeVar("_T")


class AriError(PbxError):
    """Text that is not an event or a reply of ARI, or a value that cannot go into a request."""


@dataclass(frozen=True, slots=True)
class ApplicationReplaced:
    """Another client connected with our application name; this connection will stay silent for ever."""

    at: float


AriEvent = PbxEvent | ApplicationReplaced


def parse(text: str | bytes) -> AriEvent | None:
    """One message of the event WebSocket; None for a type that is not ours. Raises AriError."""
    event = _object(_decoded(text), "event")
    kind = _text(event, "type")
    return _read(kind, event, seconds(_text(event, "timestamp"))) if kind in TYPES else None


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
        context=_text(dialplan, "context", ""),
        extension=_text(dialplan, "exten", ""),
    )


def one_channel(text: str | bytes) -> Channel:
    """The reply to POST /channels. Raises AriError."""
    return channel(_decoded(text))


def channels(text: str | bytes) -> tuple[tuple[Channel, ...], int]:
    """The reply to GET /channels, and how many in it could not be read. Raises AriError."""
    return _readable(channel, text)


def bridges(text: str | bytes) -> tuple[tuple[Bridge, ...], int]:
    """The reply to GET /bridges, and how many in it could not be read. Raises AriError."""
    return _readable(_bridge, text)


def pbx(text: str | bytes) -> PbxInfo:
    """The reply to GET /asterisk/info. Raises AriError."""
    info = _object(_decoded(text), "info")
    system, status = _object(info.get("system"), "system"), _object(info.get("status"), "status")
    return PbxInfo(
        _text(system, "version"), _text(system, "entity_id"), seconds(_text(status, "startup_time"))
    )


def value(text: str | bytes) -> str:
    """The reply to GET .../variable. Raises AriError."""
    return _text(_object(_decoded(text), "variable"), "value")


def modules(text: str | bytes) -> frozenset[str]:
    """The reply to GET /asterisk/modules: the names of those that run. Raises AriError."""
    found = (_object(value, "module") for value in _list(_decoded(text, limit=None)))
    return frozenset(_text(one, "name") for one in found if one.get("status") == "Running")


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


TYPES = tuple(kind.__name__ for kind in get_args(AriEvent))
"""ARI's own names, which the classes above carry."""


_OF_A_CHANNEL = {
    kind.__name__: kind
    for kind in (
        ChannelCreated,
        ChannelStateChange,
        ChannelCallerId,
        ChannelHold,
        ChannelUnhold,
        StasisStart,
        StasisEnd,
    )
}
_WITH_CAUSE = {kind.__name__: kind for kind in (ChannelHangupRequest, ChannelDestroyed)}


def _read(kind: str, event: dict[str, Any], at: float) -> AriEvent:
    if kind in _OF_A_CHANNEL:
        return _OF_A_CHANNEL[kind](at, channel(event.get("channel")))
    if kind in _WITH_CAUSE:
        return _WITH_CAUSE[kind](at, channel(event.get("channel")), _cause(event))
    match kind:
        case "ChannelEnteredBridge":
            met = _bridge(event.get("bridge"))
            return ChannelEnteredBridge(at, channel(event.get("channel")), met.id, met.holding)
        case "ChannelLeftBridge":
            return ChannelLeftBridge(at, channel(event.get("channel")), _bridge(event.get("bridge")).id)
        case "ChannelUserevent":
            fields = _texts(event.get("userevent", {}))
            who = _optional_channel(event, "channel")
            return ChannelUserevent(at, who, _text(event, "eventname"), fields)
        case "ChannelVarset":
            who = _optional_channel(event, "channel")
            return ChannelVarset(at, who, _text(event, "variable"), _text(event, "value"))
        case "ChannelDtmfReceived":
            return ChannelDtmfReceived(at, channel(event.get("channel")), _text(event, "digit"))
        case "Dial":
            caller = _optional_channel(event, "caller")
            return Dial(at, caller, channel(event.get("peer")), _text(event, "dialstatus"))
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


def _readable(read: Callable[[object], _T], text: str | bytes) -> tuple[tuple[_T, ...], int]:
    """Those of a list that can be read, and the number of the others: one must not cost us all."""
    values, found = _list(_decoded(text, limit=None)), []
    for value in values:
        with suppress(AriError):
            found.append(read(value))
    return tuple(found), len(values) - len(found)


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    """A text, cut where it is long: the Dial() of a ring group names every telephone."""
    text = fields.get(name, default)
    if not isinstance(text, str):
        raise AriError(f"{name} is not a text")
    return text[:_MAX_FIELD]


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


def _bridge(value: object) -> Bridge:
    fields = _object(value, "bridge")
    channels = frozenset(map(str, _list(fields.get("channels", []))))
    return Bridge(_text(fields, "id"), channels, _text(fields, "bridge_type", "") == "holding")
