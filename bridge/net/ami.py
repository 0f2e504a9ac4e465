"""The connection to Asterisk's manager interface (AMI): events for ever, and actions.

What a message says is in `bridge.wire.ami`; what panoramisk needs so as to be relied on, in `manager`. A
consumer of `events()` reconciles on every `Connected`: AMI keeps no events for a client that is away.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import structlog

from bridge.net.awaited import Answers, Awaited
from bridge.net.lasting import Lost, Telling, lasting
from bridge.net.manager import ManagerConnection
from bridge.wire import ami, rtpbudget
from bridge.wire.breaker import Breaker
from bridge.wire.pbxevents import (
    Bridge,
    Channel,
    ChannelDestroyed,
    Connected,
    Dial,
    Disconnected,
    Gone,
    PbxError,
    PbxEvent,
    PbxRefused,
    PbxUnreachable,
    whole_seconds,
)
from bridge.wire.taporder import TapKind, TapOrder

_log = structlog.get_logger()

_LOGIN = "give the user and secret of manager.conf in asterisk.username and AMI_SECRET"
_RIGHTS = "add them to the account's write= in manager.conf, as dialplan/asterisk/manager.conf has it"
_ABSENT = ("No such channel", "Channel not specified")
_PING = ami.written(Action="Ping")


class _Forbidden(PbxRefused):
    """The account is not what we need: trying again soon would end the same way."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass(slots=True)
class AmiCounters:
    connected: int = 0
    disconnected: int = 0
    refused: int = 0
    """Logins that failed."""
    received: int = 0
    malformed: int = 0
    """Events dropped because they could not be read."""
    ignored: int = 0
    """Events dropped because they are of a type that we have no use for."""
    requested: int = 0
    failed: int = 0
    """Actions that the PBX refused or did not answer."""


class Ami:
    """One Asterisk's manager interface, an async context manager; a `bridge.pbx.Pbx`."""

    counters: AmiCounters

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        secret: str,
        *,
        timeout_s: float = 5.0,
        ping_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
        random01: Callable[[], float] = random.random,
        variables: bool = False,
        digits: bool = False,
    ) -> None:
        """`variables`: be told of those that are set, too; `digits`: of keys that are pressed. Without `tls`
        the line is not encrypted.

        A link on which nothing is answered any more is noticed after twice `ping_s` seconds at the latest.
        """
        self.counters = AmiCounters()
        self._host, self._port, self._tls = host, port, tls
        self._username, self._secret = username, secret
        self._timeout_s, self._ping_s = timeout_s, ping_s
        self._random01 = random01
        self._variables, self._digits = variables, digits
        self._live: ManagerConnection | None = None
        self._reader = ami.Reader()
        self._starting = Awaited()
        """Taps that were asked for."""
        self._answers = Answers(timeout_s)
        self._breaker = Breaker()
        self._telling = Telling("ami", f"{host}:{port}")
        self.needless: list[str] = []
        """Rights of the account that are of no use to us."""
        self._actions: frozenset[str] = frozenset()

    def adopt(self, secret: str) -> None:
        """Another secret, for the next login."""
        self._secret = secret

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.close()

    @property
    def why(self) -> str:
        """Why there is no connection."""
        return self._telling.why

    # Events.

    def events(self) -> AsyncGenerator[Connected | Disconnected | PbxEvent]:
        """As `Pbx.events`."""
        return lasting(self._one_connection, self._random01, self.counters)

    async def _one_connection(self, lost: Lost) -> AsyncGenerator[Connected | PbxEvent]:
        """The events of one connection; ends when it does, leaving the reason in `lost`."""
        connection = ManagerConnection(self._host, self._port, self._tls)
        pinging: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.open()
                greeting = await self._greet(connection)
            pinging = asyncio.create_task(self._ping(connection))
            self._live = connection
            lost.was_connected = True
            yield greeting
            async for message in connection.messages():
                event = self._read(message)
                if event is not None:
                    yield event
            lost.reason = connection.why
        except _Forbidden as error:
            lost.reason, lost.mend = str(error), error.mend
            lost.forbidden = lost.hopeless = True
        except (OSError, TimeoutError, PbxRefused, PbxUnreachable, PbxError) as error:
            lost.reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        finally:
            self._live = None
            self._answers.lost()
            connection.close()
            if pinging is not None:
                pinging.cancel()
        self._telling.lost(lost)
        self.counters.refused += lost.forbidden

    async def _greet(self, connection: ManagerConnection) -> Connected:
        """Log in, and learn who answers and what we may do."""
        (challenge,) = await _ask(connection, ami.written(Action="Challenge", AuthType="MD5"))
        mask = ami.events_mask(variables=self._variables, digits=self._digits)
        try:
            await _ask(connection, ami.login(self._username, self._secret, str(challenge.challenge), mask))
        except PbxRefused as error:
            raise _Forbidden(str(error), _LOGIN) from None
        (commands,) = await _ask(connection, ami.written(Action="ListCommands"))
        self._actions = frozenset(commands)
        missing, self.needless = ami.rights(commands)
        if missing:
            raise _Forbidden(f"the account lacks the rights {', '.join(missing)}", _RIGHTS)
        (settings,) = await _ask(connection, ami.written(Action="CoreSettings"))
        (status,) = await _ask(connection, ami.written(Action="CoreStatus"))
        ports = [
            str((await _ask(connection, ami.setting("rtp.conf", name)))[0].value)
            for name in ("rtpstart", "rtpend")
        ]
        pbx = replace(ami.info(settings, status), rtp_range=rtpbudget.read(*ports))
        self._reader = ami.Reader()
        self.counters.connected += 1
        self._telling.connected()
        _log.info("ami connected", version=pbx.version)
        if self.needless:
            mend = "take them out of write= in manager.conf"
            _log.warning("ami account may do more than it needs", needless=self.needless, mend=mend)
        return Connected(pbx)

    async def _ping(self, connection: ManagerConnection) -> None:
        """A half-open line answers nothing: panoramisk's own pings ask, and do not listen."""
        with suppress(PbxUnreachable, PbxRefused):
            while True:
                await asyncio.sleep(self._ping_s)
                try:
                    async with asyncio.timeout(self._ping_s):
                        await _ask(connection, _PING)
                except TimeoutError:
                    connection.fail(f"no answer to a ping within {self._ping_s:g} s")
                    return

    def _read(self, message: Any) -> PbxEvent | None:
        self.counters.received += 1
        try:
            event = self._reader.event(message, time.time())
        except PbxError as error:
            self.counters.malformed += 1
            _log.warning("ami event not understood", reason=str(error))
            return None
        if event is None:
            self.counters.ignored += 1
        self._note(event)
        return event

    def _note(self, event: PbxEvent | None) -> None:
        """A tap that was asked for has begun, or ended before it did."""
        if event is None:
            return
        self._answers.note(event)
        match event:
            case Dial(peer=tap):
                self._starting.seen(tap.id, tap.id)
            case ChannelDestroyed(channel=tap):
                self._starting.gone(tap.id)

    # Requests.

    async def channels(self) -> tuple[Channel, ...]:
        replies = await self._request(ami.written(Action="CoreShowChannels"))
        return self._reader.channels(replies, time.time())

    async def bridges(self) -> tuple[Bridge, ...]:
        channels = await self._request(ami.written(Action="CoreShowChannels"))
        return ami.bridges(channels, await self._request(ami.written(Action="BridgeList")))

    async def variable(self, channel: str, name: str) -> str | None:
        try:
            (reply,) = await self._request(ami.written(Action="Getvar", Channel=channel, Variable=name))
        except Gone:
            return None
        return str(reply.value) or None

    def may(self, action: str) -> bool:
        """Whether the account may do it, by what the PBX said at the last connect."""
        return action in self._actions

    async def epoch_s(self) -> float:
        """The PBX's clock: whole Unix seconds."""
        (reply,) = await self._request(ami.ask("EPOCH"))
        return whole_seconds(str(reply.value))

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        """An event of the PBX's own; every account that reads `user` sees it."""
        await self._request(ami.told(name, channel, fields))

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        await self._request(ami.variable(channel, name, value))

    async def hangup(self, channel: str) -> None:
        with suppress(Gone):
            await self._request(ami.written(Action="Hangup", Channel=channel, Cause="16"))

    async def attach(self, order: TapOrder) -> str:
        """As `Pbx.attach`; returns once the tap is there. Raises Gone when it ended before.

        The reply only says that it is queued, and what becomes of it need not be told to an account with few
        rights: the tap's own events are.
        """
        if order.kind is not TapKind.CHANSPY:
            raise PbxRefused(f"AMI has no {order.kind} tap; set asterisk.tap to chanspy")
        self._answers.watch(order.media_id)
        return await self._originate(order.media_id, ami.originate_tap(order))

    async def complete(self, order: TapOrder) -> None:
        await self._answers.wait(order.media_id)  # only then does it spy

    async def detach(self, order: TapOrder) -> None:
        self._answers.forget(order.media_id)
        await self.hangup(order.media_id)

    async def give_back(self, channel: str) -> None:
        """No call is ever sent to us without ARI."""

    async def destroy_bridge(self, bridge: str) -> None:
        """No bridge is ever ours without ARI."""

    async def originate_phone(self, phone: str, host: str, port: int) -> None:
        """Start a telephone for a self-test; it ends by itself after 10 s."""
        await self._originate(phone, ami.originate_phone(phone, host, port))

    async def _originate(self, id_: str, action: ami.Action) -> str:
        with self._starting.expect(id_) as starting:
            asking = asyncio.create_task(self._request(action))
            try:
                waiting: set[asyncio.Future[Any]] = {starting, asking}
                async with asyncio.timeout(self._timeout_s):
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    asking.result()
                return starting.result() if starting.done() else id_
            except TimeoutError:
                raise PbxUnreachable("TimeoutError") from None
            finally:
                asking.cancel()

    def slow(self) -> float:
        """As `Pbx.slow`."""
        return self._breaker.slow(asyncio.get_running_loop().time())

    async def _request(self, action: ami.Action) -> list[Any]:
        """The replies. Raises Gone, PbxRefused, PbxUnreachable."""
        self.counters.requested += 1
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            if self._live is None:
                raise PbxUnreachable("not connected")
            async with asyncio.timeout(self._timeout_s):
                return await _ask(self._live, action)
        except TimeoutError:
            self.counters.failed += 1
            raise PbxUnreachable("TimeoutError") from None
        except (PbxRefused, PbxUnreachable):
            self.counters.failed += 1
            raise
        finally:
            self._breaker.observe(now_s(), now_s() - began_s)


async def _ask(connection: ManagerConnection, action: ami.Action) -> list[Any]:
    """The replies to one action. Raises Gone and PbxRefused when one is no success, and PbxUnreachable."""
    replies = await connection.ask(action)
    for reply in replies:
        why = ami.refusal(reply) if "Response" in reply else None
        if why in _ABSENT:
            raise Gone(action["Action"])
        if why is not None:
            raise PbxRefused(f"{action['Action']}: {why}")
    return replies
