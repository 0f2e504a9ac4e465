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
    """Live transcripts on standard output."""
    partials: bool = True
    """Also what RTZR thinks so far, while it is said."""


class Jsonl(Section):
    """Events as lines of JSON in a file, and in older ones beside it where it is rotated."""

    path: FilePath | None = None
    """A file that gets one JSON event a line."""
    max_mb: Annotated[float, Field(ge=0, le=1_000_000)] = 0
    """Beyond this it becomes path.1, path.1 becomes path.2, ...; 0: it grows, or is moved by others."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many of such older files are kept."""
    sync: Literal["none", "batch"] = "none"
    """batch: on the disk before the next events are taken; none: as the system writes it."""


class PbxText(Section):
    """Finals back into the PBX. Off unless one of the two is named."""

    user_event: Name | None = None
    """Each final is a user event of this name (FreeSWITCH: a CUSTOM event), with Role and Text."""
    application: Name | None = None
    """With asterisk.via: ari, for this ARI application, which must be there and is not the bridge's own."""
    variable: (
        Annotated[str, Field(title="name of a variable", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] | None
    ) = None
    """This variable of the channel has its latest final, instead of user_event; not with asterisk.via:
    ari."""

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
    """Where live events are read, /events and /ws; it has no TLS: beyond this machine by a proxy."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Its port; 0 for no feed."""
    token_env: Variable = "RTZR_FEED_TOKEN"  # noqa: S105 - where it is, not what it is
    """The environment variable that holds what readers have to show."""
    origins: Annotated[tuple[Origin, ...], Field(strict=False, max_length=100)] = ()
    """Web pages whose scripts may read it, as https://host; others are refused."""


class Sinks(Section):
    """Where events go."""

    console: Console = Console()
    jsonl: Jsonl = Jsonl()
    pbx: PbxText = PbxText()
    redis: RedisStream = RedisStream()
    webhooks: Webhooks = ()
    """URLs that are told of every call, or of some rules', signed and until they have it:
    docs/webhooks.md."""
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
