"""The webhooks of the YAML: who is called, with which secrets, about which calls, and how far it may be.

What is posted is `bridge.wire.webhook`'s concern, which addresses may be called `bridge.wire.address`'.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from bridge.config.faults import Rule, keep
from bridge.config.section import Section
from bridge.config.values import (
    AllowPrivate,
    CaFile,
    Called,
    CalledInSecret,
    Name,
    RuleName,
    Seconds,
    Variable,
    Variables,
)
from bridge.wire.address import Reach, literal, refusal

_IN_SECRET = TypeAdapter[str](CalledInSecret)


class Webhook(Section):
    """One endpoint. Its secrets are in the environment, in the variables that `secret_env` names; its URL
    too, with `url_env`: such a one may hold a key."""

    name: Name
    """What `rtzr-bridge deliveries` and the metrics call it."""
    url: Called | None = None
    """Where events are posted; http:// only where allow_private lets it. Or url_env."""
    url_env: Variable | None = None
    """The environment variable that holds the URL instead: one with a query, or a key in it."""
    secret_env: Variables
    """The environment variables that hold the keys with which it is signed, several while one is replaced."""
    rules: Annotated[tuple[RuleName, ...], Field(strict=False)] | None = None
    """Only calls that these rules chose; null for every call."""
    batch: Annotated[int, Field(ge=1, le=100)] = 100
    """Events in one post at most; 1 for each in a post of its own."""
    timeout_s: Seconds = 10
    """For one post, the connection with it."""
    allow_private: AllowPrivate = False
    """Whether it may be on a network of your own: true for any such, or a list of networks."""
    ca_file: CaFile | None = None
    """PEM file of certificates to trust instead of the system's."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = self.url is None and self.url_env is None
        twice = self.url is not None and self.url_env is not None
        by_env = "or the environment variable that holds it as url_env: with a query, or a key in it"
        return keep(
            self,
            Rule(not missing, ("url", "url_env"), f"is missing; give it, {by_env}"),
            Rule(not twice, ("url", "url_env"), "is given twice, by url_env also; leave one of the two out"),
            *(() if self.url is None else self._rules(self.url)),
        )

    def called(self, named: Mapping[str, str]) -> str:
        """Its URL; `named`: the secrets by their variables."""
        return self.url if self.url_env is None else named[self.url_env]  # type: ignore[return-value]

    def fault_of(self, url: str) -> str:
        """What is wrong with the URL that `url_env` names, without any part of it; "" for nothing."""
        try:
            _IN_SECRET.validate_python(url)
        except ValidationError as error:
            return str(error.errors(include_url=False, include_input=False)[0]["msg"])
        return next((rule.text for rule in self._rules(url) if not rule.holds), "")

    def _rules(self, url: str) -> Iterator[Rule]:
        yield Rule(
            url.startswith("https:") or self.allow_private is not False,
            ("url", "allow_private"),
            "would send transcripts unencrypted over the internet; use https://, or set allow_private "
            "if it is a machine of your own network",
        )
        why = self._why_not(url)
        yield Rule(
            not why,
            ("url", "allow_private"),
            f"is no address of the internet ({why}); if it is meant, list its network in allow_private",
        )

    def _why_not(self, url: str) -> str:
        """Why the URL's own address may not be called; empty for a name: it is judged when it is called."""
        host = urlsplit(url).hostname or ""
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
