"""One leg's tap on Asterisk: a ChanSpy channel whose RTP fills the leg's ring, put back if it ends alone.

It knows one channel and one ring. Which channels are tapped, and when a channel is gone, is the
switchboard's business; what happens to the audio is the leg's.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import random
from uuid import uuid4

import structlog

from bridge import metrics
from bridge.net.ari import Ari, AriRefused, AriUnreachable, Gone
from bridge.net.rtp import PortPool, PortsExhausted, RtpPort
from bridge.ring import Ring
from bridge.types import Codec
from bridge.wire.ari import AriError
from bridge.wire.backoff import full_jitter
from bridge.wire.receiver import Receiver

_log = structlog.get_logger()

_LAST_PACKETS_S = 0.1
"""After hang-up: how long the tap's own end, and with it its last packets, is awaited."""
_SETTLED_S = 5.0
"""A tap that lived this long was a good one: the next try starts without delay."""
_HOPELESS = 3
"""So many short-lived taps of one channel in a row are no accident."""
_PUT_BACK_S = (0.1, 5.0)
"""Base and cap of the pause before a tap is put back."""


@dataclass(frozen=True, slots=True)
class TapSettings:
    app: str
    context: str
    advertise: str
    codec: Codec
    reorder_ms: float


class Tap:
    """Runs until the tapped channel is gone; then the ring is ended and nothing of ours is left."""

    def __init__(
        self,
        channel: str,
        ring: Ring,
        ari: Ari,
        ports: PortPool,
        settings: TapSettings,
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._ring = ring
        self._ari = ari
        self._ports = ports
        self._settings = settings
        self._clock = clock
        self._hung_up = asyncio.Event()
        self._over = asyncio.Event()
        self._told = False
        self._attached = False
        """Whether there ever was a tap."""
        self._port: RtpPort | None = None
        self._counted: dict[str, int] = {}
        self.id = ""
        """Id of the tap's own channel at this moment."""

    def hang_up(self) -> None:
        """The tapped channel is gone, or the leg is to end: what has come is still read."""
        self._hung_up.set()

    def ended(self) -> None:
        """The tap's own channel is gone."""
        self._over.set()

    def count(self) -> None:
        """Hand what became of the packets since the last time to the metrics."""
        if self._port is not None:
            fates = self._port.fates()
            metrics.export(self._counted, fates)
            self._counted = fates

    async def run(self) -> None:
        """Tap, and tap again, until hung up; ends the ring in every path."""
        attempt = 0
        try:
            while not self._hung_up.is_set():
                started = asyncio.get_running_loop().time()
                await self._tap_once()
                lived_s = asyncio.get_running_loop().time() - started
                attempt = 0 if lived_s > _SETTLED_S else attempt + 1
                if attempt == _HOPELESS:
                    self._complain()
                await self._rest(attempt)
        finally:
            if not self._attached:
                self._ring.flaw("not tapped")
            self._ring.end()

    async def _tap_once(self) -> None:
        self._over.clear()
        self.id = f"{tap_prefix(self._settings.app)}{uuid4().hex}"
        try:
            port = self._open_port()
        except (PortsExhausted, OSError) as error:
            self._tell(str(error))
            return
        self._port, self._counted = port, {}
        try:
            await self._attach(port)
            await self._until_over()
        except Gone:
            await self._ask_after_channel()
        except (AriRefused, AriUnreachable, AriError, OSError, ValueError) as error:
            self._tell(f"{type(error).__name__} {error}".strip())
        finally:
            self._leave(port)
            await self._remove()

    def _leave(self, port: RtpPort) -> None:
        """Read the port empty and give it back."""
        port.drain()
        if port.dropped_by_kernel:
            self._ring.flaw("packets dropped")
        self.count()
        port.close()
        self._port = None

    def _tell(self, reason: str) -> None:
        """Why there is no tap: as an error once, or a leg without one would fill the log."""
        log = _log.debug if self._told else _log.error
        log("not tapped", channel=self._channel, reason=reason)
        self._told = True

    def _complain(self) -> None:
        """Once for a leg: what keeps a tap from staying is nearly always a missing context."""
        _log.error(
            "taps do not stay; is the context loaded? paste dialplan/asterisk/extensions.conf, then "
            "'asterisk -rx \"dialplan reload\"'",
            context=self._settings.context,
            channel=self._channel,
        )

    def _open_port(self) -> RtpPort:
        receiver = Receiver(self._settings.codec, self._settings.reorder_ms)
        return self._ports.open(receiver, self._clock, self._ring.push)

    async def _attach(self, port: RtpPort) -> None:
        """Have the PBX send, and learn from it where the packets will come from."""
        settings = self._settings
        await self._ari.originate_tap(
            self.id, self._channel, settings.advertise, port.port, settings.codec, settings.context
        )
        address = await self._ari.variable(self.id, "UNICASTRTP_LOCAL_ADDRESS")
        source = await self._ari.variable(self.id, "UNICASTRTP_LOCAL_PORT")
        if not address or not source:
            raise Gone("the tap ended before it was attached")
        port.lock(address, int(source))
        self._attached = True
        _log.debug("tap attached", channel=self._channel, port=port.port)

    async def _until_over(self) -> None:
        """Wait for the tap's end; after a hang-up it follows at once, and its last packets before it."""
        hung_up = asyncio.ensure_future(self._hung_up.wait())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({hung_up, over}, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                await asyncio.wait({over}, timeout=_LAST_PACKETS_S)
            elif not hung_up.done():
                await self._ask_after_channel()
        finally:
            hung_up.cancel()
            over.cancel()

    async def _ask_after_channel(self) -> None:
        """The tap ended first: alone, or because its channel did."""
        try:
            state = await self._ari.variable(self._channel, "CHANNEL(state)")
        except (AriRefused, AriUnreachable):
            return
        if state is None:
            self._hung_up.set()
        else:
            _log.warning("tap ended alone", channel=self._channel)
            self._ring.flaw("tap interrupted")

    async def _remove(self) -> None:
        if self._over.is_set():
            return
        try:
            await self._ari.hangup(self.id)
        except (AriRefused, AriUnreachable) as error:
            _log.warning("tap left to the PBX", reason=str(error))

    async def _rest(self, attempt: int) -> None:
        """A pause before the next try, cut short by the hang-up."""
        if self._hung_up.is_set() or not attempt:
            return
        base_s, cap_s = _PUT_BACK_S
        with suppress(TimeoutError):
            pause_s = full_jitter(attempt, base_s, cap_s, random())  # noqa: S311 - jitter is no secret
            await asyncio.wait_for(self._hung_up.wait(), pause_s)


def tap_prefix(app: str) -> str:
    """How the ids of our own channels begin, so that they are known again after a restart."""
    return f"{app}.tap."
