"""Which addresses may be called: those of the internet, and of one's own networks what is allowed by name.

Judged is an address, never a name: who resolves names, and goes to the very address that was judged, is
`bridge.net.webhook`'s. Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6
(RFC 6890), RFC 6052 (NAT64), RFC 4291 (IPv4-mapped).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LONGEST = 253
"""Characters of a host name: RFC 1035."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one may call. `Reach()` is the internet alone."""

    private: bool = False
    """Loopback and private networks too; never where machines of a cloud ask for their own passwords."""
    networks: tuple[Network, ...] = ()
    """These too, whatever they are, except what is no single machine's address."""


def _table(**names: str) -> Mapping[Network, str]:
    return {ip_network(one): name.replace("_", " ") for name, given in names.items() for one in given.split()}


_PRIVATE = _table(
    private="10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
    shared="100.64.0.0/10",
    loopback="127.0.0.0/8 ::1/128",
)
"""What `Reach.private` opens."""
_METADATA = _table(
    a_metadata_address="169.254.169.254/32 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32 "
    "fd00:ec2::254/128",
)
"""Where clouds tell a machine its secrets: AWS and most others, Azure, Alibaba, Oracle, AWS by IPv6."""
_SPECIAL = _table(
    link_local="169.254.0.0/16 fe80::/10",
    reserved="192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "2001::/23 2001:db8::/32 3fff::/20",
    a_tunnel="2002::/16",
)
"""What only `Reach.networks` opens."""
_NOBODY = _table(
    unspecified="0.0.0.0/8 ::/128",
    multicast="224.0.0.0/4 ff00::/8",
    reserved="240.0.0.0/4",
)
"""What is no machine's address, and is never called."""
_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is given out."""
_WRAPS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4-mapped and NAT64: the IPv4 address in the last 32 bits is who is called."""


def refusal(address: Address, reach: Reach) -> str:
    """Why this address may not be called, such as "loopback"; empty if it may be."""
    within = _unwrapped(address)
    if never := _named(within, _NOBODY):
        return never
    if any(address in network or within in network for network in reach.networks):
        return ""
    if special := _named(within, _METADATA) or _named(within, _SPECIAL):
        return special
    if private := _named(within, _PRIVATE):
        return "" if reach.private else private
    if isinstance(within, IPv6Address) and within not in _UNICAST:
        return "reserved"
    return ""


def literal(host: str) -> Address | None:
    """The address that a URL's host is, or None for a name.

    Raises ValueError, with a text that says the mend, for what is neither: a number that only some read as an
    address (2130706433, 0x7f.1, 0177.0.0.1, 127.1), an address with a zone, or what no name may hold.
    """
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        if "%" in bare:
            raise ValueError("is an address with a zone; give one that holds on every network")
        return _parsed(bare)
    last = bare.removesuffix(".").rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last):  # the URL standard's "ends in a number"
        return _parsed(bare)
    if len(bare) > _LONGEST or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", bare):
        raise ValueError("is no host name; write it in ASCII letters, digits, . and -")
    return None


def _parsed(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError("is no address in its usual form; write it as 192.0.2.1 or 2001:db8::1") from None


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and any(address in network for network in _WRAPS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _named(address: Address, table: Mapping[Network, str]) -> str:
    return next((name for network, name in table.items() if address in network), "")
