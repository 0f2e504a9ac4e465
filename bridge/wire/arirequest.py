"""Requests to Asterisk's REST interface, described as values, with what may not stand in them refused.

Pure. Sources: rest-api/api-docs/{channels,applications}.json of Asterisk 22. Who sends them is in
`bridge.net.ari`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bridge.types import Codec
from bridge.wire.ari import TYPES
from bridge.wire.tapvalues import checked_host, checked_id, checked_port


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


def event_filter(app: str, *, variables: bool = False) -> Request:
    """Ask for the event types that `parse` knows; ChannelVarset, which is most of all, only with `variables`.

    A list without ApplicationReplaced would keep that one from us too (seen on 22.10.1).
    """
    wanted = [name for name in TYPES if variables or name != "ChannelVarset"]
    body = {"allowed": [{"type": name} for name in wanted]}
    return Request("PUT", f"applications/{quote(app, safe='')}/eventFilter", body=body)


def originate_tap(tap: str, tapped: str, host: str, port: int, codec: Codec, context: str) -> Request:
    """Start a UnicastRTP channel `tap`, sending to `host`:`port`, in the dialplan's `context` that spies on
    `tapped`.

    It leaves no call record, and ends by itself with the tapped channel. Raises PbxError for a value that
    could be taken for more than one argument.
    """
    query = {
        "endpoint": f"UnicastRTP/{checked_host(host)}:{checked_port(port)}/c({codec.label})",
        "context": context,
        "extension": "s",
        "priority": "1",
        "channelId": checked_id(tap),
        "formats": codec.label,
    }
    variables = {"RTZR_CHAN": checked_id(tapped), "CDR_PROP(disable)": "1"}
    return Request("POST", "channels", query, {"variables": variables})


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
    return Request("POST", "channels", query, {"variables": {"CDR_PROP(disable)": "1"}})


def user_event(name: str, app: str, channel_id: str, fields: Mapping[str, str]) -> Request:
    """Tell the application `app`, if it is there, of something about a channel. Raises PbxError, as above."""
    query = {"application": app, "source": f"channel:{checked_id(channel_id)}"}
    return Request("POST", f"events/user/{quote(name, safe='')}", query, {"variables": dict(fields)})


def hangup(channel_id: str) -> Request:
    """Raises PbxError for what cannot be a channel's id, as the next one does."""
    return Request("DELETE", f"channels/{quote(checked_id(channel_id), safe='')}")


def variable(channel_id: str, name: str) -> Request:
    """Ask for a channel's variable or function, whether the channel is in Stasis or not.

    Any id will do, quoted: others may have given theirs a space or a comma.
    """
    return Request("GET", f"channels/{quote(channel_id, safe='')}/variable", {"variable": name})
