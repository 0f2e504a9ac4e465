"""Requests to Asterisk's REST interface, described as values, with what may not stand in them refused.

Pure. Sources: rest-api/api-docs/{channels,applications}.json of Asterisk 22. Who sends them is in
`bridge.net.ari`.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bridge.types import Transport
from bridge.wire.ari import TYPES
from bridge.wire.taporder import Media, TapOrder
from bridge.wire.tapvalues import checked_host, checked_id, checked_port

NO_RECORD = ("CDR_PROP(disable)", "1")
"""The variable that keeps a channel of ours out of the call records."""
_NO_RECORD = dict([NO_RECORD])


@dataclass(frozen=True, slots=True)
class Request:
    """One request, relative to ARI's base URL. The path is quoted already, the query is not."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = field(default=None, repr=False)


def proof(username: str, password: str) -> dict[str, str]:
    """The header that every request has. Source: RFC 7617."""
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def subscription(app: str) -> Request:
    """Ask for the events of all channels and bridges (an empty id is all).

    Never `subscribeAll` on the WebSocket: tearing it down can deadlock ARI (asterisk issue 2170).
    """
    query = {"eventSource": "channel:,bridge:"}
    return Request("POST", f"applications/{quote(app, safe='')}/subscription", query)


def event_filter(app: str, *, variables: bool = False, digits: bool = False) -> Request:
    """Ask for the event types that `parse` knows; ChannelVarset, which is most of all, only with `variables`,
    and keys only with `digits`.

    A list without ApplicationReplaced would keep that one from us too (seen on 22.10.1).
    """
    left_out = {"ChannelVarset": not variables, "ChannelDtmfReceived": not digits}
    wanted = [name for name in TYPES if not left_out.get(name)]
    body = {"allowed": [{"type": name} for name in wanted]}
    return Request("PUT", f"applications/{quote(app, safe='')}/eventFilter", body=body)


def originate_tap(order: TapOrder, context: str) -> Request:
    """Start a media channel in the dialplan's `context` that spies on the tapped one.

    It leaves no call record, and ends by itself with the tapped channel. Raises PbxError for a value that
    could be taken for more than one argument, as all below do.
    """
    query = {
        "endpoint": order.media.endpoint,
        "context": context,
        "extension": "s",
        "priority": "1",
        "channelId": checked_id(order.media_id),
        "formats": order.media.codec.label,
    }
    variables = {"RTZR_CHAN": checked_id(order.tapped), **_NO_RECORD}
    return Request("POST", "channels", query, {"variables": variables})


def snoop(order: TapOrder, app: str) -> Request:
    """Start a snoop channel on what the tapped party says, in our application."""
    path = f"channels/{quote(checked_id(order.tapped), safe='')}/snoop/{quote(checked_id(order.id), safe='')}"
    return Request("POST", path, {"spy": "in", "app": app})


def set_variable(channel_id: str, name: str, value: str) -> Request:
    """Of a channel in our application; Asterisk refuses it for any other."""
    path = f"channels/{quote(checked_id(channel_id), safe='')}/variable"
    return Request("POST", path, {"variable": name, "value": value})


def set_variable_anywhere(channel_id: str, name: str, value: str) -> Request:
    """Of any channel, by the dialplan function EXPORT: as a global variable Asterisk takes that too.

    Sources: pbx_builtin_setvar_helper in main/pbx_variables.c, funcs/func_export.c.
    """
    whole = f"EXPORT({checked_id(channel_id)},{name})"
    return Request("POST", "asterisk/variable", {"variable": whole, "value": value})


def go_on(channel_id: str, context: str = "", extension: str = "") -> Request:
    """Let a channel leave our application: into the dialplan at that place, or where it came from."""
    place = {"context": context, "extension": extension, "priority": "1"} if context else {}
    return Request("POST", f"channels/{quote(checked_id(channel_id), safe='')}/continue", place)


def external_media(order: TapOrder, app: str) -> Request:
    """Start the channel that sends us audio, in our application. It stays until it is hung up."""
    query = {
        "app": app,
        "channelId": checked_id(order.media_id),
        "format": order.media.codec.label,
        **_external(order.media),
    }
    return Request("POST", "channels/externalMedia", query, {"variables": _NO_RECORD})


def _external(media: Media) -> dict[str, str]:
    """What externalMedia wants to know of a transport."""
    if media.transport is Transport.RTP:
        return {"external_host": media.address}
    if media.transport is Transport.AUDIOSOCKET:
        tcp = {"encapsulation": "audiosocket", "transport": "tcp"}
        return {"external_host": media.address, "data": checked_id(media.key), **tcp}
    return {
        "external_host": media.connection,
        "encapsulation": "none",
        "transport": "websocket",
        "connection_type": "server" if media.transport is Transport.WEBSOCKET else "client",
        "transport_data": media.options,
    }


def create_bridge(order: TapOrder) -> Request:
    bridge = checked_id(order.bridge_id)
    return Request("POST", f"bridges/{quote(bridge, safe='')}", {"type": "mixing", "name": bridge})


def add_to_bridge(order: TapOrder) -> Request:
    """Both channels of a tap; they must be in our application by now."""
    channels = f"{checked_id(order.id)},{checked_id(order.media_id)}"
    path = f"bridges/{quote(checked_id(order.bridge_id), safe='')}/addChannel"
    return Request("POST", path, {"channel": channels})


def destroy_bridge(bridge_id: str) -> Request:
    return Request("DELETE", f"bridges/{quote(checked_id(bridge_id), safe='')}")


def originate_phone(phone: str, host: str, port: int, app: str) -> Request:
    """Start a UnicastRTP channel that stays, silent, in our application: a telephone for a self-test.

    It leaves no call record. Raises PbxError, as above.
    """
    query = {
        "endpoint": f"UnicastRTP/{checked_host(host)}:{checked_port(port)}/c(ulaw)",
        "app": app,
        "channelId": checked_id(phone),
        "formats": "ulaw",
    }
    return Request("POST", "channels", query, {"variables": _NO_RECORD})


def user_event(name: str, app: str, channel_id: str, fields: Mapping[str, str]) -> Request:
    """Tell the application `app`, if it is there, of something about a channel. Raises PbxError, as above."""
    query = {"application": app, "source": f"channel:{checked_id(channel_id)}"}
    return Request("POST", f"events/user/{quote(name, safe='')}", query, {"variables": dict(fields)})


def hangup(channel_id: str) -> Request:
    """Raises PbxError for what cannot be a channel's id, as the next one does."""
    return Request("DELETE", f"channels/{quote(checked_id(channel_id), safe='')}")


def channel(channel_id: str) -> Request:
    return Request("GET", f"channels/{quote(checked_id(channel_id), safe='')}")


def variable(channel_id: str, name: str) -> Request:
    """Ask for a channel's variable or function, whether the channel is in Stasis or not.

    Any id will do, quoted: others may have given theirs a space or a comma.
    """
    return Request("GET", f"channels/{quote(channel_id, safe='')}/variable", {"variable": name})
