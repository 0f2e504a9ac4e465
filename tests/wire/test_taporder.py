"""bridge/wire/taporder.py: dial strings are Asterisk's, and say no more than they should."""

import pytest

from bridge.types import Codec, Transport
from bridge.wire.pbxevents import PbxError
from bridge.wire.taporder import Media, TapKind, TapOrder, tap_of

KEY = "8f1e0c5e-6d0b-4a52-9b6c-3f0a4a1f7c11"


@pytest.mark.parametrize(
    ("media", "endpoint"),
    [
        (Media(Transport.RTP, Codec.ULAW, "10.0.0.5", 40002), "UnicastRTP/10.0.0.5:40002/c(ulaw)"),
        (Media(Transport.RTP, Codec.SLIN16, "::1", 40002), "UnicastRTP/[::1]:40002/c(slin16)"),
        (
            Media(Transport.AUDIOSOCKET, Codec.SLIN, "10.0.0.5", 9092, KEY),
            f"AudioSocket/10.0.0.5:9092/{KEY}/c(slin)",
        ),
        (Media(Transport.WEBSOCKET, Codec.ALAW), "WebSocket/INCOMING/c(alaw)f(json)d(in)"),
        (
            Media(Transport.WEBSOCKET_CLIENT, Codec.SLIN16, key=KEY, client="rtzr-media"),
            f"WebSocket/rtzr-media/c(slin16)f(json)d(in)v(leg={KEY})",
        ),
    ],
)
def test_endpoints_are_asterisks_own(media: Media, endpoint: str) -> None:
    assert media.endpoint == endpoint


@pytest.mark.parametrize(
    "media",
    [
        Media(Transport.RTP, Codec.ULAW, "a b", 40002),
        Media(Transport.RTP, Codec.ULAW, "10.0.0.5", 0),
        Media(Transport.AUDIOSOCKET, Codec.SLIN, "10.0.0.5", 9092, "a,b"),
        Media(Transport.WEBSOCKET_CLIENT, Codec.ULAW, key=KEY, client=""),
    ],
)
def test_values_that_could_say_more_are_refused(media: Media) -> None:
    with pytest.raises(PbxError):
        _ = media.endpoint


@pytest.mark.parametrize("kind", TapKind)
def test_all_that_is_made_for_a_tap_is_known_by_its_id(kind: TapKind) -> None:
    order = TapOrder(kind, "rtzr.tap.5", "1.2", Media(Transport.RTP, Codec.ULAW, "h", 1))
    assert {tap_of(one) for one in (order.id, order.media_id, order.bridge_id)} == {"rtzr.tap.5"}
