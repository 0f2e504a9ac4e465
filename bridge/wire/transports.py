"""By which transport audio comes from an Asterisk: the safest for it that its version and modules allow, and
why.

Pure. Sources: the version table and the issues (by number) of Asterisk; what harms a PBX most is a channel
that waits for us, so what cannot wait comes first.
"""

from dataclasses import dataclass

from bridge.types import Codec, Transport
from bridge.wire.knownbad import Version, version

_MODULES = {
    Transport.RTP: "chan_rtp.so",
    Transport.WEBSOCKET: "chan_websocket.so",
    Transport.WEBSOCKET_CLIENT: "chan_websocket.so",
    Transport.AUDIOSOCKET: "chan_audiosocket.so",
}
_WEBSOCKET_SINCE: dict[int, Version] = {20: (20, 19, 0), 22: (22, 9, 0), 23: (23, 3, 0)}
"""With control messages in JSON, and audio in one direction."""
_KNOWN = max(_WEBSOCKET_SINCE)
_WIDE_AUDIO_SINCE: dict[int, Version] = {20: (20, 17, 0), 21: (21, 12, 0), 22: (22, 7, 0), 23: (23, 1, 0)}
"""AudioSocket at another rate than 8 kHz says so."""

_SAFEST = (
    (Transport.RTP, "a UDP port can neither stall nor end a call"),
    (Transport.WEBSOCKET, "chan_rtp is not there, and it is whole and in order"),
    (Transport.AUDIOSOCKET, "chan_rtp is not there, nor chan_websocket of 20.19, 22.9 or 23.3"),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    transport: Transport
    why: str
    fault: str = ""
    """What keeps it from working, and the mend."""


def choose(pbx: str, modules: frozenset[str] | None) -> Chosen:
    """For an Asterisk that calls itself `pbx` and runs these modules; None: it does not tell."""
    if modules is None:
        return Chosen(Transport.RTP, "modules are not told here, and every Asterisk has it")
    for transport, why in _SAFEST:
        if not _fault(transport, pbx, modules):
            return Chosen(transport, why)
    return Chosen(Transport.RTP, "there is none", _fault(Transport.RTP, pbx, modules))


def wanted(transport: Transport, pbx: str, modules: frozenset[str] | None) -> Chosen:
    """The one that the configuration names, with what speaks against it."""
    why = "asterisk.transport says so" if transport in _MODULES else "FreeSWITCH has no other"
    return Chosen(transport, why, _fault(transport, pbx, modules))


def _fault(transport: Transport, pbx: str, modules: frozenset[str] | None) -> str:
    if transport not in _MODULES:
        return ""
    module = _MODULES[transport]
    if modules is not None and module not in modules:
        return f"{module} does not run; sudo asterisk -rx 'module load {module}'"
    if module == "chan_websocket.so" and not _since(_WEBSOCKET_SINCE, version(pbx)):
        return "its chan_websocket is too old; update to 20.19, 22.9 or 23.3, or set asterisk.transport: rtp"
    return ""


def _since(firsts: dict[int, Version], number: Version | None) -> bool:
    """Whether a version has what its branch has since then; an unknown one is taken for a new one."""
    if number is None or number[0] > _KNOWN:
        return True
    first = firsts.get(number[0])
    return first is not None and number >= first


_WIDE = (
    "g722", "g719", "slin12", "slin16", "slin24", "slin32", "slin44", "slin48", "opus", "siren",
    "speex16", "speex32", "silk12", "silk16", "silk24", "amrwb", "evs",
)  # fmt: skip
"""How the names of wideband formats begin (main/codec_builtin.c)."""


def codec_for(transport: Transport, codec: Codec, native: str, pbx: str) -> Codec:
    """What audio comes in: `codec`, or 16 kHz where the call's `native` formats, as
    CHANNEL(audionativeformat) has them, have more than 8. AudioSocket carries nothing but linear audio."""
    wide = any(name.strip("() ").startswith(_WIDE) for name in native.split("|"))
    if wide and (transport is not Transport.AUDIOSOCKET or _since(_WIDE_AUDIO_SINCE, version(pbx))):
        return Codec.SLIN16
    return Codec.SLIN if transport is Transport.AUDIOSOCKET else codec
