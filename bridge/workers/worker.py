"""A worker: a process that hears the legs it is given, and ends with the daemon that gave them.

`python -m bridge.workers.worker FD worker=N` is started by `workers`, with one end of a socket pair. It has
ports, gates and RTZR sockets; the PBX, the token, the account's channels and the sinks are the daemon's.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import structlog

from bridge import logs
from bridge.config import Config
from bridge.leg.desk import LocalDesk, LocalDesks
from bridge.leg.inlets import NoInlet
from bridge.load import collect_seldom, watch_load
from bridge.loops import new_loop
from bridge.net.link import Link
from bridge.net.rtzr import Rtzr
from bridge.spool.spool import Spool
from bridge.types import Event, LegId, NewLeg
from bridge.wire import link as wire
from bridge.wire.watched import Note
from bridge.wiring import build_desks, build_rtzr, build_spool, desk_settings, ports_of
from bridge.workers.distant import DistantSpeech, DistantTokens

_log = structlog.get_logger()

_OBSERVED_A_SECOND = 4


class _Staff:
    """What a worker has once it knows the configuration."""

    def __init__(self, number: int, config: Config, link: Link) -> None:
        self._link = link
        self.rtzr: Rtzr = build_rtzr(config, DistantTokens(link))
        self.speech = DistantSpeech(self.rtzr, link)
        self.spool: Spool | None = build_spool(config)
        ports = ports_of(config, number)
        self.desks: LocalDesks = build_desks(
            config, ports, self.speech, self.rtzr, self._publish, self.spool, worker=number, tell=self._tell
        )
        self._observed = 0
        self._legs: dict[LegId, asyncio.Task[None]] = {}

    def _publish(self, event: Event) -> None:
        self._link.tell(wire.Told(event))

    def _tell(self, note: Note) -> None:
        self._link.tell(wire.Noted(note))

    def begin(self, new: NewLeg) -> None:
        """Its task ends with the leg, or with this process."""
        task = asyncio.get_running_loop().create_task(self._run(new.leg, self.desks.place(new)))
        self._legs[new.leg] = task
        task.add_done_callback(lambda _: self._legs.pop(new.leg, None))

    async def _run(self, leg: LegId, desk: LocalDesk) -> None:
        try:
            await desk.run()
        finally:
            self._link.tell(wire.Ended(leg, desk.report))

    def adopt(self, config: Config) -> None:
        self.desks.adopt(desk_settings(config), config.overload.full_at)
        logs.change(config.log.level, config.log.format)

    def stop(self, leg: LegId) -> None:
        if (task := self._legs.get(leg)) is not None:
            task.cancel()

    def observe(self, cpu_s: float, lag_ms: float) -> None:
        """Tell the daemon how this process does."""
        counts = self.desks.counts()
        told = wire.Counts(
            cpu_s,
            lag_ms,
            counts.sessions_open,
            counts.sessions_opened,
            dict(counts.fates),
            dict(counts.audio),
            counts.backlog_ms,
        )
        self._link.tell(told)
        self._observed += 1
        if self._observed % _OBSERVED_A_SECOND == 0:
            self._link.tell(wire.Snapshots(tuple(self.desks.snapshots())))

    async def close(self) -> None:
        """The daemon is gone: so are the calls' events, and nothing is left to be done for them."""
        legs = tuple(self._legs.values())
        for task in legs:
            task.cancel()
        if legs:
            await asyncio.wait(legs)
        await self.desks.inlets.close()
        if self.spool is not None:
            await asyncio.to_thread(self.spool.stop)


class Worker:
    """The process's end of the link: messages in order, each to who it is for."""

    def __init__(self) -> None:
        self._link = Link(self._take, self._answer)
        self._staff: _Staff | None = None

    async def run(self, sock: socket.socket) -> None:
        """Until the daemon lets go of its end, or is gone."""
        await self._link.connect(sock)
        beside = [
            asyncio.create_task(work) for work in (watch_load(self._observe), collect_seldom(self._legs))
        ]
        await self._link.gone()
        for task in beside:
            task.cancel()
        if self._staff is not None:
            await self._staff.close()

    def _legs(self) -> int:
        return 0 if self._staff is None else len(self._staff.desks)

    def _observe(self, cpu_s: float, lag_ms: float) -> None:
        if self._staff is not None:
            self._staff.observe(cpu_s, lag_ms)

    def _take(self, message: Any) -> None:
        if isinstance(message, wire.Hello):
            self._open(message)
        elif self._staff is not None:
            _tell(self._staff, message)

    def _open(self, hello: wire.Hello) -> None:
        config: Config = hello.config
        logs.set_up(config.log.level, config.log.format)
        structlog.contextvars.bind_contextvars(worker=hello.worker)
        self._staff = _Staff(hello.worker, config, self._link)
        if self._staff.spool is not None:
            self._staff.spool.start()

    async def _answer(self, question: Any) -> Any:
        if self._staff is None:
            raise NoInlet("the worker knows no configuration yet")
        match question:
            case wire.Ready():
                return None
            case wire.Weigh(config):
                desk_settings(config)
                return None
            case wire.OpenInlet(leg, transport, key):
                return await _desk(self._staff, leg).open_inlet(transport, key)
            case wire.CloseInlet(leg):
                desk = self._staff.desks.find(leg)
                return None if desk is None else await desk.close_inlet()
            case wire.InletOver(leg):
                return await _desk(self._staff, leg).over()
            case wire.Reach(leg, url):
                return await _desk(self._staff, leg).reach(url)
            case wire.Lock(leg, address, port):
                return await _desk(self._staff, leg).lock(address, port)
            case wire.Dial(session):
                return await self._staff.speech.dial(session)
        raise ValueError(f"no such question: {type(question).__name__}")


def _desk(staff: _Staff, leg: LegId) -> LocalDesk:
    """Raises NoInlet when the leg is over."""
    desk = staff.desks.find(leg)
    if desk is None:
        raise NoInlet("the leg is over")
    return desk


def _tell(staff: _Staff, message: Any) -> None:
    match message:
        case wire.Begin(new):
            staff.begin(new)
        case wire.Stop(leg):
            staff.stop(leg)
        case wire.Mix(host, guest):
            staff.desks.mix(host, guest)
        case wire.Pair(host, guest):
            staff.desks.pair(host, guest)
        case wire.Pause(call, paused):
            staff.desks.pause(call, paused)
        case wire.Evict(session):
            staff.speech.evict(session)
        case wire.Adopt(config):
            staff.adopt(config)
        case _:
            desk = staff.desks.find(message.leg)
            if desk is not None:  # else the leg is over, and this crossed its end
                _tell_desk(desk, message)


def _tell_desk(desk: LocalDesk, message: Any) -> None:
    match message:
        case wire.Prepare():
            desk.prepare()
        case wire.Know(_, party):
            desk.know(party)
        case wire.Answered(_, at_ms):
            desk.answer(at_ms)
        case wire.Flaw(_, reason):
            desk.flaw(reason)
        case wire.End(_, cause):
            desk.end(cause)


def main(arguments: Sequence[str]) -> None:
    """The process. Its number is for who looks at a list of them; signals are the daemon's to act on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(Worker().run(socket.socket(fileno=int(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
