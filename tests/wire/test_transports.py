"""bridge/wire/transports.py: the safest transport that an Asterisk has, and what speaks against one that is
wanted."""

import pytest

from bridge.types import Codec, Transport
from bridge.wire.transports import choose, codec_for, wanted

ALL = frozenset({"chan_rtp.so", "chan_websocket.so", "chan_audiosocket.so"})
NO_RTP = ALL - {"chan_rtp.so"}


@pytest.mark.parametrize(
    ("pbx", "modules", "transport"),
    [
        ("22.10.1+dfsg", ALL, Transport.RTP),
        ("18.26.4", ALL, Transport.RTP),
        ("22.10.1", None, Transport.RTP),
        ("22.10.1", NO_RTP, Transport.WEBSOCKET),
        ("22.8.2", NO_RTP, Transport.AUDIOSOCKET),
        ("21.12.0", NO_RTP, Transport.AUDIOSOCKET),
        ("24.0.0", NO_RTP, Transport.WEBSOCKET),
        ("a fork of our own", NO_RTP, Transport.WEBSOCKET),
        ("22.10.1", frozenset({"chan_audiosocket.so"}), Transport.AUDIOSOCKET),
    ],
)
def test_the_safest_that_is_there(pbx: str, modules: frozenset[str] | None, transport: Transport) -> None:
    chosen = choose(pbx, modules)
    assert (chosen.transport, chosen.fault) == (transport, "")
    assert chosen.why


def test_none_at_all_is_a_fault_with_its_mend() -> None:
    chosen = choose("22.10.1", frozenset())
    assert "module load chan_rtp.so" in chosen.fault


def test_what_is_wanted_is_taken_with_what_speaks_against_it() -> None:
    assert wanted(Transport.WEBSOCKET, "22.10.1", ALL).fault == ""
    assert "too old" in wanted(Transport.WEBSOCKET, "22.8.0", ALL).fault
    assert "chan_websocket.so" in wanted(Transport.WEBSOCKET_CLIENT, "22.10.1", frozenset()).fault
    assert wanted(Transport.AUDIOSOCKET, "18.1.0", None).fault == ""


@pytest.mark.parametrize(
    ("transport", "native", "pbx", "codec"),
    [
        (Transport.RTP, "(ulaw)", "22.10.1", Codec.ALAW),
        (Transport.RTP, "(ulaw|g722)", "22.10.1", Codec.SLIN16),
        (Transport.RTP, "(slin16)", "22.10.1", Codec.SLIN16),
        (Transport.RTP, "(slin)", "22.10.1", Codec.ALAW),
        (Transport.RTP, "", "22.10.1", Codec.ALAW),
        (Transport.WEBSOCKET, "(opus)", "22.10.1", Codec.SLIN16),
        (Transport.AUDIOSOCKET, "(ulaw)", "22.10.1", Codec.SLIN),
        (Transport.AUDIOSOCKET, "(opus)", "22.10.1", Codec.SLIN16),
        (Transport.AUDIOSOCKET, "(opus)", "22.6.0", Codec.SLIN),
    ],
)
def test_wideband_where_the_call_has_it(transport: Transport, native: str, pbx: str, codec: Codec) -> None:
    assert codec_for(transport, Codec.ALAW, native, pbx) is codec
