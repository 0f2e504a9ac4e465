"""The section of the live page, with the rules between its keys."""

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from bridge.config.faults import Rule, keep, refuse
from bridge.config.section import Section
from bridge.config.values import Address, Origin, Variable


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise refuse("is no address or network; write 127.0.0.1 or 172.18.0.0/16") from None


_Network = Annotated[str, AfterValidator(_network), Field(title="network")]
_HeaderName = Annotated[str, Field(title="name of a header", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]


class Page(Section):
    """Calls, their text, and pause, in a browser. Off without a port."""

    bind: Address = "127.0.0.1"
    """Where the live page is, for browsers: docs/page.md; it has no TLS: beyond this machine by a proxy."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Its port, such as 8091; 0 for no page."""
    token_env: Variable = "RTZR_PAGE_TOKEN"  # noqa: S105 - where it is, not what it is
    """The environment variable that holds what people log in with."""
    trusted_header: _HeaderName | None = None
    """A proxy's header that names whom it let in, such as X-Forwarded-User; then no token is needed."""
    proxies: Annotated[tuple[_Network, ...], Field(strict=False, max_length=100)] = (
        "127.0.0.1/32",
        "::1/128",
    )
    """From where trusted_header is believed: docs/page.md."""
    origins: Annotated[tuple[Origin, ...], Field(strict=False, max_length=100)] = ()
    """The page's own addresses beyond a proxy, as https://host."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        text = "names no proxy, so nobody could log in by trusted_header; name the proxy's address"
        return keep(self, Rule(self.trusted_header is None or bool(self.proxies), ("proxies",), text))

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Where `trusted_header` is believed from."""
        return tuple(ipaddress.ip_network(proxy) for proxy in self.proxies)
