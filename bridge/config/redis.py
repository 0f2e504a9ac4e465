"""The Redis streams of the YAML: where they are, what they are called, and whose calls are in them.

What an entry is, is `bridge.net.redisstream`'s concern.
"""

from typing import Annotated

from pydantic import Field

from bridge.config.section import Section
from bridge.config.values import CaFile, Name, RedisUrl, RuleName, Seconds, StreamName, Variable


class RedisStream(Section):
    """Events in a Redis stream, or in one for each rule. Off without a URL."""

    url: RedisUrl | None = None
    """Where Redis is, redis://host:port/0, rediss:// (TLS) or unix:///path; null: none. Needs outbox.path:
    docs/streams.md."""
    username: Name | None = None
    """Of Redis' ACL, if not the default one; it needs XADD, XTRIM, MULTI and EXEC."""
    password_env: Variable | None = None
    """The environment variable that holds the password, such as REDIS_PASSWORD."""
    stream: StreamName = "rtzr:events"
    """The stream, or one for each rule, such as "rtzr:{rule}" (none: calls that no rule chose)."""
    rules: Annotated[tuple[RuleName, ...], Field(strict=False)] | None = None
    """Only calls that these rules chose; null for every call."""
    maxlen: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000_000
    """Entries that are kept, about; 0 for all."""
    timeout_s: Seconds = 5
    """For one batch of events, the connection with it."""
    ca_file: CaFile | None = None
    """PEM file of the authorities to trust for rediss://; null for the system's."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Those that hold its secrets."""
        return (self.password_env,) if self.url is not None and self.password_env is not None else ()
