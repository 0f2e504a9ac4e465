"""bridge/calls/ways.py: which way audio comes, as settings, the PBX and the call allow."""

import pytest
from structlog.testing import capture_logs

from bridge.calls.ways import Way, Ways, WaySettings
from bridge.types import Codec, Transport
from bridge.wire.pbxevents import PbxInfo
from bridge.wire.taporder import TapKind
from tests.fakepbx import FakePbx, as_pbx

NATIVE = "CHANNEL(audionativeformat)"
ALL = frozenset({"chan_rtp.so", "chan_websocket.so", "chan_audiosocket.so"})


def ways(
    kind: TapKind = TapKind.SNOOP, transport: Transport | None = None, *, wideband: bool = True
) -> tuple[Ways, FakePbx]:
    pbx = FakePbx()
    pbx.variables = {("wide", NATIVE): "(g722)", ("narrow", NATIVE): "(ulaw)"}
    return Ways(as_pbx(pbx), WaySettings(kind, transport, Codec.ULAW, wideband)), pbx


def info(modules: frozenset[str] | None, version: str = "22.10.1") -> PbxInfo:
    return PbxInfo(version, "entity", 1.0, modules)


async def test_before_the_pbx_has_told_what_it_is_audio_comes_by_rtp() -> None:
    one, _ = ways()
    assert await one.of("narrow") == Way(TapKind.SNOOP, Transport.RTP, Codec.ULAW)


def test_the_transport_is_chosen_anew_at_each_connect() -> None:
    one, _ = ways()
    with capture_logs() as logs:
        for modules in (ALL, ALL - {"chan_rtp.so"}, frozenset({"chan_audiosocket.so"})):
            one.settle(info(modules))
    chosen = [log["transport"] for log in logs if log["event"] == "transport chosen"]
    assert chosen == [Transport.RTP, Transport.WEBSOCKET, Transport.AUDIOSOCKET]
    assert one.transport is Transport.AUDIOSOCKET


def test_one_that_is_asked_for_and_cannot_work_is_told_with_its_mend() -> None:
    one, _ = ways(transport=Transport.WEBSOCKET)
    with capture_logs() as logs:
        one.settle(info(frozenset({"chan_rtp.so"})))
    (told,) = [log for log in logs if log["log_level"] == "error"]
    assert "module load chan_websocket.so" in told["reason"]
    assert one.transport is Transport.WEBSOCKET


@pytest.mark.parametrize(
    ("kind", "wideband", "channel", "codec"),
    [
        (TapKind.SNOOP, True, "wide", Codec.SLIN16),
        (TapKind.EXTERNAL, True, "wide", Codec.SLIN16),
        (TapKind.SNOOP, True, "narrow", Codec.ULAW),
        (TapKind.SNOOP, True, "gone", Codec.ULAW),
        (TapKind.SNOOP, False, "wide", Codec.ULAW),
        (TapKind.CHANSPY, True, "wide", Codec.ULAW),
    ],
)
async def test_a_wideband_call_is_heard_so_by_taps_that_can(
    kind: TapKind, wideband: bool, channel: str, codec: Codec
) -> None:
    one, _ = ways(kind, wideband=wideband)
    one.settle(info(ALL))
    assert (await one.of(channel)).codec is codec


async def test_a_call_that_cannot_be_asked_is_heard_as_usual() -> None:
    one, pbx = ways()
    pbx.absent = {"variable"}
    assert (await one.of("wide")).codec is Codec.ULAW


def test_a_call_that_the_dialplan_sends_is_linear() -> None:
    one, _ = ways(TapKind.CHANSPY)
    assert one.visited == Way(TapKind.CHANSPY, Transport.AUDIOSOCKET, Codec.SLIN)
