"""What may stand in a request for a tap: ids, hosts and ports that can be taken for nothing else.

Pure; the same for ARI, AMI and ESL.
"""

import ipaddress
import re

from bridge.wire.pbxevents import PbxError

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}")
_CHANNEL_ID = re.compile(r"[!-+\--~]{1,149}")
"""Printable ASCII without space and comma: the id becomes an argument in the dialplan and a path in a URL."""


def checked_id(text: str) -> str:
    """A channel id that can be no more than one argument. Raises PbxError, as those below."""
    if not _CHANNEL_ID.fullmatch(text):
        raise PbxError("not a channel id")
    return text


def checked_host(host: str) -> str:
    """A host name or address, an IPv6 one in brackets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise PbxError("not a host name or address") from None
        return host
    return f"[{host}]" if address.version == 6 else host


def checked_port(port: int) -> int:
    """A UDP port."""
    if not 0 < port < 65536:
        raise PbxError("not a port")
    return port
