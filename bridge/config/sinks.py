"""Where events go: the sinks of the YAML, each a section of its own.

What a webhook is, is in `webhooks`, what a Redis stream is, in `redis`; the outbox, which both need, is a
section beside the sinks.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bridge.config.faults import Rule, keep
from bridge.config.redis import RedisStream
from bridge.config.section import Section
from bridge.config.values import Address, FilePath, Name, Origin, Variable
from bridge.config.webhooks import Webhooks


class Console(Section):
    """Live transcripts on the terminal."""

    enabled: bool = True
    partials: bool = True


class Jsonl(Section):
    """Events as lines of JSON in a file, and in older ones beside it where it is rotated."""

    path: FilePath | None = None
    max_mb: Annotated[float, Field(ge=0, le=1_000_000)] = 0
    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    sync: Literal["none", "batch"] = "none"


class PbxText(Section):
    """Finals back into the PBX. Off unless one of the two is named."""

    user_event: Name | None = None
    application: Name | None = None
    variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] | None = None

    @property
    def named(self) -> bool:
        """Whether it is on."""
        return self.user_event is not None or self.variable is not None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        both = self.user_event is not None and self.variable is not None
        return keep(
            self,
            Rule(not both, ("variable", "user_event"), "is given, and user_event also; keep one of the two"),
        )


class Feed(Section):
    """Live events over HTTP, to whoever shows the token. Off without a port."""

    bind: Address = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    token_env: Variable = "RTZR_FEED_TOKEN"  # noqa: S105 - where it is, not what it is
    origins: Annotated[tuple[Origin, ...], Field(strict=False, max_length=100)] = ()


class Sinks(Section):
    """Where events go."""

    console: Console = Console()
    jsonl: Jsonl = Jsonl()
    pbx: PbxText = PbxText()
    redis: RedisStream = RedisStream()
    webhooks: Webhooks = ()
    feed: Feed = Feed()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [webhook.name for webhook in self.webhooks]
        text = "is another webhook's name; give it one of its own"
        once = [Rule(name not in names[:at], (f"webhooks.{at}.name",), text) for at, name in enumerate(names)]
        return keep(self, *once)

    @property
    def keys_of_webhooks(self) -> frozenset[str]:
        """The environment variables that hold the keys with which webhooks are signed."""
        return frozenset(variable for webhook in self.webhooks for variable in webhook.secret_env)

    @property
    def urls_of_webhooks(self) -> frozenset[str]:
        """The environment variables that hold webhooks' URLs."""
        return frozenset(webhook.url_env for webhook in self.webhooks if webhook.url_env is not None)

    def faults_of_urls(self, named: Mapping[str, str]) -> list[str]:
        """A line for each of those, by variable in `named`, that cannot be called; without any part of it."""
        return [
            f"{webhook.url_env}: {fault}"
            for webhook in self.webhooks
            if webhook.url_env is not None
            and webhook.url_env in named
            and (fault := webhook.fault_of(named[webhook.url_env]))
        ]

    @property
    def on(self) -> frozenset[str]:
        """The names of those that are."""
        found = {
            "console": self.console.enabled,
            "jsonl": self.jsonl.path is not None,
            "pbx": self.pbx.named,
            "feed": self.feed.port != 0,
        }
        return frozenset(name for name, is_on in found.items() if is_on)
