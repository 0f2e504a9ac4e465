"""bridge/workers/workers.py with real processes and no PBX: a leg's life there, and a worker that is lost."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import random
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.config import Config
from bridge.leg.desk import DeskLost
from bridge.quota import Governor
from bridge.types import Event, LegId, NewLeg, Party, Role, Token, Transport
from bridge.wire.quota import QuotaSettings
from bridge.wire.rendezvous import choose
from bridge.workers import workers
from bridge.workers.workers import DistantDesk, Workers
from tests.net.handshake import welcome
from tests.net.tcp import server


class _Tokens:
    async def get(self, refused: Token | None = None) -> Token:
        return Token("token", time.time() + 3600)


class _NoSpeech:
    async def open(self, codec: object, options: object = None) -> Any:
        raise AssertionError("the daemon was not to dial")


@asynccontextmanager
async def running(
    number: int, settings: QuotaSettings | None = None, rtzr: int = 9
) -> AsyncIterator[tuple[Workers, list[Event]]]:
    """`rtzr`: the port of what is there instead."""
    told: list[Event] = []
    clock = asyncio.get_running_loop().time
    governor = Governor(_NoSpeech(), settings or QuotaSettings(), clock=clock, random01=random)
    stream_url = f"ws://127.0.0.1:{rtzr}/v1/transcribe:streaming"
    config = Config.model_validate(
        {"workers": number, "gate": {"mode": "immediate"}, "rtzr": {"stream_url": stream_url}}
    )
    async with Workers(config, number, _Tokens(), governor, told.append) as started:
        yield started, told


def new_leg(call: str = "call") -> NewLeg:
    return NewLeg(LegId(call, "1"), Party(Role.CALLER), asyncio.get_running_loop().time())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(25):
        while not holds():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.02)


def children(of: str = "bridge.workers.worker") -> list[int]:
    """The worker processes; `of`: what is to stand in their command line."""
    pids = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended, as an earlier test's may do just now
            pids += [int(one) for one in (thread / "children").read_text().split()]
    return [pid for pid in pids if of.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def begun(all_workers: Workers, call: str = "call") -> tuple[DistantDesk, int]:
    """A desk and its port."""
    desk = await all_workers.begin(new_leg(call))
    return desk, (await desk.open_inlet(Transport.RTP)).port


@pytest.mark.timeout(30)
async def test_a_leg_lives_and_ends_in_its_worker() -> None:
    async with running(1) as (all_workers, told):
        desk, port = await begun(all_workers)
        assert port > 0
        await desk.lock("127.0.0.1", 40_000)
        desk.end("hung up")
        await desk.run()
        assert [event.type for event in told] == ["rtzr.leg.started", "rtzr.leg.ended"]
    assert children() == []


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_is_dead_or_frozen_is_put_back_and_its_desks_are_lost(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(workers, "_SILENT_S", 1.5)
    async with running(1) as (all_workers, _):
        desk, _port = await begun(all_workers)
        await until(lambda: all_workers.absent == "")
        (pid,) = children()
        with capture_logs() as logs:
            os.kill(pid, number)
            with pytest.raises(DeskLost):
                await desk.run()
            with pytest.raises(DeskLost):
                await desk.open_inlet(Transport.RTP)
            again, port = await begun(all_workers)
        assert (desk.report.reasons, port > 0) == (["worker lost"], True)
        assert children() != [pid]
        assert "worker lost; starting another" in [line["event"] for line in logs]
        again.end("hung up")
        await again.run()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_while_a_worker_is_not_there_the_daemon_is_told_so(number: int) -> None:
    async with running(2) as (both, _):
        await until(lambda: both.absent == "")
        os.kill(next(pid for pid in children("worker=1")), number)
        await until(lambda: both.absent == "not there: worker 1")
        await until(lambda: both.absent == "")


@pytest.mark.timeout(30)
async def test_the_other_workers_desks_go_on() -> None:
    async with running(2) as (all_workers, _):
        desks = {call: await begun(all_workers, call) for call in map(str, range(8))}
        places = {call: choose(call, ["worker 0", "worker 1"]) for call in desks}
        assert set(places.values()) == {"worker 0", "worker 1"}
        (victim,) = children("worker=0")
        os.kill(victim, signal.SIGKILL)
        for call, (desk, _port) in desks.items():
            if places[call] == "worker 0":
                with pytest.raises(DeskLost):
                    await desk.run()
            else:
                desk.end("hung up")
                await desk.run()
                assert desk.report.reasons == []


@pytest.mark.timeout(30)
async def test_a_channel_that_a_dead_worker_was_dialling_is_free_again() -> None:
    dialled: asyncio.Queue[int] = asyncio.Queue()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.put_nowait(1)
        await reader.read()

    async with server(mute) as port, running(1, QuotaSettings(max_sessions=1), port) as (all_workers, _):
        for _attempt in range(3):
            desk, _port = await begun(all_workers)
            desk.answer(0.0)
            await dialled.get()
            (pid,) = children()
            assert all_workers.governor.counters.held + all_workers.governor.counters.dialling == 1
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(DeskLost):
                await desk.run()
        counters = all_workers.governor.counters
        assert (counters.held, counters.dialling, counters.waiting) == (0, 0, 0)


@pytest.mark.timeout(30)
async def test_a_worker_that_dies_while_it_is_asked_loses_the_desk_and_nothing_waits() -> None:
    async with running(1) as (all_workers, _):
        for _attempt in range(3):
            desk = await all_workers.begin(new_leg())
            while not (pids := children()):  # noqa: ASYNC110 - a process that is so new bears no name yet
                await asyncio.sleep(0.001)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)  # or it might answer before it dies
            asking = asyncio.create_task(desk.open_inlet(Transport.RTP))
            await asyncio.sleep(0)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(DeskLost):
                await asking
            with pytest.raises(DeskLost):
                await desk.run()


@pytest.mark.parametrize("turns", range(1, 4))
async def test_an_end_while_a_worker_is_only_being_started_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    pair = socket.socketpair()
    monkeypatch.setattr("bridge.workers.workers.socket.socketpair", lambda: pair)

    async def started() -> None:
        async with running(1):
            raise AssertionError("it was to end before")

    starting = asyncio.create_task(started())
    for _ in range(1 + turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    await asyncio.sleep(0)  # a transport closes in the next turn
    assert [one.fileno() for one in pair] == [-1, -1]


@pytest.mark.timeout(30)
async def test_a_frozen_workers_channel_is_not_free_before_it_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_SILENT_S", 1.5)
    dialled: asyncio.Queue[int] = asyncio.Queue()

    async def welcoming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer)
        dialled.put_nowait(1)
        await reader.read()

    async with server(welcoming) as port, running(1, QuotaSettings(max_sessions=1), port) as (all_workers, _):
        desk, _port = await begun(all_workers)
        desk.prepare()
        await dialled.get()
        governor = all_workers.governor
        while governor.counters.held == 0:  # noqa: ASYNC110 - told to the daemon, not to us
            await asyncio.sleep(0.001)
        await until(lambda: all_workers.absent == "")
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)
        while governor.counters.held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        assert pid not in children()
        with pytest.raises(DeskLost):
            await desk.run()


@pytest.mark.timeout(30)
async def test_when_it_is_entered_every_worker_hears() -> None:
    async with running(2) as (all_workers, _):
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(begun(all_workers, call) for call in ("a", "b", "c")))
        assert asyncio.get_running_loop().time() - began_s < 0.25


@pytest.mark.timeout(30)
async def test_workers_that_do_not_come_are_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_START_S", 0.2)
    monkeypatch.setattr("bridge.workers.workers.sys.executable", "/nowhere/python")
    with capture_logs() as logs:
        async with running(1):
            pass
    assert "not all workers are there" in [log["event"] for log in logs]
