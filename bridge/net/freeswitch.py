"""The way to FreeSWITCH: its events for ever, and requests over the same event socket (ESL).

What ESL says is in `bridge.wire.esl`, what it means to calls in `bridge.wire.freeswitch`, what the media
modules want in `bridge.wire.mediastream`. A consumer of `events()` reconciles on every `Connected`: nothing
is kept for a client that is away.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from bridge.net.esl import EslConnection, EslCounters, Forbidden
from bridge.net.lasting import Lost, Telling, lasting
from bridge.net.streams import LOST, Stream, Streams
from bridge.types import CallId
from bridge.wire import freeswitch as wire
from bridge.wire import freeswitchlists as lists
from bridge.wire import mediastream
from bridge.wire.breaker import Breaker
from bridge.wire.esl import EslEvent
from bridge.wire.mediastream import Module
from bridge.wire.pbxevents import (
    LINKEDID,
    STATE,
    Bridge,
    Channel,
    ChannelDestroyed,
    Connected,
    Disconnected,
    Gone,
    PbxError,
    PbxEvent,
    PbxInfo,
    PbxRefused,
    PbxUnreachable,
    whole_seconds,
)
from bridge.wire.taporder import TapOrder

_log = structlog.get_logger()

_LOOK_AGAIN_S = 5.0
_NO_MODULE = "load mod_audio_stream or mod_audio_fork: dialplan/freeswitch/README.md says where they are had"


@dataclass(slots=True)
class FreeSwitchCounters(EslCounters):
    connected: int = 0
    disconnected: int = 0
    refused: int = 0
    """Logins that failed."""


class FreeSwitch:
    """One FreeSWITCH, an async context manager; a `bridge.pbx.Pbx`."""

    counters: FreeSwitchCounters

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        *,
        module: Module | None = None,
        secure: bool = False,
        media_wait_s: float = 5.0,
        timeout_s: float = 5.0,
        wanted: frozenset[str] = frozenset(),
        digits: bool = False,
        random01: Callable[[], float] = random.random,
    ) -> None:
        """`module`: None for the one that is loaded. `secure`: streams come over wss://. `wanted`: variables
        of which we want to be told; `digits`: of keys that are pressed, too."""
        self.counters = FreeSwitchCounters()
        self._address = (host, port)
        self._password = password
        self._given = module
        self._secure = secure
        self._timeout_s = timeout_s
        self._follower = wire.Follower(wanted)
        self._digits = digits
        self._random01 = random01
        self._live: EslConnection | None = None
        self._module: Module | None = None
        self._looking = asyncio.Lock()
        self._look_again_s = 0.0
        self._marked: dict[str, str] = {}
        """The mark that we have left on each channel."""
        self._streams = Streams(media_wait_s)
        self._breaker = Breaker()
        self._at = 0.0
        """The PBX's time of its latest event."""
        self._telling = Telling("freeswitch", f"{host}:{port}")

    def adopt(self, password: str) -> None:
        """Another password, for the next connection."""
        self._password = password

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
        connection = EslConnection(self.counters)
        try:
            await connection.open(*self._address, self._password, timeout_s=self._timeout_s)
            greeting = await self._greet(connection)
            self._live = connection
            lost.was_connected = True
            yield greeting
            async for event in connection.events():
                for each in self._read(event):
                    yield each
            lost.reason = connection.why
        except Forbidden as error:
            lost.reason, lost.mend = str(error), error.mend
            lost.forbidden = lost.hopeless = True
        except (OSError, TimeoutError, PbxRefused, PbxUnreachable, PbxError) as error:
            lost.reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        finally:
            self._live = None
            self._streams.lost()
            self._follower.forget()
            connection.close()
        self._telling.lost(lost)
        self.counters.refused += lost.forbidden

    async def _greet(self, connection: EslConnection) -> Connected:
        """Learn who answers and by which module it streams, and ask for events."""
        version = (await connection.api("version")).partition("~")[0].strip()
        loaded = [module for module in Module if await _has(connection, module)]
        self._choose(loaded)
        extra = {wire.VARIABLES_SET: bool(self._follower.wanted), wire.KEYS: self._digits}
        events = (*wire.EVENTS, *(name for name, asked in extra.items() if asked))
        own = (wire.ANNOUNCED, wire.PAUSE, wire.RESUME, wire.CONFERENCE)
        await connection.subscribe(events, (*mediastream.SUBCLASSES, *own))
        self._streams.begin(connection.post)
        self.counters.connected += 1
        self._telling.connected()
        _log.info("freeswitch connected", version=version, modules=[one.label for one in loaded])
        if self._module is None:
            _log.error("no call can be heard: its media module is not loaded", mend=_NO_MODULE)
        modules = frozenset(one.label for one in loaded)
        return Connected(PbxInfo(version, "", 0.0, modules, clock=await _clock(connection)))

    def _read(self, event: EslEvent) -> list[PbxEvent]:
        try:
            if event.subclass == LOST:
                return self._streams.expired(event, self._at)
            self._at = wire.at_of(event.headers)
            found = mediastream.news(event)
            if found is not None:
                return self._streams.told(found, self._at)
            events = self._follower.take(event)
        except PbxError as error:
            self.counters.malformed += 1
            _log.warning("esl event not understood", reason=str(error))
            return []
        for each in events:
            self._streams.note(each)
            if isinstance(each, ChannelDestroyed):
                self._marked.pop(each.channel.id, None)
        return events

    # Requests.

    async def channels(self) -> tuple[Channel, ...]:
        """The channels, and for each stream that is up one of our own, so that it is not taken for gone."""
        rows = await self._rows("channels")
        bridged = {id_ for bridge in await self._bridges(rows) for id_ in bridge.channels}
        found = await asyncio.gather(*(self._listed(row, bridged) for row in rows))
        return *(one for one in found if one.person), *self._streams.channels()

    async def _listed(self, row: Mapping[str, str], bridged: set[str]) -> Channel:
        id_ = row.get("uuid", "")
        outbound = row.get("direction") == "outbound"
        originator = await self.variable(id_, "originator") if outbound else None
        if wire.far_half(row.get("name", "")):
            originator = await self.variable(id_, wire.OTHER_HALF)
        up = id_ in bridged or (not originator and await self.variable(id_, wire.MARK) is not None)
        if not up:  # whoever was heard before waits alone now, as in a park
            up = await self.variable(id_, mediastream.TAP_VARIABLE) is not None
        channel = lists.listed(row, up=up, called=bool(originator))
        self._follower.adopt(channel, originator or "")
        return channel

    async def bridges(self) -> tuple[Bridge, ...]:
        return await self._bridges(await self._rows("channels"))

    async def _bridges(self, channels: list[dict[str, str]]) -> tuple[Bridge, ...]:
        return *lists.bridges_of(await self._rows("calls")), *lists.conferences_of(channels)

    async def _rows(self, what: str) -> list[dict[str, str]]:
        return lists.rows_of(await self._api("show", what, "as", "json"))

    async def variable(self, channel: str, name: str) -> str | None:
        if name == LINKEDID:
            return await self._call_of(channel)
        if name == STATE:
            return "Up" if (await self._api("uuid_exists", channel)).strip() == "true" else None
        if self._streams.owns(channel):
            return None
        try:
            value = (await self._api("uuid_getvar", channel, name)).strip()
        except Gone:
            return None
        return None if value in ("", wire.UNSET) else value

    async def _call_of(self, channel: str) -> CallId | None:
        call = self._follower.call_of(channel)
        return call if call is not None else await self.variable(channel, "call_uuid")

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        """A CUSTOM event of subclass `name`; every client that subscribes to it sees it."""
        live = self._connected()
        await live.send_event(name, {"Channel-ID": channel, **fields})

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        await self._api("uuid_setvar", channel, name, value)

    async def epoch_s(self) -> float:
        """The PBX's clock: whole Unix seconds."""
        return whole_seconds((await self._api("strepoch")).strip())

    async def setting(self, name: str) -> str | None:
        """A global variable, which is that of every channel without one of that name; None for none."""
        try:
            return (await self._api("global_getvar", name)).strip() or None
        except PbxRefused:  # what answers nothing has "-ERR no reply"
            return None

    async def originate_tone(self, channel: str, hz: int, seconds: int) -> tuple[str, ...]:
        """Make a call within the PBX, in which a tone is heard on `channel`; the ids of its two halves."""
        await self._api(*wire.tone_call(channel, hz, seconds))
        other = await self.variable(channel, "other_loopback_leg_uuid")
        return (channel,) if other is None else (channel, other)

    async def end_tone(self, channel: str) -> None:
        """Of a call that is over already it is no error."""
        with suppress(Gone):
            await self._api("uuid_kill", channel)

    async def hangup(self, channel: str) -> None:
        """A stream is no channel to hang up, and a party's channel is never ours to end."""

    async def destroy_bridge(self, bridge: str) -> None:
        """No bridge is ever ours."""

    async def give_back(self, channel: str) -> None:
        """No call is ever sent to us."""

    async def attach(self, order: TapOrder) -> str:
        """As `Pbx.attach`; returns once the stream has reached us."""
        module = await self._media_module()
        if variables := module.variables(order.kind):
            with suppress(PbxRefused):
                await self._api("uuid_setvar_multi", order.tapped, variables)
        with self._streams.starting(order) as stream:
            await self._start(module, order, stream)
            await self.set_variable(order.tapped, mediastream.TAP_VARIABLE, order.id)
            self._marked[order.tapped] = order.id
            await self._streams.wait(stream)
        return order.id

    async def _media_module(self) -> Module:
        """The one that streams; it may have been loaded since it was looked for. Raises PbxRefused."""
        async with self._looking:
            now_s = asyncio.get_running_loop().time()
            if self._module is None and now_s >= self._look_again_s:
                self._look_again_s = now_s + _LOOK_AGAIN_S
                self._choose([module for module in Module if await _has(self._connected(), module)])
        if self._module is None:
            raise PbxRefused(f"no media module is loaded; {_NO_MODULE}")
        return self._module

    def _choose(self, loaded: Sequence[Module]) -> None:
        wanted = loaded if self._given is None else [one for one in loaded if one is self._given]
        self._module = next(iter(wanted), None)

    async def _start(self, module: Module, order: TapOrder, stream: Stream) -> None:
        """Where a stream of ours is left from a run before this one, it goes first."""
        words = module.start(order, secure=self._secure)
        stream.started = True  # a reply may be lost
        try:
            await self._api(*words)
        except PbxRefused as error:
            stream.started = False
            if "Command not found" in str(error):
                self._module = None
            await self._make_room(module, order, error)
            await self._api(*words)
            stream.started = True

    async def _make_room(self, module: Module, order: TapOrder, error: PbxRefused) -> None:
        """Stop what is ours and in the way. Raises Gone, and the refusal where nothing of that kind is."""
        if not await self._exists(order.tapped):
            raise Gone("the channel ended before it was heard") from None
        mark = await self.variable(order.tapped, mediastream.TAP_VARIABLE)
        if mark is None:
            raise error
        if self._marked.get(order.tapped, mark) != mark:
            raise PbxRefused(f"{error}; another bridge hears this channel now: stop one of the two") from None
        with suppress(PbxRefused):
            await self._api(*module.stop(order.tapped))

    async def complete(self, order: TapOrder) -> None:
        """The stream has reached us already."""

    async def detach(self, order: TapOrder) -> None:
        started = self._streams.forget(order)
        if self._module is None or not started:
            return
        with suppress(PbxRefused, Gone):  # the module may have let it go by itself
            if await self.variable(order.tapped, mediastream.TAP_VARIABLE) in (None, order.id):
                await self._api(*self._module.stop(order.tapped))
                await self.set_variable(order.tapped, mediastream.TAP_VARIABLE, "")

    async def _exists(self, channel: str) -> bool:
        return await self.variable(channel, STATE) is not None

    def slow(self) -> float:
        """As `Pbx.slow`."""
        return self._breaker.slow(asyncio.get_running_loop().time())

    def _connected(self) -> EslConnection:
        if self._live is None:
            raise PbxUnreachable("not connected")
        return self._live

    async def _api(self, *words: str) -> str:
        """What a command says. Raises Gone, PbxRefused, PbxUnreachable and PbxError."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            return await self._connected().api(*words, timeout_s=self._timeout_s)
        except PbxRefused as error:
            if "No such channel" in str(error):
                raise Gone(words[0]) from None
            raise
        finally:
            self._breaker.observe(now_s(), now_s() - began_s)


async def _clock(connection: EslConnection) -> float | None:
    """In whole seconds; None where it is not told."""
    try:
        return whole_seconds((await connection.api("strepoch")).strip())
    except (PbxRefused, PbxError):
        return None


async def _has(connection: EslConnection, module: Module) -> bool:
    return (await connection.api("module_exists", module.label)).strip() == "true"
