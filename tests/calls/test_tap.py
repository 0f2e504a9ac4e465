"""bridge/calls/tap.py without a PBX: what a tap meets, what it removes, and what it says is missing."""

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from bridge.calls import tap as taps
from bridge.calls.tap import Tap, TapSettings
from bridge.calls.ways import Way
from bridge.leg.desk import Desk
from bridge.leg.inlets import NoInlet, Place
from bridge.pbx import Pbx
from bridge.types import Codec, Transport
from bridge.wire.pbxevents import PbxUnreachable
from bridge.wire.taporder import TapKind, TapOrder


class _Pbx:
    """Every tap of it stands at once; `told` are the variables of what it makes."""

    def __init__(self, **told: str) -> None:
        self.told = told or {"UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1", "UNICASTRTP_LOCAL_PORT": "4000"}
        self.orders: list[TapOrder] = []
        self.done: list[str] = []
        self.stands = asyncio.Event()
        self.tried = asyncio.Semaphore(0)
        self.state: str | None = "6"
        """Of the channel; empty: the PBX is away."""

    async def attach(self, order: TapOrder) -> str:
        self.orders.append(order)
        self.tried.release()
        return order.media_id

    async def complete(self, order: TapOrder) -> None:
        self.done.append("complete")
        self.stands.set()

    async def detach(self, order: TapOrder) -> None:
        self.done.append("detach")

    async def variable(self, channel: str, name: str) -> str | None:
        if name != "CHANNEL(state)":
            return self.told.get(name)
        if self.state == "":
            raise PbxUnreachable("not connected")
        return self.state


class _Desk:
    def __init__(self, *, refuses: bool = False) -> None:
        self.said: list[str] = []
        self._refuses = refuses
        self.stream: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        if self._refuses:
            raise NoInlet("no port")
        return Place(5000, "a-key-of-this-leg")

    async def lock(self, address: str, port: int) -> None:
        self.said.append(f"lock {address}:{port}")

    async def reach(self, url: str) -> None:
        self.said.append(f"reach {url}")

    async def over(self) -> bool:
        return await asyncio.shield(self.stream)

    async def close_inlet(self) -> None:
        self.said.append("close")
        self.stream = asyncio.get_running_loop().create_future()

    def flaw(self, reason: str) -> None:
        self.said.append(reason)

    def end(self, cause: str) -> None:
        self.said.append(f"end {cause}")


@pytest.fixture(autouse=True)
def _no_last_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "_LAST_PACKETS_S", 0.0)


def tap(
    pbx: _Pbx,
    desk: _Desk,
    kind: TapKind = TapKind.CHANSPY,
    transport: Transport = Transport.RTP,
    *,
    up_s: float = 0.0,
) -> Tap:
    settings = TapSettings("app", "rtzr-tap", "10.0.0.5", "ws://pbx:8088/media", "rtzr-bridge")
    way = Way(kind, transport, Codec.ULAW)
    return Tap("1.1", cast("Desk", desk), cast("Pbx", pbx), way, settings, lambda: up_s)


async def lived(one: Tap, pbx: _Pbx, *, over: bool = False) -> None:
    """Until it stands, and is hung up, its own channel first if `over`."""
    running = asyncio.create_task(one.run())
    async with asyncio.timeout(2):
        await pbx.stands.wait()
        if over:
            one.ended()
        one.hang_up("cause 16")
        await running


async def test_only_the_source_that_the_pbx_names_is_heard() -> None:
    pbx, desk = _Pbx(), _Desk()
    await lived(tap(pbx, desk), pbx)
    assert desk.said == ["lock 127.0.0.1:4000", "close", "end cause 16"]
    assert pbx.orders[0].media.endpoint == "UnicastRTP/10.0.0.5:5000/c(ulaw)"
    assert pbx.orders[0].id.startswith("app.tap.")


async def test_it_stands_once_it_is_met_and_no_longer_than_it_lives() -> None:
    """A list of channels that was asked for before need not have it."""
    pbx, desk = _Pbx(), _Desk()
    one = tap(pbx, desk)
    assert one.standing == ""
    running = asyncio.create_task(one.run())
    await pbx.stands.wait()
    await asyncio.sleep(0)
    assert one.standing == one.id == pbx.orders[0].id
    one.hang_up("cause 16")
    await running
    assert one.standing == one.id == ""


async def test_a_pbx_that_waits_for_us_is_reached() -> None:
    pbx, desk = _Pbx(MEDIA_WEBSOCKET_CONNECTION_ID="its-id"), _Desk()
    await lived(tap(pbx, desk, transport=Transport.WEBSOCKET), pbx)
    assert desk.said[0] == "reach ws://pbx:8088/media/its-id"


@pytest.mark.parametrize("transport", [Transport.WEBSOCKET_CLIENT, Transport.AUDIOSOCKET])
async def test_a_pbx_that_comes_by_itself_has_the_legs_key(transport: Transport) -> None:
    pbx, desk = _Pbx(), _Desk()
    await lived(tap(pbx, desk, transport=transport), pbx)
    assert "a-key-of-this-leg" in pbx.orders[0].media.endpoint
    assert desk.said == ["close", "end cause 16"]


@pytest.mark.parametrize(
    ("kind", "over", "done"),
    [
        (TapKind.CHANSPY, True, ["complete"]),
        (TapKind.SNOOP, True, ["complete"]),
        (TapKind.EXTERNAL, True, ["complete", "detach"]),
        (TapKind.CHANSPY, False, ["complete", "detach"]),
    ],
)
async def test_what_does_not_go_by_itself_is_removed(kind: TapKind, over: bool, done: list[str]) -> None:
    pbx, desk = _Pbx(), _Desk()
    await lived(tap(pbx, desk, kind), pbx, over=over)
    assert pbx.done == done


@pytest.mark.parametrize(("up_s", "late"), [(0.0, False), (0.1, False), (1.0, True)])
async def test_a_tap_that_comes_late_says_so(up_s: float, late: bool) -> None:
    """What was said before it is not missed by anybody else: no packet of it ever came."""
    pbx, desk = _Pbx(), _Desk()
    await lived(tap(pbx, desk, up_s=up_s), pbx)
    assert ("tapped late" in desk.said) == late


async def test_a_leg_without_a_place_is_not_tapped_and_says_so() -> None:
    pbx, desk = _Pbx(), _Desk(refuses=True)
    one = tap(pbx, desk)
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    one.hang_up("cause 16")
    await running
    assert desk.said == ["close", "not tapped", "end cause 16"]
    assert pbx.orders == []


@pytest.mark.parametrize(
    ("kind", "mend"),
    [
        (TapKind.CHANSPY, "with the extension s?"),
        (TapKind.SNOOP, "with the extension snoop?"),
        (TapKind.MONO, "docs/freeswitch.md"),
    ],
)
async def test_taps_that_do_not_stay_name_what_may_be_missing(
    kind: TapKind, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps, "_PUT_BACK_S", (0.0, 0.0))
    pbx, desk = _Pbx(NOTHING="of its media"), _Desk()
    one = tap(pbx, desk, kind)
    with capture_logs() as logs:
        running = asyncio.create_task(one.run())
        one.begin()
        async with asyncio.timeout(2):
            for _ in range(4):
                await pbx.tried.acquire()
        one.hang_up("cause 16")
        await running
    (told,) = (line["event"] for line in logs if line["log_level"] == "error")
    assert mend in told


# Streams of FreeSWITCH.


def stream_of(pbx: _Pbx, desk: _Desk, *, up_s: float = 1.0) -> Tap:
    return tap(pbx, desk, TapKind.MONO, Transport.AUDIOSTREAM, up_s=up_s)


async def test_a_stream_begins_with_the_answer_and_not_before() -> None:
    pbx, desk = _Pbx(), _Desk()
    one = stream_of(pbx, desk, up_s=0.0)
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0.01)
    assert pbx.orders == []
    one.begin()
    await pbx.stands.wait()
    one.hang_up("cause 16")
    await running
    assert desk.said == ["reach ", "close", "end cause 16"]


async def test_who_is_never_answered_was_not_missed() -> None:
    pbx, desk = _Pbx(), _Desk()
    one = stream_of(pbx, desk)
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    one.hang_up("cause 17")
    one.begin()
    await running
    assert (pbx.orders, desk.said) == ([], ["end cause 17"])


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_stream_that_ends_while_the_call_goes_on_is_had_again(in_order: bool) -> None:
    """Whoever stopped it, and though the PBX does not say a word."""
    pbx, desk = _Pbx(), _Desk()
    one = stream_of(pbx, desk, up_s=0.0)
    one.begin()
    running = asyncio.create_task(one.run())
    async with asyncio.timeout(2):
        await pbx.stands.wait()
        pbx.stands.clear()
        desk.stream.set_result(in_order)
        await pbx.stands.wait()
        one.hang_up("cause 16")
        await running
    assert desk.said == ["reach ", "tap interrupted", "close", "reach ", "close", "end cause 16"]
    assert pbx.done == ["complete", "detach", "complete", "detach"]


async def test_a_stream_that_ends_with_its_channel_ends_the_leg() -> None:
    pbx, desk = _Pbx(), _Desk()
    one = stream_of(pbx, desk, up_s=0.0)
    one.begin()
    running = asyncio.create_task(one.run())
    await pbx.stands.wait()
    pbx.state = None
    desk.stream.set_result(True)
    await running
    assert desk.said == ["reach ", "close", "end unknown"]


async def test_while_the_pbx_is_away_a_stream_that_is_closed_in_order_ends_the_leg_and_that_is_said() -> None:
    pbx, desk = _Pbx(), _Desk()
    one = stream_of(pbx, desk, up_s=0.0)
    one.begin()
    running = asyncio.create_task(one.run())
    await pbx.stands.wait()
    pbx.state = ""
    desk.stream.set_result(True)
    await running
    assert desk.said == ["reach ", "pbx away", "close", "end stream ended"]
