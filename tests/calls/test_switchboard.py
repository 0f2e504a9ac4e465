"""bridge/calls/switchboard.py without a PBX: what it decides when desks are lost, too few, or shared."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import uuid4

import pytest

from bridge.calls import comeback, tap
from bridge.calls.census import MARK
from bridge.calls.switchboard import Switchboard
from bridge.calls.switchsettings import SwitchboardSettings
from bridge.calls.tap import TapSettings
from bridge.calls.ways import WaySettings
from bridge.leg.desk import Counts, DeskLost
from bridge.leg.inlets import Place
from bridge.net.ari import Ari
from bridge.types import CallId, Codec, Event, LegId, NewLeg, Party, Transport
from bridge.wire import pbxevents as wire
from bridge.wire.door import Door, Refusal
from bridge.wire.ledger import LegReport
from bridge.wire.pbxevents import Connected, PbxUnreachable
from bridge.wire.rules import CallRule
from bridge.wire.taporder import TapKind, TapOrder


class _Pbx:
    """What it says is put in by hand; it has the channels it is given, and no tap of it sends."""

    def __init__(self) -> None:
        self.answers = True
        self.says: asyncio.Queue[Any] = asyncio.Queue()
        self.live: tuple[wire.Channel, ...] = ()
        self.attached: list[str] = []
        self.meetings: tuple[wire.Bridge, ...] = ()
        self.done: list[tuple[str, str]] = []
        self.set: dict[tuple[str, str], str] = {}
        """Variables, by channel and name."""

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self.says.get()

    async def channels(self) -> tuple[wire.Channel, ...]:
        return self.live

    async def variable(self, channel: str, name: str) -> str | None:
        if not self.answers:
            raise PbxUnreachable("ReadTimeout")
        said = {
            MARK: f"{channel}/{channel}",
            "UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1",
            "UNICASTRTP_LOCAL_PORT": "9",
        }
        return said.get(name, self.set.get((channel, name)))

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        if not self.answers:
            raise PbxUnreachable("ReadTimeout")
        self.set[channel, name] = value

    async def attach(self, order: TapOrder) -> str:
        self.attached.append(order.id)
        return order.media_id

    async def complete(self, order: TapOrder) -> None: ...

    async def detach(self, order: TapOrder) -> None:
        if not self.answers:
            raise PbxUnreachable("ReadError")

    async def bridges(self) -> tuple[wire.Bridge, ...]:
        return self.meetings

    async def destroy_bridge(self, bridge: str) -> None:
        self.done.append(("destroy", bridge))

    async def give_back(self, channel: str) -> None:
        self.done.append(("give back", channel))

    def slow(self) -> float:
        return 0.0

    async def hangup(self, channel: str) -> None:
        self.done.append(("hang up", channel))


class _Desk:
    def __init__(self, new: NewLeg) -> None:
        self.new = new
        self.report = LegReport()
        self.said: list[str] = []
        self.keys: list[str] = []
        self._over = asyncio.Event()
        self._lost = False
        self.drains = False
        """Whether it has yet to be told what it heard."""

    async def run(self) -> None:
        await self._over.wait()
        if self._lost:
            raise DeskLost

    def lose(self) -> None:
        self._lost = True
        self._over.set()

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        self.keys.append(key)
        return Place(4000)

    async def lock(self, address: str, port: int) -> None: ...

    async def reach(self, url: str) -> None: ...

    async def over(self) -> bool:
        never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        return await never

    async def close_inlet(self) -> None: ...

    def flaw(self, reason: str) -> None: ...

    def prepare(self) -> None:
        self.said.append("prepare")

    def know(self, party: Party) -> None: ...

    def answer(self, at_ms: float) -> None:
        self.said.append("answer")

    def end(self, cause: str) -> None:
        if not self.drains:
            self._over.set()


@dataclass
class _Desks:
    """Where legs sit; all that were ever begun stay in `begun`."""

    door: Door = field(default_factory=Door)
    begun: dict[str, _Desk] = field(default_factory=dict)
    mixed: list[tuple[str, str, list[str]]] = field(default_factory=list)
    paired: list[tuple[str, str]] = field(default_factory=list)
    paused: list[tuple[str, bool]] = field(default_factory=list)

    async def begin(self, new: NewLeg) -> _Desk:
        await asyncio.sleep(0)
        desk = self.begun[new.leg.channel] = _Desk(new)
        self.door.promises.take(new.leg.call)
        return desk

    def pair(self, host: LegId, guest: LegId) -> None:
        self.paired.append((host.channel, guest.channel))

    def mix(self, host: LegId, guest: LegId) -> None:
        """With what the guest was told by then."""
        self.mixed.append((host.channel, guest.channel, list(self.begun[guest.channel].said)))

    def admit(self, call: CallId, legs: int) -> Refusal | None:
        return self.door.admit(call, len(self.begun), legs, asyncio.get_running_loop().time())

    def pause(self, call: CallId, paused: bool) -> None:
        self.paused.append((call, paused))

    def over(self, call: CallId) -> None:
        self.door.promises.drop(call)

    def counts(self) -> Counts:
        return Counts()


@dataclass
class _Board:
    pbx: _Pbx
    desks: _Desks
    board: Switchboard
    told: list[Event]

    async def announce(self, name: str, *, up: bool = True) -> None:
        self.pbx.says.put_nowait(
            wire.ChannelUserevent(time.time(), channel(name, up=up), "RTZR", {"Call": f"{name}/{name}"})
        )
        await turns()

    async def dial(self, caller: str, peer: str, *, up: bool = True) -> None:
        self.pbx.says.put_nowait(wire.Dial(time.time(), channel(caller), channel(peer, up=up), "ANSWER"))
        await turns()

    async def send(self, name: str) -> None:
        """The dialplan sends it to us, to stay."""
        self.pbx.says.put_nowait(wire.StasisStart(time.time(), channel(name)))
        await turns()

    async def lose(self, *names: str) -> None:
        lost = {name: self.desks.begun[name] for name in names}
        for desk in lost.values():
            desk.lose()
        await until(lambda: all(self.desks.begun[name] is not desk for name, desk in lost.items()))
        await turns()


def channel(name: str, *, up: bool = True) -> wire.Channel:
    return wire.Channel(name, f"PJSIP/{name}", "Up" if up else "Ring", "1", "", time.time(), "Dial", "")


async def turns(number: int = 30) -> None:
    """Let everything settle that waits for nothing outside."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is awaited tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_last_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is on its way that would have to be awaited."""
    monkeypatch.setattr(tap, "_LAST_PACKETS_S", 0.0)


@asynccontextmanager
async def running(
    door: Door | None = None,
    max_legs: int = 0,
    *,
    mix: bool = False,
    rules: tuple[CallRule, ...] = (),
    kind: TapKind = TapKind.CHANSPY,
    **more: Any,
) -> AsyncIterator[_Board]:
    pbx, desks = _Pbx(), _Desks(door or Door())
    told: list[Event] = []
    taps = TapSettings("app", "rtzr-tap", "127.0.0.1")
    ways = WaySettings(kind, None, Codec.ULAW, wideband=True)
    settings = SwitchboardSettings(
        taps,
        ways,
        "RTZR",
        early_media=False,
        preopen=False,
        max_legs=max_legs,
        rules=rules,
        reap_s=0.01,
        **more,
    )
    board = Switchboard(
        cast("Ari", pbx),  # as much of one as is asked
        desks,
        settings,
        told.append,
        (lambda streams: streams > 1) if mix else None,
    )
    task = asyncio.create_task(board.run())
    try:
        yield _Board(pbx, desks, board, told)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_burst_is_let_in_only_as_far_as_there_is_room() -> None:
    async with running(max_legs=10) as one:
        for number in range(30):
            one.pbx.says.put_nowait(
                wire.ChannelUserevent(time.time(), channel(f"L{number}", up=False), "RTZR",
                                      {"Call": f"L{number}/L{number}"})
            )  # fmt: skip
        await turns(100)
        for number in range(30):
            await one.dial(f"L{number}", f"M{number}", up=False)
        assert one.board.legs == 10
        assert one.board.refused == {"max_legs": 25}


async def test_live_calls_without_room_at_a_connect_are_taken_up_when_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comeback, "_AGAIN_S", 0.1)
    async with running(Door(full_at=0.1)) as one:
        one.pbx.live = tuple(channel(f"{number}.0") for number in range(200))
        one.pbx.says.put_nowait(Connected(wire.PbxInfo("entity", "22", 1.0)))
        await until(lambda: one.board.legs + sum(one.board.refused.values()) == 200)
        first = one.board.legs
        assert 0 < first < 100
        one.desks.door.full_at = 2.0
        await until(lambda: one.board.legs == 200)
        refused = [event for event in one.told if event.type == "rtzr.call.refused"]
        assert len(refused) == 200 - first, "each is told once"


async def test_legs_that_were_mixed_are_mixed_again_at_their_next_desks() -> None:
    async with running(mix=True) as one:
        await one.announce("G")
        await one.dial("G", "H")
        assert one.desks.mixed == [("G", "H", [])], "the guest had not been told of its answer yet"
        one.desks.mixed.clear()
        await one.lose("G", "H")
        assert [(host, guest) for host, guest, _ in one.desks.mixed] in ([("G", "H")], [("H", "G")])
        assert [desk.said for desk in one.desks.begun.values()] == [["answer"], ["answer"]]


async def test_a_lost_worker_is_one_more_flaw_and_not_the_only_one() -> None:
    async with running() as one:
        one.pbx.live = (channel("J"),)
        one.pbx.says.put_nowait(Connected(wire.PbxInfo("entity", "22", 1.0)))
        await turns()
        await one.lose("J")
        await one.lose("J")
        assert one.desks.begun["J"].new.flaws == ("joined late", "worker lost", "worker lost")


async def test_a_chosen_call_is_heard_though_the_pbx_does_not_say_its_linkedid() -> None:
    async with running(rules=(CallRule("all"),)) as one:
        one.pbx.answers = False
        one.pbx.says.put_nowait(wire.ChannelCreated(time.time(), channel("A", up=False)))
        await until(lambda: "A" in one.desks.begun)
        assert one.desks.begun["A"].new.leg == LegId("A", "A")
        assert one.desks.begun["A"].new.rule == "all"
        (started,) = [event for event in one.told if event.type == "rtzr.call.started"]
        assert started.data["rule"] == "all"


async def test_nobody_of_a_call_that_a_rule_forbids_is_heard() -> None:
    async with running(rules=(CallRule("none", tap=False),)) as one:
        one.pbx.says.put_nowait(wire.ChannelCreated(time.time(), channel("A", up=False)))
        await one.announce("A")
        await one.dial("A", "B")
        assert (one.desks.begun, one.told) == ({}, [])


async def test_a_tap_that_could_not_be_removed_is_a_stray_though_its_leg_is_not_over() -> None:
    """The line was cut at the hang-up, and RTZR has the leg's last words yet."""
    async with running() as one:
        await one.announce("J")
        one.desks.begun["J"].drains = True
        one.pbx.answers = False
        one.pbx.says.put_nowait(wire.ChannelDestroyed(time.time(), channel("J"), 16))
        await turns()
        one.pbx.answers = True
        one.pbx.live = (channel(one.pbx.attached[0]),)
        one.pbx.says.put_nowait(Connected(wire.PbxInfo("entity", "22", 1.0)))
        await turns()
        assert one.board.legs == 1
        assert one.pbx.done == [("hang up", tap) for tap in one.pbx.attached]
        one.desks.begun["J"].lose()
        await until(lambda: not one.board.legs)


# Taps that do not clean up by themselves.


async def test_strays_that_appear_meanwhile_are_removed_and_what_is_in_use_is_not() -> None:
    async with running(kind=TapKind.EXTERNAL) as one:
        await one.announce("A")
        await until(lambda: bool(one.board._taps() - {""}))
        (tap,) = one.board._taps()
        ours, theirs = tuple(_external(tap)), tuple(_external("app.tap.stray"))
        one.pbx.live = (channel("A"), *ours, *theirs)
        one.pbx.meetings = tuple(
            wire.Bridge(f"{name}.bridge", frozenset({name})) for name in (tap, "app.tap.stray", "other.tap.x")
        )
        removed = {
            ("hang up", "app.tap.stray"),
            ("hang up", "app.tap.stray.media"),
            ("destroy", "app.tap.stray.bridge"),
        }
        await until(lambda: removed <= set(one.pbx.done))
        assert set(one.pbx.done) == removed
        assert one.board.legs == 1


def _external(tap: str) -> list[wire.Channel]:
    return [channel(tap), channel(f"{tap}.media")]


async def test_taps_that_clean_up_by_themselves_are_not_looked_after() -> None:
    async with running() as one:
        one.pbx.live = (channel("app.tap.stray"),)
        await asyncio.sleep(0.05)
        assert one.pbx.done == []


# Calls that are sent to us, to stay.


async def test_a_call_without_room_goes_on_whether_it_was_announced_before_it_came_or_not() -> None:
    async with running(max_legs=2) as one:
        await one.announce("A")
        await one.announce("B")
        await one.send("A")
        await one.send("B")
        await one.send("C")
        assert one.pbx.done == [("give back", "B"), ("give back", "C")]
        assert list(one.desks.begun) == ["A"]


async def test_a_call_whose_leg_is_over_goes_on() -> None:
    async with running() as one:
        await one.send("A")
        one.desks.begun["A"].end("failed")
        await until(lambda: not one.board.legs)
        await turns()
        assert one.pbx.done == [("give back", "A")]


async def test_one_that_hung_up_is_not_given_back() -> None:
    async with running() as one:
        await one.send("A")
        one.pbx.says.put_nowait(wire.StasisEnd(time.time(), channel("A")))
        one.pbx.says.put_nowait(wire.ChannelDestroyed(time.time(), channel("A"), 16))
        await until(lambda: not one.board.legs)
        assert one.pbx.done == []


async def test_half_of_a_local_channel_that_cannot_be_asked_goes_on() -> None:
    async with running() as one:
        one.pbx.answers = False
        half = replace(channel("L;2"), name="Local/1@stay-1;2")
        one.pbx.says.put_nowait(wire.StasisStart(time.time(), half))
        await until(lambda: bool(one.pbx.done))
        assert one.pbx.done == [("give back", "L;2")]


async def test_in_a_drain_calls_go_on_and_in_the_end_those_that_nobody_told_of() -> None:
    async with running() as one:
        await one.send("A")
        draining = asyncio.create_task(one.board.drain(0.05))
        await turns()
        await one.send("B")
        assert one.pbx.done == [("give back", "B")]
        await draining
        await turns()
        assert one.pbx.done == [("give back", "B"), ("give back", "A")]
        waits = replace(channel("C"), application="Stasis", application_data="app,1")
        one.pbx.live = (waits, replace(waits, id="app.tap.1"), channel("D"))
        await one.board.leave()
        assert one.pbx.done[2:] == [("give back", "C")]


# Calls whose audio the dialplan sends.


async def test_a_visit_is_a_leg_unless_there_is_no_room_or_a_rule_forbids_it() -> None:
    async with running(max_legs=2) as one:
        await turns()
        key = uuid4()
        assert one.board.tapped("A") is None
        assert one.board.host(channel("A"), "A", key)
        await turns()
        assert one.board.tapped("A") is False
        assert (one.desks.begun["A"].new.codec, one.desks.begun["A"].keys) == (Codec.SLIN, [str(key)])
        assert not one.board.host(channel("B"), "B", uuid4())
        await one.announce("C")
    async with running(rules=(CallRule("none", tap=False),)) as other:
        await turns()
        assert not other.board.host(channel("A"), "A", uuid4())
        assert other.told == []


async def test_a_call_that_is_tapped_is_known_to_be() -> None:
    async with running() as one:
        await one.announce("A")
        await turns()
        assert one.board.tapped("A") is True


async def test_age_of_a_call_that_was_there_before_us_is_right_though_the_pbxs_clock_is_not() -> None:
    async with running() as one:
        theirs = time.time() + 300
        one.pbx.live = (replace(channel("A"), created=theirs - 10),)
        one.pbx.says.put_nowait(Connected(wire.PbxInfo("22", "pbx", 1.0, clock=float(int(theirs)))))
        await until(lambda: bool(one.told))
        assert one.told[0].type == "rtzr.call.started"
        assert abs(one.told[0].data["at_ms"] - 10_000) < 1500
