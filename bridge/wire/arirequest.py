"""Requests to Asterisk's REST interface, described as values, with what may not stand in them refused.

Pure. Sources: rest-api/api-docs/{channels,applications}.json of Asterisk 22. Who sends them is in
`bridge.net.ari`.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bridge.types import Codec
from bridge.wire.ari import TYPES, AriError

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")
_CHANNEL_ID = re.compile(r"[!-+\--~]{1,149}")
"""Printable ASCII without space and comma: the id becomes an argument in the dialplan and a path in a URL."""


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
