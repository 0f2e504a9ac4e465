"""A tap's order with all that most tests have no wish to choose."""

from bridge.types import Codec, Transport
from bridge.wire.taporder import Media, TapKind, TapOrder


def order(
    tap: str = "tap",
    tapped: str = "1.1",
    port: int = 9,
    *,
    host: str = "127.0.0.1",
    codec: Codec = Codec.ULAW,
    kind: TapKind = TapKind.CHANSPY,
) -> TapOrder:
    """Over RTP."""
    return TapOrder(kind, tap, tapped, Media(Transport.RTP, codec, host, port))
