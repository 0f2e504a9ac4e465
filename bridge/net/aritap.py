"""A tap over ARI, step by step: which requests make one of each kind, in which order, and what undoes it.

A channel that was asked for is waited for in the events, for the reply can come before it and after it. What
the requests say is in `wire.arirequest`; when a tap is wanted, and that it is put back, is `calls.tap`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable

from bridge.net.awaited import Answers, Awaited
from bridge.wire import ari, arirequest
from bridge.wire.pbxevents import (
    ChannelDestroyed,
    Dial,
    Gone,
    PbxEvent,
    PbxRefused,
    PbxUnreachable,
    StasisStart,
)
from bridge.wire.taporder import TapKind, TapOrder

SNOOP_EXTENSION = "snoop"
"""Of the dialplan's context: there a snoop channel dials RTZR_MEDIA."""

Request = Callable[[arirequest.Request], Awaitable[bytes]]


class AriTaps:
    """Taps of one application."""

    def __init__(self, request: Request, app: str, context: str, timeout_s: float) -> None:
        """`request` sends one and gives the reply's body; `context` is the dialplan's for our taps."""
        self._request = request
        self._app = app
        self._context = context
        self._timeout_s = timeout_s
        self._follows = False
        self._stasis = Awaited()
        self._dialled = Awaited()
        self._answers = Answers(timeout_s)

    def note(self, event: PbxEvent) -> None:
        """Somebody may wait for it."""
        self._answers.note(event)
        match event:
            case StasisStart(channel=channel):
                self._stasis.seen(channel.id, channel.id)
            case Dial(caller=caller, peer=peer) if caller is not None:
                self._dialled.seen(caller.id, peer.id)
            case ChannelDestroyed(channel=channel):
                self._stasis.gone(channel.id)
                self._dialled.gone(channel.id)

    def connected(self) -> None:
        """Events come from now on."""
        self._follows = True

    def lost(self) -> None:
        """None come any more."""
        self._follows = False
        self._stasis.lost()
        self._dialled.lost()
        self._answers.lost()

    async def attach(self, order: TapOrder) -> str:
        """As `Pbx.attach`."""
        match order.kind:
            case TapKind.CHANSPY:
                self._answers.watch(order.media_id)
                reply = await self._request(arirequest.originate_tap(order, self._context))
                return ari.one_channel(reply).id
            case TapKind.SNOOP:
                return await self._dial(order)
        await self._snoop(order)
        return ari.one_channel(await self._request(arirequest.external_media(order, self._app))).id

    async def _snoop(self, order: TapOrder) -> None:
        """A snoop channel in our application, which leaves no call record."""
        if not self._follows:  # the PBX has no such application now, and we would wait in vain
            raise PbxUnreachable("no connection for events")
        with self._stasis.expect(order.id) as there:
            await self._request(arirequest.snoop(order, self._app))
            await self._until(there)
        await self._request(arirequest.set_variable(order.id, *arirequest.NO_RECORD))

    async def _dial(self, order: TapOrder) -> str:
        """A snoop channel that dials us; the id of what it dialled."""
        await self._snoop(order)
        await self._request(arirequest.set_variable(order.id, "RTZR_MEDIA", order.media.endpoint))
        with self._dialled.expect(order.id) as dialled:
            await self._request(arirequest.go_on(order.id, self._context, SNOOP_EXTENSION))
            return await self._until(dialled)

    async def complete(self, order: TapOrder) -> None:
        """As `Pbx.complete`."""
        if order.kind is TapKind.CHANSPY:
            await self._answers.wait(order.media_id)  # only then does it spy
        if order.kind is not TapKind.EXTERNAL:
            return
        await self._in_stasis(order.media_id)
        await self._request(arirequest.create_bridge(order))
        try:
            await self._request(arirequest.add_to_bridge(order))
        except PbxRefused as error:
            if "not found" in str(error):  # 400, and not 404, for a channel that has just ended
                raise Gone(order.id) from None
            raise

    async def _in_stasis(self, channel: str) -> None:
        """Wait until a channel is in our application: until then it cannot be put into a bridge (422)."""
        with self._stasis.expect(channel) as there:
            found = ari.one_channel(await self._request(arirequest.channel(channel)))
            if found.application != "Stasis":
                await self._until(there)

    async def _until(self, future: "asyncio.Future[str]") -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise PbxUnreachable("a channel was made, and never seen") from None

    async def detach(self, order: TapOrder) -> None:
        """As `Pbx.detach`: what cannot be removed now is a stray, and found by the next comparison."""
        self._answers.forget(order.media_id)
        requests = [arirequest.hangup(order.id)]
        if order.kind is TapKind.EXTERNAL:
            requests += [arirequest.hangup(order.media_id), arirequest.destroy_bridge(order.bridge_id)]
        told: Exception | None = None
        for request in requests:
            try:
                await self._request(request)
            except Gone:
                continue
            except (PbxRefused, PbxUnreachable) as error:
                told = error
        if told is not None:
            raise told
