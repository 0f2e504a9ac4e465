"""bridge/calls/visit.py: whose call an AudioSocket is, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from bridge.calls import visit
from bridge.calls.visit import Visit, receive
from bridge.leg.desk import Desk, DeskLost
from bridge.leg.inlets import NoInlet, Place
from bridge.types import CallId, Transport
from bridge.wire.pbxevents import Channel
from tests.fakepbx import FakePbx, as_pbx
from tests.wire.channels import channel


class _Lobby:
    def __init__(self) -> None:
        self.knocks = asyncio.Queue[UUID](8)
        self.refused: list[UUID] = []
        self.held: list[UUID] = []
        self.told = asyncio.Event()

    def knock(self, key: UUID) -> None:
        self.knocks.put_nowait(key)

    def refuse(self, key: UUID) -> None:
        self.refused.append(key)
        self.told.set()

    def hold(self, key: UUID) -> None:
        self.held.append(key)
        self.told.set()


class _Host:
    def __init__(self, lobby: _Lobby) -> None:
        self.legs: dict[str, list[bool | None]] = {}
        """Whether a tap hears the channel, each time that it is asked."""
        self.full = False
        self.hosted: list[tuple[str, CallId, UUID]] = []
        self._lobby = lobby

    def tapped(self, channel: str) -> bool | None:
        answers = self.legs.get(channel)
        return answers.pop(0) if answers else None

    def host(self, channel: Channel, linkedid: CallId, key: UUID) -> bool:
        if not self.full:
            self.hosted.append((channel.id, linkedid, key))
            self._lobby.told.set()
        return not self.full


class _Scene:
    def __init__(self, *live: Channel) -> None:
        self.pbx = FakePbx(*live)
        self.lobby = _Lobby()
        self.host = _Host(self.lobby)

    async def knock(self, key: UUID) -> None:
        """Until something has become of it."""
        self.lobby.told.clear()
        self.lobby.knock(key)
        async with asyncio.timeout(5):
            await self.lobby.told.wait()


@asynccontextmanager
async def scene(*live: Channel) -> AsyncIterator[_Scene]:
    one = _Scene(*live)
    task = asyncio.create_task(receive(as_pbx(one.pbx), one.lobby, one.host))
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait({task})


def runs(name: str, key: UUID, application: str = "AudioSocket") -> Channel:
    return replace(channel(name), application=application, application_data=f"{key},127.0.0.1:9092")


async def test_the_channel_that_runs_the_application_with_this_uuid_is_hosted() -> None:
    key = uuid4()
    async with scene(runs("A", uuid4()), runs("B", key), runs("C", key, "Echo")) as one:
        one.pbx.variables = {("B", "CHANNEL(linkedid)"): "1.0"}
        await one.knock(key)
        assert one.host.hosted == [("B", "1.0", key)]
        assert one.lobby.refused == []


async def test_a_uuid_of_nobody_or_of_several_is_refused_and_told() -> None:
    key = uuid4()
    odd = replace(channel("C"), application="AudioSocket", application_data="no uuid")
    async with scene(runs("A", key), runs("B", key), odd) as one:
        with capture_logs() as logs:
            await one.knock(key)
            await one.knock(nobody := uuid4())
        assert one.lobby.refused == [key, nobody]
        assert "several channels" in logs[0]["reason"]
        assert logs[1]["reason"] == "no channel has it"
        assert str(key) not in str(logs)


async def test_a_call_that_is_not_to_be_heard_is_refused() -> None:
    key = uuid4()
    async with scene(runs("A", key)) as one:
        one.host.full = True
        await one.knock(key)
        assert (one.lobby.refused, one.host.hosted) == ([key], [])


async def test_a_call_that_is_tapped_is_held() -> None:
    key = uuid4()
    async with scene(runs("A", key)) as one:
        one.host.legs = {"A": [True]}
        with capture_logs() as logs:
            await one.knock(key)
        assert (one.lobby.held, one.lobby.refused, one.host.hosted) == ([key], [], [])
        assert logs[0]["log_level"] == "warning"


async def test_a_call_that_comes_again_waits_until_its_last_visit_is_worked_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visit, "_AGAIN_S", 0.01)
    key = uuid4()
    async with scene(runs("A", key)) as one:
        one.host.legs = {"A": [False, False]}
        await one.knock(key)
        assert one.host.hosted == [("A", "A", key)]


async def test_a_pbx_that_does_not_answer_costs_that_call_alone() -> None:
    key = uuid4()
    async with scene(runs("A", key)) as one:
        one.pbx.absent = {"channels"}
        with capture_logs():
            one.lobby.knock(uuid4())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert one.lobby.knocks.empty()
        one.pbx.absent = set()
        await one.knock(key)
        assert one.host.hosted == [("A", "A", key)]


class _Desk:
    def __init__(self, error: Exception | None = None) -> None:
        self.said: list[str] = []
        self._error = error

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        self.said.append(f"open {transport} {key}")
        if self._error is not None:
            raise self._error
        return Place(9092, key)

    async def close_inlet(self) -> None:
        self.said.append("close")

    def flaw(self, reason: str) -> None:
        self.said.append(f"flaw {reason}")

    def end(self, cause: str) -> None:
        self.said.append(f"end {cause}")


def _as_desk(desk: _Desk) -> Desk:
    return cast("Desk", desk)  # the rest of it is not asked


async def test_a_visit_reads_what_has_come_before_it_ends() -> None:
    desk = _Desk()
    one = Visit("key", _as_desk(desk))
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    one.hang_up("cause 16")
    await running
    assert desk.said == ["open audiosocket key", "close", "end cause 16"]


@pytest.mark.parametrize(("error", "flaws"), [(NoInlet("taken"), ["flaw not tapped"]), (DeskLost(), [])])
async def test_a_visit_without_a_place_ends_and_says_what_is_missing(
    error: Exception, flaws: list[str]
) -> None:
    desk = _Desk(error)
    with capture_logs():
        await Visit("key", _as_desk(desk)).run()
    assert desk.said == ["open audiosocket key", *flaws, "close", "end unknown"]
