"""The daemon's workers: a process a core, each with a share of the calls and of the ports.

It starts them, puts a lost one back, and is their desks, their token and their place in the queue for RTZR's
channels. Which legs there are is the switchboard's decision; what a leg does, its worker's.
"""

import asyncio
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from random import random
from types import TracebackType
from typing import Any, Self

import structlog

from bridge import metrics
from bridge.config import Config, Secrets
from bridge.leg.call import LegReport
from bridge.leg.desk import Counts, DeskLost
from bridge.leg.inlets import Place
from bridge.net.link import Link, LinkLost
from bridge.net.rtzr import TokenSource
from bridge.quota import Governor
from bridge.types import CallId, Event, LegId, NewLeg, Party, Transport
from bridge.wire import link as wire
from bridge.wire.backoff import full_jitter
from bridge.wire.door import Door, Refusal
from bridge.wire.rendezvous import choose
from bridge.wire.watched import LegSnapshot, Tell, unheard
from bridge.workers.held import HeldChannels
from bridge.workers.workercounts import WorkerCounts, total

_log = structlog.get_logger()

_QUIET_S = 2.0
_SILENT_S, _UNBORN_S = 10.0, 60.0
"""A worker that says nothing for so long hears nothing either: it is put back. Its first may take more."""
_LAST_WORDS_S = 2.0
"""How long a leg that is to end at once has for its last events."""
_PATIENCE_S = 1.0
"""A worker whose link is gone ends by itself: what it had has gone elsewhere already."""
_START_S = 10.0
"""How long the first calls may have to wait for workers that do not come."""
_ANSWER_S = 5.0
"""How long a worker has to say what it thinks of another configuration."""
_SETTLED_S = 10.0
_AGAIN_S = (0.1, 10.0)
"""Base and cap of the pause before a worker that did not live long is put back."""


class DistantDesk:
    """A desk in a worker."""

    def __init__(self, leg: LegId, link: Link) -> None:
        self._leg = leg
        self._link = link
        self._over = asyncio.Event()
        self._lost = False
        self.report = LegReport()

    async def run(self) -> None:
        """Until the worker says that the leg is over."""
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._link.tell(wire.Stop(self._leg))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._over.wait()
            raise
        if self._lost:
            raise DeskLost

    def ended(self, report: LegReport) -> None:
        self.report = report
        self._over.set()

    def lost(self) -> None:
        self.report.because("worker lost")
        self._lost = True
        self._over.set()

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        place: Place = await self._ask(wire.OpenInlet(self._leg, transport, key))
        return place

    async def lock(self, address: str, port: int) -> None:
        await self._ask(wire.Lock(self._leg, address, port))

    async def reach(self, url: str) -> None:
        await self._ask(wire.Reach(self._leg, url))

    async def over(self) -> bool:
        in_order: bool = await self._ask(wire.InletOver(self._leg))
        return in_order

    async def _ask(self, question: Any) -> Any:
        try:
            return await self._link.ask(question)
        except LinkLost:
            raise DeskLost from None

    async def close_inlet(self) -> None:
        with suppress(DeskLost):
            await self._ask(wire.CloseInlet(self._leg))

    def prepare(self) -> None:
        self._link.tell(wire.Prepare(self._leg))

    def know(self, party: Party) -> None:
        self._link.tell(wire.Know(self._leg, party))

    def answer(self, at_ms: float) -> None:
        self._link.tell(wire.Answered(self._leg, at_ms))

    def flaw(self, reason: str) -> None:
        self._link.tell(wire.Flaw(self._leg, reason))

    def end(self, cause: str) -> None:
        self._link.tell(wire.End(self._leg, cause))


class _Worker:
    """One of them, through all its lives."""

    def __init__(self, number: int, workers: "Workers") -> None:
        self.number = number
        self._workers = workers
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._desks: dict[LegId, DistantDesk] = {}
        self._channels: HeldChannels
        """This life's."""
        self.door = Door(workers.config.overload.full_at)
        self._heard_s, self._spoke = 0.0, False
        self.counts = WorkerCounts(number)
        self._snapshots: tuple[LegSnapshot, ...] = ()

    async def run(self) -> None:
        """Start it, and start it again, until cancelled."""
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                code = await self._live()
                metrics.WORKERS_LOST.inc()
                _log.error("worker lost; starting another", worker=self.number, code=code)
            except OSError as error:
                _log.error("worker not started", worker=self.number, reason=str(error))
            attempt = 0 if loop.time() - began_s > _SETTLED_S else attempt + 1
            base_s, cap_s = _AGAIN_S
            if attempt > 1:
                await asyncio.sleep(full_jitter(attempt, base_s, cap_s, random()))  # noqa: S311

    async def _live(self) -> int:
        """One life; the exit code."""
        ours, theirs = socket.socketpair()
        link = self._link = Link(self._take, self._answer)
        self._channels = HeldChannels(self._workers.governor, link)
        try:
            with theirs:
                await link.connect(ours)
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "bridge.workers.worker", str(theirs.fileno()),
                    f"worker={self.number}", stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                )  # fmt: skip
            return await self._live_with(process, link)
        finally:
            link.close()

    async def _live_with(self, process: Process, link: Link) -> int:
        link.tell(wire.Hello(self.number, self._workers.config))
        self.counts.began(process.pid)
        self._heard_s, self._spoke = asyncio.get_running_loop().time(), False
        self._up.set()
        patience_s = _PATIENCE_S
        try:
            if not await self._until_gone(link):
                patience_s = 0.0
        finally:
            self._lose(link)
            try:
                code = await _end(process, patience_s)
            finally:
                self._channels.leave_all()  # only now: until its end its sessions are open
        return code

    async def _until_gone(self, link: Link) -> bool:
        """Until it has let go of its link; False when it is silent instead."""
        loop = asyncio.get_running_loop()
        while (silent_s := loop.time() - self._heard_s) < (_SILENT_S if self._spoke else _UNBORN_S):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await link.lost.wait()
                return True
        _log.error("worker does not answer; given up", worker=self.number, silent_s=round(silent_s))
        return False

    def _lose(self, link: Link) -> None:
        """Everything that was in its hands is to be begun anew."""
        self._up.clear()
        link.close()
        self.door.forget()
        self.counts.lost()
        self._snapshots = ()
        desks, self._desks = self._desks, {}
        for desk in desks.values():
            desk.lost()

    # Down.

    async def ready(self) -> None:
        """Until it hears, or is lost."""
        await self._up.wait()
        with suppress(LinkLost):
            await self._living().ask(wire.Ready())

    async def begin(self, new: NewLeg) -> DistantDesk:
        await self._up.wait()
        desk = self._desks[new.leg] = DistantDesk(new.leg, self._living())
        self.door.promises.take(new.leg.call)
        self._living().tell(wire.Begin(new))
        return desk

    def tell(self, message: Any) -> None:
        if self._up.is_set():
            self._living().tell(message)

    def admit(self, call: CallId, legs: int) -> Refusal | None:
        return self.door.admit(call, len(self._desks), legs, asyncio.get_running_loop().time())

    async def weigh(self, config: Config) -> None:
        """Whether it could take this configuration; one that is not there is given it at its start."""
        with suppress(LinkLost):
            if self._up.is_set():
                await self._living().ask(wire.Weigh(config))

    def adopt(self, config: Config) -> None:
        self.door.full_at = config.overload.full_at
        if self._up.is_set():
            self._living().tell(wire.Adopt(config))

    def _living(self) -> Link:
        if self._link is None:
            raise LinkLost
        return self._link

    @property
    def absent(self) -> bool:
        """It is being started, or has said nothing for longer than a busy one does."""
        return not self._spoke or asyncio.get_running_loop().time() - self._heard_s > _QUIET_S

    def snapshots(self) -> list[LegSnapshot]:
        """How its legs stand, as it told last."""
        return [one for one in self._snapshots if one.leg in self._desks]

    # Up.

    def _take(self, message: Any) -> None:
        match message:
            case wire.Told(event):
                self._workers.publish(event)
            case wire.Noted(note):
                self._workers.tell(note)
            case wire.Snapshots(legs):
                self._snapshots = legs
            case wire.Ended(leg, report):
                if (desk := self._desks.pop(leg, None)) is not None:
                    desk.ended(report)
            case wire.Leave(session, failed_at_once):
                self._channels.leave(session, failed_at_once=failed_at_once)
            case wire.Counts():
                self._heard_s, self._spoke = asyncio.get_running_loop().time(), True
                self.door.observe(self._heard_s, message.cpu_s, len(self._desks), message.lag_ms)
                self.counts.take(message)

    async def _answer(self, question: Any) -> Any:
        match question:
            case wire.WantToken(refused, leg):
                with structlog.contextvars.bound_contextvars(leg=leg):
                    return await self._workers.tokens.get(refused)
            case wire.WantSession():
                return await self._channels.want(question)
        raise ValueError(f"no such question: {type(question).__name__}")


async def _end(process: Process, patience_s: float) -> int:
    """With its link gone it ends by itself, or is ended; the exit code. Reaped also when cancelled."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        code = await process.wait()
    return code


class Workers:
    """All of them: `async with`, and legs can be begun."""

    def __init__(
        self,
        config: Config,
        number: int,
        tokens: TokenSource,
        governor: Governor[Any],
        publish: Callable[[Event], None],
        tell: Tell = unheard,
    ) -> None:
        """`tell`: what the legs have to say to who watches."""
        self.config = config.with_secrets(Secrets())
        self.tokens = tokens
        self.governor = governor
        self.publish = publish
        self.tell = tell
        self._workers = {f"worker {one}": _Worker(one, self) for one in range(number)}
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        workers = self._workers.values()
        self._running = [loop.create_task(worker.run()) for worker in workers]
        try:  # a call that is met before would lose its first words
            async with asyncio.timeout(_START_S):
                await asyncio.gather(*(worker.ready() for worker in workers))
        except TimeoutError:
            _log.warning("not all workers are there", patience_s=_START_S)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)

    async def weigh(self, config: Config) -> Callable[[], None]:
        """What has all workers take another configuration, as `LocalDesks.adopt`. Raises what any of them
        has against it, and TimeoutError."""
        config = config.with_secrets(Secrets())
        async with asyncio.timeout(_ANSWER_S), asyncio.TaskGroup() as asking:
            for worker in self._workers.values():
                asking.create_task(worker.weigh(config))
        return lambda: self._adopt(config)

    def _adopt(self, config: Config) -> None:
        self.config = config
        for worker in self._workers.values():
            worker.adopt(config)

    async def begin(self, new: NewLeg) -> DistantDesk:
        """At the call's worker; waits while that one is being started."""
        return await self._of(new.leg.call).begin(new)

    def mix(self, host: LegId, guest: LegId) -> None:
        self._of(host.call).tell(wire.Mix(host, guest))

    def pair(self, host: LegId, guest: LegId) -> None:
        self._of(host.call).tell(wire.Pair(host, guest))

    def pause(self, call: CallId, paused: bool) -> None:
        """One that is being started is told with the legs it gets."""
        self._of(call).tell(wire.Pause(call, paused))

    def admit(self, call: CallId, legs: int) -> Refusal | None:
        return self._of(call).admit(call, legs)

    def over(self, call: CallId) -> None:
        self._of(call).door.promises.drop(call)

    def counts(self) -> Counts:
        return total(worker.counts for worker in self._workers.values())

    def snapshots(self) -> list[LegSnapshot]:
        return [one for worker in self._workers.values() for one in worker.snapshots()]

    @property
    def absent(self) -> str:
        """As of `readiness.Asked`: legs that are theirs wait."""
        names = ", ".join(name for name, worker in self._workers.items() if worker.absent)
        return names and f"not there: {names}"

    @property
    def lag_ms(self) -> float:
        """How late the latest of their loops was."""
        return max((worker.counts.lag_ms for worker in self._workers.values()), default=0.0)

    def _of(self, call: CallId) -> _Worker:
        return self._workers[choose(call, self._workers)]
