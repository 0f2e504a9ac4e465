"""What a tap is to be: of which channel, by which means, and where its audio goes.

Pure; values and the texts that Asterisk's dial strings want. Who asks for it is `calls.tap`, how the PBX is
asked is in `arirequest` and `ami`. Source: the dial strings of chan_rtp, chan_audiosocket and chan_websocket.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bridge.types import Codec, Transport
from bridge.wire.tapvalues import checked_host, checked_id, checked_port

_MEDIA, _BRIDGE = ".media", ".bridge"


class TapKind(StrEnum):
    """How a party's own voice is had."""

    CHANSPY = "chanspy"
    """A channel of ours spies: one channel, 8 kHz, gone by itself with the party."""
    SNOOP = "snoop"
    """A snoop channel dials ours: two channels, the party's own rate, unbroken; gone by itself too."""
    EXTERNAL = "external"
    """The same two in a bridge of ours: nothing in the dialplan; what is left has to be removed."""
    MONO = "mono"
    """FreeSWITCH's media module streams what the party says."""
    STEREO = "stereo"
    """It streams that on one channel, and what the party hears on the other."""

    @property
    def cleans_itself(self) -> bool:
        """Whether nothing of it is left when its audio has ended."""
        return self in (TapKind.CHANSPY, TapKind.SNOOP)

    @property
    def from_ring(self) -> bool:
        """Whether it may begin before the answer: a stream would cost the caller its ringback."""
        return self not in (TapKind.MONO, TapKind.STEREO)


@dataclass(frozen=True, slots=True)
class Media:
    """Where a tap's audio goes, and as what."""

    transport: Transport
    codec: Codec
    host: str = ""
    port: int = 0
    key: str = field(default="", repr=False)
    """By which a connection of the PBX is known: a UUID over AudioSocket, any word over WebSocket."""
    client: str = ""
    """The section of websocket_client.conf by which the PBX connects to us."""

    @property
    def address(self) -> str:
        """`host:port`. Raises PbxError for what is none, as the next one does."""
        return f"{checked_host(self.host)}:{checked_port(self.port)}"

    @property
    def endpoint(self) -> str:
        """As `Dial` and an originate want it."""
        codec = f"c({self.codec.label})"
        match self.transport:
            case Transport.RTP:
                return f"UnicastRTP/{self.address}/{codec}"
            case Transport.AUDIOSOCKET:
                return f"AudioSocket/{self.address}/{checked_id(self.key)}/{codec}"
        return f"WebSocket/{self.connection}/{codec}{self.options}"

    @property
    def connection(self) -> str:
        """Who connects: the PBX by a section of its configuration, or we."""
        return checked_id(self.client) if self.transport is Transport.WEBSOCKET_CLIENT else "INCOMING"

    @property
    def options(self) -> str:
        """chan_websocket's: control messages in JSON, and audio only towards us."""
        known = f"v(leg={checked_id(self.key)})" if self.transport is Transport.WEBSOCKET_CLIENT else ""
        return f"f(json)d(in){known}"


@dataclass(frozen=True, slots=True)
class TapOrder:
    """One tap. `id` begins the ids of all that is made for it."""

    kind: TapKind
    id: str
    tapped: str
    media: Media

    @property
    def media_id(self) -> str:
        """The channel that sends us audio, where we give it its id."""
        return self.id if self.kind is TapKind.CHANSPY else f"{self.id}{_MEDIA}"

    @property
    def bridge_id(self) -> str:
        return f"{self.id}{_BRIDGE}"


def tap_prefix(app: str) -> str:
    """How the ids of all that is ours begin, so that they are known again after a restart."""
    return f"{app}.tap."


def tap_of(id_: str) -> str:
    """The tap that a channel or bridge of ours belongs to."""
    return id_.removesuffix(_MEDIA).removesuffix(_BRIDGE)
