"""One leg's tap: channels of ours in the PBX, or a stream of it, whose audio goes to the leg's desk, put back
if they end alone.

It knows one channel and one desk. Which channels are tapped, and when a channel is gone, is the
switchboard's business; what happens to the audio is the leg's.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import random
from typing import Protocol
from uuid import uuid4

import structlog

from bridge.calls.errands import told
from bridge.calls.ways import Way
from bridge.leg.desk import Desk, DeskLost
from bridge.leg.inlets import NoInlet
from bridge.pbx import Pbx
from bridge.types import Transport
from bridge.wire.backoff import full_jitter
from bridge.wire.pbxevents import STATE, Gone, PbxError, PbxRefused, PbxUnreachable
from bridge.wire.taporder import Media, TapKind, TapOrder, tap_prefix

_log = structlog.get_logger()

_LAST_PACKETS_S = 0.1
"""After hang-up: how long the tap's own end, and with it its last packets, is awaited."""
_LATE_S = 0.25
"""A party that has been up for longer when its tap begins may have said something that nobody hears."""
_SETTLED_S = 5.0
"""A tap that lived this long was a good one: the next try starts without delay."""
_HOPELESS = 3
"""So many short-lived taps of one channel in a row are no accident."""
_PASTE = (
    "is the context loaded, with the extension {}? paste dialplan/asterisk/extensions.conf, "
    "then 'asterisk -rx \"dialplan reload\"'"
)
_LOAD = "are app_chanspy and the channel driver loaded? see 'asterisk -rx \"module show like chan\"'"
_STREAM = "what does FreeSWITCH's log say of the media module? see docs/freeswitch.md"
_PUT_BACK_S = (0.1, 5.0)
"""Base and cap of the pause before a tap is put back."""


@dataclass(frozen=True, slots=True)
class TapSettings:
    app: str
    context: str
    """The dialplan's, where the tap runs in it; empty where it needs none."""
    advertise: str
    media_url: str = ""
    """Where the PBX's HTTP server has audio for us."""
    client: str = ""
    """The section of its websocket_client.conf that brings audio to us."""


class Tap:
    """Runs until the tapped channel is gone; then the stream is ended and nothing of ours is left."""

    def __init__(
        self,
        channel: str,
        desk: Desk,
        pbx: Pbx,
        way: Way,
        settings: TapSettings,
        up_s: Callable[[], float] = float,
        note: Callable[[str, Mapping[str, str]], None] = lambda _what, _data: None,
    ) -> None:
        """`up_s`: for how many seconds the party has been up, and could have spoken; 0 before the answer.
        `note`: what happens to the tap, for who watches."""
        self._channel = channel
        self._desk = desk
        self._pbx = pbx
        self._way = way
        self._settings = settings
        self._up_s = up_s
        self._note = note
        self._cause = "unknown"
        self._begun = asyncio.Event()
        if way.kind.from_ring:
            self._begun.set()
        self._hung_up = asyncio.Event()
        self._over = asyncio.Event()
        self._told = self._told_left = False
        self._closed_in_order = False
        """Whether the last stream was, by whoever sent it."""
        self._attached = False
        """Whether there ever was a tap."""
        self.id = ""
        """Id of the tap's own channel at this moment; empty while it has none."""
        self.standing = ""
        """The same, once it stands: until then the PBX need not have it yet."""

    def begin(self) -> None:
        """The party is up: a tap that has to wait for that need not any more."""
        if not self._hung_up.is_set():
            self._begun.set()

    def hang_up(self, cause: str) -> None:
        """The tapped channel is gone, or the leg is to end: what has come is still read."""
        self._cause = cause
        self._hung_up.set()

    def ended(self) -> None:
        """The tap's own channel is gone."""
        self._over.set()

    async def run(self) -> None:
        """Tap, and tap again, until hung up; ends the stream in every path."""
        attempt = 0
        try:
            await self._wait()
            while not self._hung_up.is_set():
                started = asyncio.get_running_loop().time()
                await self._tap_once()
                lived_s = asyncio.get_running_loop().time() - started
                attempt = 0 if lived_s > _SETTLED_S else attempt + 1
                if attempt == _HOPELESS and not self._told:
                    self._complain()
                await self._rest(attempt)
        finally:
            if not self._attached and self._could_speak():
                self._desk.flaw("not tapped")
            self._desk.end(self._cause)

    def _could_speak(self) -> bool:
        """Whether there was something to be heard, as far as is known."""
        if self._way.kind.from_ring:
            return True
        return self._begun.is_set() and self._up_s() > _LATE_S

    async def _wait(self) -> None:
        """Until it may begin; if that never comes, the last words may be on their way by another's tap."""
        if self._begun.is_set():
            return
        await _either(self._begun, self._hung_up)
        if not self._begun.is_set() and self._way.kind is TapKind.STEREO:
            await asyncio.sleep(_LAST_PACKETS_S)

    async def _tap_once(self) -> None:
        self._over.clear()
        self._closed_in_order = False
        self.id = f"{tap_prefix(self._settings.app)}{uuid4().hex}"
        order: TapOrder | None = None
        try:
            order = await self._order()
            await self._attach(order)
            await self._until_over()
        except Gone:
            await self._ask_after_channel()
        except DeskLost:
            pass  # the switchboard has a new one, and a tap for it
        except (PbxRefused, PbxUnreachable, PbxError, NoInlet, ValueError) as error:
            self._tell(told(error))
        finally:
            await self._desk.close_inlet()
            if order is not None:
                await self._remove(order)
            self.id = self.standing = (
                ""  # what is left of it now is a stray, whether or not the leg has more to tell
            )

    async def _order(self) -> TapOrder:
        """With a place for the audio. Raises NoInlet and DeskLost."""
        way, settings = self._way, self._settings
        port, key = await self._desk.open_inlet(way.transport)
        media = Media(way.transport, way.codec, settings.advertise, port, key, settings.client)
        return TapOrder(way.kind, self.id, self._channel, media)

    def _tell(self, reason: str) -> None:
        """Why there is no tap: as an error once, or a leg without one would fill the log."""
        log = _log.debug if self._told else _log.error
        log("not tapped", channel=self._channel, reason=reason)
        if not self._told:
            self._note("not tapped", {"reason": reason})
        self._told = True

    def _complain(self) -> None:
        """Once for a leg: what keeps a tap from staying is nearly always a missing context."""
        context, kind = self._settings.context, self._way.kind
        mend = _PASTE.format("snoop" if kind is TapKind.SNOOP else "s") if context else _LOAD
        if kind in (TapKind.MONO, TapKind.STEREO):
            mend = _STREAM
        self._note("taps do not stay", {"mend": mend})
        _log.error(f"taps do not stay; {mend}", context=context or None, channel=self._channel)

    async def _attach(self, order: TapOrder) -> None:
        await stand(self._pbx, self._desk, order, self._settings.media_url)
        if not self._attached and self._up_s() > _LATE_S:
            self._desk.flaw("tapped late")
        self._attached, self.standing = True, order.id
        self._note("tap attached", {"kind": order.kind.value, "transport": order.media.transport.value})
        _log.debug("tap attached", channel=self._channel, kind=order.kind, transport=order.media.transport)

    async def _until_over(self) -> None:
        """Wait for the tap's end; after a hang-up it follows at once, and its last packets before it."""
        watching = None if self._way.kind.from_ring else asyncio.create_task(self._watch())
        try:
            await _either(self._hung_up, self._over)
        finally:
            if watching is not None:
                watching.cancel()
        if not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_PACKETS_S):
                    await self._over.wait()
        elif not self._hung_up.is_set():
            await self._ask_after_channel()

    async def _watch(self) -> None:
        """A stream can end without a word of the PBX's, or while that is away."""
        with suppress(DeskLost, NoInlet):
            self._closed_in_order = await self._desk.over()
            self._over.set()

    async def _ask_after_channel(self) -> None:
        """The tap ended first: alone, or because its channel did. If the PBX is away, a stream that it closed
        in order is the end of the call, as far as anybody can tell."""
        try:
            state = await self._pbx.variable(self._channel, STATE)
        except (PbxRefused, PbxUnreachable):
            self._desk.flaw("pbx away")
            self._note("tap lost while the PBX was away", {})
            if self._closed_in_order:
                self.hang_up("stream ended")
            return
        if state is None:
            self._hung_up.set()
        else:
            _log.warning("tap ended alone", channel=self._channel)
            self._note("tap ended alone; it is put back", {})
            self._desk.flaw("tap interrupted")

    async def _remove(self, order: TapOrder) -> None:
        if self._over.is_set() and order.kind.cleans_itself:
            return  # all of it went together
        try:
            await self._pbx.detach(order)
        except (PbxRefused, PbxUnreachable) as error:
            log = _log.debug if self._told_left else _log.warning
            log("tap left to the PBX", reason=str(error))
            self._told_left = True

    async def _rest(self, attempt: int) -> None:
        """A pause before the next try, cut short by the hang-up."""
        if self._hung_up.is_set() or not attempt:
            return
        base_s, cap_s = _PUT_BACK_S
        pause_s = full_jitter(attempt, base_s, cap_s, random())  # noqa: S311 - jitter is no secret
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hung_up.wait()


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


class Ear(Protocol):
    """The part of a `Desk` that meets what the PBX sends."""

    async def lock(self, address: str, port: int) -> None: ...

    async def reach(self, url: str) -> None: ...


async def stand(pbx: Pbx, ear: Ear, order: TapOrder, media_url: str) -> None:
    """Have the PBX send, and meet what it sends: learn where packets will come from, or where it waits for
    us; else it comes by itself. Raises Gone, PbxRefused, PbxUnreachable, PbxError and NoInlet."""
    sender = await pbx.attach(order)
    match order.media.transport:
        case Transport.RTP:
            address = await _told(pbx, sender, "UNICASTRTP_LOCAL_ADDRESS")
            source = await _told(pbx, sender, "UNICASTRTP_LOCAL_PORT")
            await ear.lock(address, int(source))
        case Transport.WEBSOCKET:
            connection = await _told(pbx, sender, "MEDIA_WEBSOCKET_CONNECTION_ID")
            await ear.reach(f"{media_url}/{connection}")
        case Transport.AUDIOSTREAM | Transport.AUDIOSTREAM_STEREO:
            await ear.reach("")
    await pbx.complete(order)


async def _told(pbx: Pbx, sender: str, name: str) -> str:
    value = await pbx.variable(sender, name)
    if not value:
        raise Gone("the tap ended before it was attached")
    return value
