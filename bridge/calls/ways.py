"""By which way a leg's audio comes: the kind of tap, the transport and the codec, as settings and this PBX
allow.

It decides, and does nothing with a tap. The facts of versions and modules are in `wire.transports`.
"""

from dataclasses import dataclass

import structlog

from bridge.pbx import Pbx
from bridge.types import Codec, Transport
from bridge.wire.pbxevents import PbxError, PbxInfo, PbxRefused, PbxUnreachable
from bridge.wire.taporder import TapKind
from bridge.wire.transports import choose, codec_for, wanted

_log = structlog.get_logger()


_MONO = "set freeswitch.stream: mono, unless one connection a call is what counts"


@dataclass(frozen=True, slots=True)
class WaySettings:
    kind: TapKind
    transport: Transport | None
    """None: the safest that the PBX has."""
    codec: Codec
    wideband: bool
    """Whether calls of more than 8 kHz are heard so, by taps that can."""


@dataclass(frozen=True, slots=True)
class Way:
    kind: TapKind
    transport: Transport
    codec: Codec


class Ways:
    """Of one PBX; which one it is, is told at each connect."""

    def __init__(self, pbx: Pbx, settings: WaySettings) -> None:
        self._pbx = pbx
        self._settings = settings
        self._version = ""
        self.transport = settings.transport or Transport.RTP

    def settle(self, info: PbxInfo) -> None:
        """Another PBX may answer than before, or the same one updated."""
        settings = self._settings
        if settings.transport is None:
            chosen = choose(info.version, info.modules)
        else:
            chosen = wanted(settings.transport, info.version, info.modules)
        self._version, self.transport = info.version, chosen.transport
        if chosen.fault:
            _log.error("transport cannot work", transport=chosen.transport, reason=chosen.fault)
        if settings.kind is TapKind.STEREO:
            _log.warning("streams in stereo can fall behind for a whole call, and lose its end", mend=_MONO)
        _log.info("transport chosen", transport=chosen.transport, tap=settings.kind, reason=chosen.why)

    @property
    def visited(self) -> Way:
        """For a call that the dialplan sends to us: the application is 8 kHz linear."""
        return Way(self._settings.kind, Transport.AUDIOSOCKET, Codec.SLIN)

    async def of(self, channel: str) -> Way:
        """For a leg on this channel."""
        native = ""
        if self._settings.wideband and self._settings.kind is not TapKind.CHANSPY:
            native = await self._native(channel)
        codec = codec_for(self.transport, self._settings.codec, native, self._version)
        return Way(self._settings.kind, self.transport, codec)

    async def _native(self, channel: str) -> str:
        """The formats of the channel's own; of one that cannot be asked, none."""
        try:
            return await self._pbx.variable(channel, "CHANNEL(audionativeformat)") or ""
        except (PbxRefused, PbxUnreachable, PbxError):
            return ""
