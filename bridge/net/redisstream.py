"""Events into Redis Streams: one stream for all, or one for each rule. A shell; what waits, and when it is
tried again, is `bridge.outbox`'s and `bridge.delivery.delivering`'s concern.

An entry has the fields `id`, `type`, `call` and `event` (the CloudEvents JSON object). It may come twice, and
then with the same `id`; in one stream the entries of a call are in the order of its events once repeats are
dropped. Redis has an entry when it says so; whether its disk has it is its own configuration's affair
(appendonly).
"""

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from bridge.outbox.stored import Rejected, Stored, Unreachable
from bridge.wire.eventjson import clean

BATCH = 500
"""Events in one transaction: about 300 kB."""
NO_RULE = "none"
"""The stream of calls that no rule chose, where each rule has its own."""
_PLACE = "{rule}"
_STARTED = "rtzr.call.started"
_NEVER_SO_MANY = 1 << 62
_REMEMBERED = 10_000
"""Calls whose rule is known without asking; the oldest is forgotten."""


RulesOf = Callable[[Collection[str]], Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the entries go."""

    url: str
    """redis://host:port/db, rediss:// (TLS, verified) or unix:///path; without user and password."""
    stream: str = "rtzr:events"
    """The key; `{rule}` in it is the name of the call's rule."""
    maxlen: int = 1_000_000
    """Entries that a stream keeps at least; Redis drops the oldest a block at a time. 0: all."""
    timeout_s: float = 5.0
    """For one send, the connection with it."""
    username: str | None = None
    password: str = field(default="", repr=False)
    ca_file: str | None = None
    """PEM: who may have signed the server's certificate; None for the system's authorities."""


class RedisSender:
    """The endpoint `redis` (`bridge.outbox.stored.Sender`). It connects when there is something to send.

    Several sends may be under way at once, each on a connection of its own.
    """

    name = "redis"
    batch = BATCH

    def __init__(self, settings: RedisSettings, rules_of: RulesOf | None = None) -> None:
        """`rules_of`: of some calls those that are known, and the rule that chose each, "" where none did. It
        is asked, with a `{rule}` in `stream`, for calls whose start did not pass here: the process may be
        younger than they."""
        self._settings = settings
        self._rules = _Rules(rules_of)
        self._client = _client(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, events: Sequence[Stored]) -> None:
        """Append them in order, all in one transaction. Raises Rejected, Unreachable."""
        entries = list(zip(await self._streams(events), events, strict=True))
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._append(entries)
        except BaseException as error:
            await self._hang_up()
            told = _told(error)
            if told is None:
                raise
            raise told from None

    async def probe(self, rules: Collection[str] = ()) -> str:
        """Redis' version ("" where it may not be asked), once it takes entries for the streams of `rules` and
        of calls that no rule chose: tried with an entry of a number that Redis refuses once it has looked at
        who asks, and with a length that nothing has. Nothing is written. Raises Rejected, Unreachable."""
        place = _PLACE in self._settings.stream
        streams = [
            self._settings.stream.replace(_PLACE, rule) for rule in ([*rules, NO_RULE] if place else [""])
        ]
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                for stream in streams:
                    await self._try(stream)
                return await self._version()
        except BaseException as error:
            told = _told(error)
            if told is None:
                raise
            raise told from None

    async def _try(self, stream: str) -> None:
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.execute_command("XADD", stream, "0-0", "id", "")  # no entry ever has this number
            pipeline.xtrim(stream, maxlen=_NEVER_SO_MANY, approximate=True)
            for answer in await pipeline.execute(raise_on_error=False):
                if isinstance(answer, NoPermissionError) or "WRONGTYPE" in str(answer):
                    raise answer

    async def _version(self) -> str:
        try:
            return str((await self._client.info("server")).get("redis_version", ""))
        except NoPermissionError:
            return ""

    async def _append(self, entries: Sequence[tuple[str, Stored]]) -> None:
        # Without the transaction a failure in the middle would leave a later event before an earlier one.
        async with self._client.pipeline(transaction=True) as pipeline:
            for stream, event in entries:
                fields: dict[Any, Any] = {
                    "id": event.id,
                    "type": event.type,
                    "call": event.call,
                    "event": event.body,
                }
                pipeline.xadd(stream, fields)
            # Not by XADD's own MAXLEN: Redis writes that down as an exact length, and where a kill tore a
            # transaction in its file it drops the oldest entries of a stream that is far from full (seen).
            if self._settings.maxlen:
                for stream in dict.fromkeys(stream for stream, _ in entries):
                    pipeline.xtrim(stream, maxlen=self._settings.maxlen, approximate=True)
            await pipeline.execute()

    async def _streams(self, events: Sequence[Stored]) -> list[str]:
        """The stream of each."""
        stream = self._settings.stream
        if _PLACE not in stream:
            return [stream] * len(events)
        rules = await self._rules.of(events)
        return [stream.replace(_PLACE, rules[event.call] or NO_RULE) for event in events]

    async def _hang_up(self) -> None:
        """A connection whose answers were not all read, or that leads to a replica by now, is of no use.

        Those on which another send is under way are left alone.
        """
        await self._client.connection_pool.disconnect(inuse_connections=False)


class _Rules:
    """Which rule chose a call, as its `call.started` said."""

    def __init__(self, ask: RulesOf | None) -> None:
        self._ask = ask
        self._of: dict[str, str] = {}

    async def of(self, events: Sequence[Stored]) -> dict[str, str]:
        """The rule of every call among the events."""
        for event in events:
            if event.type == _STARTED:
                self._learn(event.call, str(json.loads(event.body)["data"].get("rule", "")))
        calls = {event.call for event in events}
        found = {call: self._of[call] for call in calls if call in self._of}
        if unknown := calls - found.keys():
            told = await self._ask(unknown) if self._ask else {}
            for call in unknown:
                found[call] = told.get(call, "")
                self._learn(call, found[call])
        return found

    def _learn(self, call: str, rule: str) -> None:
        self._of.pop(call, None)
        self._of[call] = clean(rule)
        if len(self._of) > _REMEMBERED:
            del self._of[next(iter(self._of))]


def _client(settings: RedisSettings) -> Redis:
    secured: dict[str, Any] = {"ssl_ca_certs": settings.ca_file} if settings.url.startswith("rediss:") else {}
    return Redis.from_url(
        settings.url,
        username=settings.username,
        password=settings.password or None,
        # The one clock is `send`'s; who tries again, and when, is the caller's affair.
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # what every Redis, and what is compatible with it, speaks
        **secured,
    )


def _told(error: BaseException) -> Rejected | Unreachable | None:
    """The error as an endpoint has to tell it, without any word of Redis' own: it repeats what it was sent.

    None for what is no answer of Redis'.
    """
    match error:
        case BusyLoadingError():
            return Unreachable("Redis is loading its data; it is tried again")
        case AuthenticationError():
            return Rejected("Redis wants another password; see sinks.redis.username and password_env")
        case NoPermissionError():
            return Rejected("Redis forbids it this user; allow XADD, XTRIM, MULTI and EXEC on the stream")
        case ReadOnlyError():
            return Rejected("Redis is a replica, which cannot be written; give its master's address")
        case OutOfMemoryError():
            return Rejected("Redis has no memory left; raise its maxmemory, or lower sinks.redis.maxlen")
        case AskError() | ClusterCrossSlotError() | ClusterDownError():
            return Rejected("Redis is a cluster, which cannot be used; give the address of a single server")
        case ResponseError():
            return Rejected(_refusal(str(error)))
        case TimeoutError():
            return Unreachable("Redis did not answer in time")
        case RedisError() | OSError():
            return Unreachable(f"Redis is not to be reached ({_why(error)})")
    return None


_REFUSALS = {
    "WRONGTYPE": "the key is no stream in Redis; give another sinks.redis.stream",
    "MISCONF": "Redis cannot save its data and takes none; see its log",
    "NOAUTH": "Redis wants a password; give sinks.redis.password_env",
    "NOREPLICAS": "Redis has too few replicas to write to",
    "unknown command": "it takes no streams (a Sentinel, or older than Redis 5); give the master's address",
    "MASTERDOWN": "Redis is a replica whose master is down",
}


def _refusal(answer: str) -> str:
    """For an answer such as `Command # 1 (XADD ...) of pipeline caused error: WRONGTYPE Operation ...`."""
    said = answer.rpartition("caused error:")[2]  # what stands before is what was sent
    for code, text in _REFUSALS.items():
        if code in said:
            return text
    return "Redis refused it"


def _why(error: BaseException) -> str:
    """The reason of the operating system, beneath what the client wrapped around it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return cause.strerror or "TLS failed"
        if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
            return os.strerror(cause.errno)  # the event loop's own text is longer
        cause = cause.__cause__ or cause.__context__
    return "the connection was closed"
