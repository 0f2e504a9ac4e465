"""bridge/net/aritap.py: which requests make a tap, that what was asked for is awaited, and what undoes it."""

import asyncio
import json

import pytest

from bridge.net.aritap import AriTaps
from bridge.wire.arirequest import Request
from bridge.wire.pbxevents import (
    Channel,
    ChannelDestroyed,
    Dial,
    Gone,
    PbxEvent,
    PbxRefused,
    PbxUnreachable,
    StasisStart,
)
from bridge.wire.taporder import TapKind, TapOrder
from tests.orders import order

DATE = "2026-11-22T16:40:49.298+0000"


def channel(id_: str) -> Channel:
    return Channel(id_, f"Snoop/{id_}", "Up", "", "", 0.0, "Stasis", "")


class _Pbx:
    """It does what it is asked, and says so in its events; `fails` are the requests that it does not do."""

    def __init__(self, *, told: bool = True, fails: dict[str, Exception] | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.begun = asyncio.Event()
        self.told = told
        self.fails = fails or {}
        self.taps = AriTaps(self.request, "app", "rtzr-tap", 0.2)
        self.taps.connected()

    async def request(self, request: Request) -> bytes:
        self.asked.append((request.method, request.path))
        self.begun.set()
        if (failure := self.fails.get(request.path)) is not None:
            raise failure
        if self.told:
            asyncio.get_running_loop().call_soon(self.happen, request)
        made = request.query.get("channelId", request.path.rpartition("/")[2])
        answer = {"id": made, "name": "x", "state": "Up", "creationtime": DATE}
        return json.dumps({**answer, "dialplan": {"app_name": "AppDial2"}}).encode()

    def happen(self, request: Request) -> None:
        event: PbxEvent | None = None
        if "/snoop/" in request.path:
            event = StasisStart(0.0, channel(request.path.rpartition("/")[2]))
        elif request.path.endswith("/continue"):
            event = Dial(0.0, channel(request.path.split("/")[1]), channel("9.9"), "")
        elif request.path.startswith("channels/tap.media"):
            event = StasisStart(0.0, channel("tap.media"))
        elif request.path == "channels":
            event = Dial(0.0, None, channel("tap"), "ANSWER")
        if event is not None:
            self.taps.note(event)


async def made(pbx: _Pbx, wanted: TapOrder) -> str:
    sender = await pbx.taps.attach(wanted)
    await pbx.taps.complete(wanted)
    return sender


async def test_a_spy_is_one_request() -> None:
    pbx = _Pbx()
    assert await made(pbx, order("tap")) == "tap"
    assert pbx.asked == [("POST", "channels")]


async def test_a_snoop_dials_us() -> None:
    pbx = _Pbx()
    assert await made(pbx, order("tap", kind=TapKind.SNOOP)) == "9.9"
    assert pbx.asked == [
        ("POST", "channels/1.1/snoop/tap"),
        ("POST", "channels/tap/variable"),
        ("POST", "channels/tap/variable"),
        ("POST", "channels/tap/continue"),
    ]


async def test_external_media_is_put_into_a_bridge_once_it_is_there() -> None:
    pbx = _Pbx()
    wanted = order("tap", kind=TapKind.EXTERNAL)
    assert await made(pbx, wanted) == "tap.media"
    assert pbx.asked[2:] == [
        ("POST", "channels/externalMedia"),
        ("GET", "channels/tap.media"),
        ("POST", "bridges/tap.bridge"),
        ("POST", "bridges/tap.bridge/addChannel"),
    ]
    await pbx.taps.detach(wanted)
    assert pbx.asked[-3:] == [
        ("DELETE", "channels/tap"),
        ("DELETE", "channels/tap.media"),
        ("DELETE", "bridges/tap.bridge"),
    ]


@pytest.mark.parametrize("kind", TapKind)
async def test_what_is_never_seen_is_given_up_in_time(kind: TapKind) -> None:
    async with asyncio.timeout(2):
        with pytest.raises(PbxUnreachable):
            await made(_Pbx(told=False), order("tap", kind=kind))


async def test_a_party_that_is_gone_ends_the_wait() -> None:
    pbx = _Pbx(told=False)
    making = asyncio.create_task(made(pbx, order("tap", kind=TapKind.SNOOP)))
    await pbx.begun.wait()
    pbx.taps.note(ChannelDestroyed(0.0, channel("tap"), 16))
    with pytest.raises(Gone):
        await making


@pytest.mark.parametrize("kind", [TapKind.SNOOP, TapKind.EXTERNAL])
async def test_a_lost_connection_ends_the_wait(kind: TapKind) -> None:
    """What was to be seen is not told again: waiting on would only keep the party unheard."""
    pbx = _Pbx(told=False)
    making = asyncio.create_task(made(pbx, order("tap", kind=kind)))
    await pbx.begun.wait()
    pbx.taps.lost()
    with pytest.raises(PbxUnreachable, match="connection"):
        await making


@pytest.mark.parametrize("kind", [TapKind.SNOOP, TapKind.EXTERNAL])
async def test_nothing_is_asked_for_that_could_not_be_seen(kind: TapKind) -> None:
    pbx = _Pbx()
    pbx.taps.lost()
    with pytest.raises(PbxUnreachable):
        await made(pbx, order("tap", kind=kind))
    assert pbx.asked == []


async def test_a_snoop_that_ends_before_it_is_bridged_is_gone() -> None:
    fails: dict[str, Exception] = {"bridges/tap.bridge/addChannel": PbxRefused("400 Channel not found")}
    with pytest.raises(Gone):
        await made(_Pbx(fails=fails), order("tap", kind=TapKind.EXTERNAL))


async def test_all_is_removed_though_something_cannot_be() -> None:
    wanted = order("tap", kind=TapKind.EXTERNAL)
    pbx = _Pbx(fails={"channels/tap": Gone("channels/tap"), "channels/tap.media": PbxRefused("500")})
    with pytest.raises(PbxRefused):
        await pbx.taps.detach(wanted)
    assert ("DELETE", "bridges/tap.bridge") in pbx.asked
