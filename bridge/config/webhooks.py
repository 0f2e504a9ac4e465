"""The webhooks of the YAML: who is called, with which secrets, about which calls, and how far it may be.

What is posted is `bridge.wire.webhook`'s concern, which addresses may be called `bridge.wire.address`'.
"""

from ipaddress import ip_network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from bridge.config.faults import Rule, keep
from bridge.config.section import Section
from bridge.config.values import AllowPrivate, CaFile, Called, Name, RuleName, Seconds, Variables
from bridge.wire.address import Reach, literal, refusal


class Webhook(Section):
    """One endpoint. Its secrets are in the environment, in the variables that `secret_env` names."""

    name: Name
    url: Called
    secret_env: Variables
    rules: Annotated[tuple[RuleName, ...], Field(strict=False)] | None = None
    batch: Annotated[int, Field(ge=1, le=100)] = 100
    timeout_s: Seconds = 10
    allow_private: AllowPrivate = False
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        why = self._why_not
        return keep(
            self,
            Rule(
                self.url.startswith("https:") or self.allow_private is not False,
                ("url", "allow_private"),
                "would send transcripts unencrypted over the internet; use https://, or set allow_private "
                "if it is a machine of your own network",
            ),
            Rule(
                not why,
                ("url", "allow_private"),
                f"is no address of the internet ({why}); if it is meant, list its network in allow_private",
            ),
        )

    @property
    def _why_not(self) -> str:
        """Why the URL's own address may not be called; empty for a name: it is judged when it is called."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            host = "127.0.0.1"
        address = literal(host)
        return "" if address is None else refusal(address, self.reach)

    @property
    def reach(self) -> Reach:
        """`allow_private` as the bridge's own noun."""
        if isinstance(self.allow_private, bool):
            return Reach(private=self.allow_private)
        return Reach(networks=tuple(map(ip_network, self.allow_private)))


Webhooks = Annotated[tuple[Webhook, ...], Field(strict=False, max_length=100)]
