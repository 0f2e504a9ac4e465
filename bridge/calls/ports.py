"""How many RTP ports the PBX has, asked of itself where neither the YAML nor its greeting tells.

ARI reads a file's key on a channel only, so this waits for the first one that lives, whoever's it is. What
follows from the number is `bridge.calls.admission`'s business.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from bridge.pbx import Pbx
from bridge.wire import rtpbudget
from bridge.wire.pbxevents import (
    Channel,
    ChannelCreated,
    ChannelStateChange,
    Connected,
    Disconnected,
    PbxError,
    PbxEvent,
    PbxRefused,
    PbxUnreachable,
)
from bridge.wire.rtpbudget import RtpRange

_log = structlog.get_logger()

_KEYS = tuple(f"AST_CONFIG(rtp.conf,general,{name})" for name in ("rtpstart", "rtpend"))
_MEND = "sudo asterisk -rx 'rtp show settings' shows both ports: give them as asterisk.rtp_range"
_PATIENCE_S = 1.0
"""The events wait meanwhile."""
_TRIES = 3


class PortsOfPbx:
    """Asks once for each connection: rtp.conf may be another when the PBX is back."""

    def __init__(self, pbx: Pbx, learn: Callable[[RtpRange], None], needed: Callable[[], bool]) -> None:
        """`needed`: whether taps take ports of which the YAML tells nothing."""
        self._pbx = pbx
        self._learn = learn
        self._needed = needed
        self._asking = asyncio.Lock()
        self._tries = 0
        """How many are left."""

    async def before(self, event: PbxEvent | Connected | Disconnected) -> None:
        """Ask on the first channel that shows itself, before anything comes of it: a burst of calls would be
        tapped before the answer."""
        if isinstance(event, Connected):
            self._tries = _TRIES if event.pbx.rtp_range is None else 0
            if event.pbx.rtp_range is not None:
                self._learn(event.pbx.rtp_range)
        elif isinstance(event, ChannelCreated | ChannelStateChange):
            await self.ask([event.channel])

    async def ask(self, channels: Iterable[Channel]) -> None:
        """Ask on the first of these that lives, for a short time."""
        if not self._tries or not self._needed():
            return
        async with self._asking:
            for one in channels:
                if self._tries:
                    await self._ask_on(one.id)

    async def _ask_on(self, channel: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                first, last = await asyncio.gather(*(self._pbx.variable(channel, key) for key in _KEYS))
                lacking = first is None or last is None
                if lacking and await self._pbx.variable(channel, "CHANNEL(state)") is None:
                    return  # not the file is missing, but the channel
            known, self._tries = rtpbudget.read(first or "", last or ""), 0
        except PbxRefused:
            known, self._tries = None, 0
        except (PbxUnreachable, PbxError, TimeoutError):
            known, self._tries = None, self._tries - 1
        if known is not None:
            self._learn(known)
        elif not self._tries:
            _log.error("rtp ports of the pbx not known: taps could use them up and crash it", mend=_MEND)
