"""Channels for the tests of what is decided about them."""

from bridge.wire.pbxevents import Channel


def channel(
    name: str,
    kind: str = "PJSIP/",
    *,
    state: str = "Up",
    number: str = "",
    caller_name: str = "",
    at: float = 1.0,
) -> Channel:
    """`name` is its id as well; a Local half has its `;1` or `;2` at the end."""
    return Channel(name, f"{kind}{name}", state, number, caller_name, at, "", "")
