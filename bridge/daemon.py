"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from rich.console import Console

from bridge.config import Config, ConfigError
from bridge.desk import LocalDesks
from bridge.groups import first_of
from bridge.inlets import Inlets
from bridge.load import collect_seldom, raise_file_limit, watch_load
from bridge.meter import Meter, watched
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.opening import (
    Outlets,
    Supervision,
    check_bind,
    open_door,
    open_live_page,
    open_outlets,
    open_spool,
    open_watch,
)
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.readiness import Readiness
from bridge.sinks.fanout import FanOut
from bridge.spool.catchup import CatchUp
from bridge.spool.spool import Spool
from bridge.supervisor import Supervisor
from bridge.switchboard import Switchboard
from bridge.tally import tallied
from bridge.types import CallId, Event
from bridge.visit import receive
from bridge.watching.pbxnotes import PbxNotes
from bridge.wiring import (
    build_desks,
    build_files,
    build_governor,
    build_pbx_sink,
    build_rtzr,
    build_switchboard,
    build_tokens,
    open_pbx,
    ports_of,
    settled,
    workers_of,
)
from bridge.workers import Workers

_log = structlog.get_logger()

_LAST_WORDS_S = 5.0
"""How long legs that are forced to end have for their last events, and then these for their sinks."""
_WORK_OFF_S = 20.0
"""How long legs have after the drain while RTZR is away: supervisors kill after 90 s, of which the drain may
take 30 and what follows 15."""
_LAST_SENDS_S = 5.0
"""How long endpoints have to take what waits for them; the rest waits for the next start."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """What is at the other ends: the PBX, and RTZR."""

    pbx: Pbx
    tokens: Tokens
    speech: Rtzr
    governor: Governor[Session]


@dataclass(frozen=True, slots=True)
class _Hearing:
    """Where legs are heard, in this process or in workers."""

    desks: LocalDesks | Workers
    lobby: Inlets | None
    """Where calls come by themselves, if they do."""
    works: list[Coroutine[None, None, None]]
    """What is to run for both."""


async def run(config: Config, console: Console | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 after an orderly end, 1 when it was forced or left
    events unwritten that the outbox should have.

    `console` is where live transcripts are printed: standard output, if none is given. Raises ConfigError for
    what only this machine can tell.
    """
    try:
        return await _run(settled(config), console)
    except ExceptionGroup as group:
        raise _fault(group) from None


def _fault(group: ExceptionGroup) -> BaseException:
    """The configuration's fault, if nothing else went wrong."""
    faults, others = group.split(ConfigError)
    return group if faults is None or others is not None else first_of(faults)


async def _run(config: Config, console: Console | None) -> int:
    check_bind(config.media.bind)
    raise_file_limit()
    stop, force = _signals()
    readiness = Readiness(supervisor := Supervisor(os.environ))
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(supervisor.beating(lambda: readiness.reasons))
        outlets = await open_outlets(config, console, opened, readiness)
        supervision = await open_watch(config, outlets, stop.set, readiness, opened)
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(sink.run()) for sink in outlets.sinks]
            sending = tasks.create_task(outlets.deliveries.run()) if outlets.deliveries else None
            lines = await _open_lines(config, opened)
            if (told := build_pbx_sink(config, lines.pbx)) is not None:
                outlets.sinks.append(told)
                writing.append(tasks.create_task(told.run()))
            works, switchboard = await _open_calls(config, lines, outlets, supervision, readiness, opened)
            working = [tasks.create_task(work) for work in works]
            readiness.begin(lines.pbx, lines.tokens, lines.governor, outlets.sinks)
            await stop.wait()
            readiness.stop()
            orderly = await _let_finish(config, switchboard, working, force)
            orderly &= await _last_events(outlets, writing, force)
            if sending is not None:
                sending.cancel()
    return 0 if orderly else 1


async def _open_calls(
    config: Config,
    lines: _Lines,
    outlets: Outlets,
    supervision: Supervision,
    readiness: Readiness,
    opened: AsyncExitStack,
) -> tuple[list[Coroutine[None, None, None]], Switchboard]:
    """All between the PBX and RTZR, and what is to run for it. Raises ConfigError."""
    publish = tallied(FanOut(outlets.sinks, config.sinks_of_rules).publish)
    spool = await open_spool(config, opened)
    hearing = await _open_desks(config, lines, publish, spool, supervision, opened)
    notes, mix_when = PbxNotes(supervision.tell), _mix_when(config, lines.governor)
    switchboard = build_switchboard(config, lines.pbx, hearing.desks, publish, mix_when, notes)
    supervision.status.begin(lines.pbx, lines.governor, notes)
    supervision.pausing.board = switchboard
    await open_live_page(config, outlets, supervision, switchboard.pause, opened)
    meter = Meter(
        switchboard, hearing.desks, lines.pbx, lines.tokens, lines.governor, outlets.sinks, readiness
    )
    works = [*hearing.works, lines.tokens.keep_fresh(), switchboard.run(), meter.run()]
    works += supervision.look(hearing.desks.snapshots)
    if hearing.lobby is not None:
        works.append(receive(lines.pbx, hearing.lobby, switchboard))
    if spool is not None:
        paused = switchboard.pauses.paused
        late = await _open_catch_up(config, lines, spool, publish, outlets, paused, opened)
        works.append(late.run())
        meter.late = late.counters
    return works, switchboard


async def _let_finish(
    config: Config, switchboard: Switchboard, working: Sequence[asyncio.Task[None]], force: asyncio.Event
) -> bool:
    """The calls; as `_drain`."""
    orderly = await _drain(switchboard, config.drain_s, force)
    await _cancel(working)
    if config.pbx == "asterisk" and config.asterisk.via == "ari":  # else nobody is ever sent to us
        await switchboard.leave()
    return orderly


async def _open_lines(config: Config, opened: AsyncExitStack) -> _Lines:
    tokens = await opened.enter_async_context(build_tokens(config))
    speech = build_rtzr(config, tokens)
    governor = build_governor(config, speech)
    return _Lines(await opened.enter_async_context(open_pbx(config)), tokens, speech, governor)


async def _open_desks(
    config: Config,
    lines: _Lines,
    publish: Callable[[Event], None],
    spool: Spool | None,
    supervision: Supervision,
    opened: AsyncExitStack,
) -> _Hearing:
    """Raises ConfigError."""
    tell, beside = supervision.tell, supervision.status.beside
    if (number := workers_of(config)) == 1:
        ports = ports_of(config, 0)
        desks = build_desks(config, ports, lines.governor, lines.speech, publish, spool, tell=tell)
        lobby = await open_door(config, desks, opened)
        own = watch_load(watched(beside(desks.observe)))
        return _Hearing(desks, lobby, [own, collect_seldom(desks.__len__)])
    workers = Workers(config, number, lines.tokens, lines.governor, publish, tell)
    supervision.status.ask_lag(lambda: workers.lag_ms)
    await opened.enter_async_context(workers)
    return _Hearing(workers, None, [watch_load(watched(beside(lambda _cpu_s, _lag_ms: None)))])


async def _open_catch_up(
    config: Config,
    lines: _Lines,
    spool: Spool,
    publish: Callable[[Event], None],
    outlets: Outlets,
    paused: Callable[[], frozenset[CallId]],
    opened: AsyncExitStack,
) -> CatchUp:
    """What makes up for what the spool has."""
    files = await opened.enter_async_context(build_files(config, lines.tokens))
    room, known = lines.governor.room, config.knows_sinks_of
    return CatchUp(spool, files, room, publish, outlets.written, knows=known, paused=paused)


async def _cancel(working: Sequence[asyncio.Task[None]]) -> None:
    for task in working:
        task.cancel()
    await asyncio.wait(working, timeout=_LAST_WORDS_S)


async def _last_events(outlets: Outlets, writing: Sequence[asyncio.Task[None]], force: asyncio.Event) -> bool:
    """Out with what waits, the endpoints' after the outbox has all; False when a second signal came first, or
    the outbox could not have all."""
    for sink in outlets.sinks:
        sink.close()
    if writing:
        await asyncio.wait(writing, timeout=_LAST_WORDS_S)
    left = 0 if outlets.kept is None else outlets.kept.left
    if left:
        _log.error("events left unwritten", events=left)
    sent = outlets.deliveries is None or await _unless(force, outlets.deliveries.finish(_LAST_SENDS_S))
    return sent and not left


def _mix_when(config: Config, governor: Governor[Session]) -> Callable[[int], bool] | None:
    """With `mix_legs`: whether so many streams are more than RTZR gives, by the YAML or by its refusals."""
    most = config.quota.max_sessions
    if config.quota.on_full != "mix_legs":
        return None
    return lambda streams: 0 < most < streams or governor.counters.full


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """That it is to stop, and that at once."""
    stop, force = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (force if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return stop, force


async def _drain(switchboard: Switchboard, patience_s: float, force: asyncio.Event) -> bool:
    """Let live legs finish; False when a second signal came first, or RTZR was away for too long."""
    _log.info("stopping", legs=switchboard.legs, patience_s=patience_s)
    try:
        async with asyncio.timeout(patience_s + _WORK_OFF_S):
            return await _unless(force, switchboard.drain(patience_s))
    except TimeoutError:
        _log.warning("legs ended before RTZR had all of them", legs=switchboard.legs)
        return False


async def _unless(force: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Whether the work came to its end before it was forced to."""
    working = asyncio.create_task(work)
    forcing = asyncio.create_task(force.wait())
    try:
        await asyncio.wait({working, forcing}, return_when=asyncio.FIRST_COMPLETED)
        return working.done()
    finally:
        working.cancel()
        forcing.cancel()
