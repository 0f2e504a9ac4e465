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
    username: Name | None = None
    password_env: Variable | None = None
    stream: StreamName = "rtzr:events"
    rules: Annotated[tuple[RuleName, ...], Field(strict=False)] | None = None
    maxlen: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000_000
    timeout_s: Seconds = 5
    ca_file: CaFile | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Those that hold its secrets."""
        return (self.password_env,) if self.url is not None and self.password_env is not None else ()
