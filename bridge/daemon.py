"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import structlog
from rich.console import Console

from bridge.calls.pauses import Pauses
from bridge.calls.switchboard import Switchboard
from bridge.calls.visit import receive
from bridge.config import Config, ConfigError
from bridge.groups import first_of
from bridge.leg.desk import LocalDesks
from bridge.leg.inlets import Inlets
from bridge.load import collect_seldom, raise_file_limit, watch_load
from bridge.meter import Meter, watched
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.opening import (
    Outlets,
    Supervision,
    check_bind,
    check_streams,
    open_door,
    open_live_page,
    open_outlets,
    open_spool,
    open_watch,
)
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.readiness import Readiness
from bridge.reload.parts import add_core
from bridge.reload.reloader import Reloader
from bridge.sinks.fanout import FanOut
from bridge.spool.catchup import CatchUp
from bridge.spool.spool import Spool
from bridge.supervisor import Supervisor
from bridge.tally import tallied
from bridge.types import Event
from bridge.watching.pbxnotes import PbxNotes
from bridge.wire.channels import OnFull
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
    stream_options,
    workers_of,
)
from bridge.workers.workers import Workers

_log = structlog.get_logger()

_LAST_WORDS_S = 5.0
"""How long legs that are forced to end have for their last events, and then these for their sinks."""
_WORK_OFF_S = 20.0
"""How long legs have after the drain while RTZR is away: supervisors kill after 90 s, of which the drain may
take 30 and what follows 15."""
_LAST_SENDS_S = 5.0
"""How long endpoints have to take what waits for them; the rest waits for the next start."""

_Works = list[Coroutine[None, None, None]]
"""What is to run."""


@dataclass(frozen=True, slots=True)
class _Base:
    """What is open before the PBX and RTZR are, and whatever opens later stands on."""

    config: Config
    reloader: Reloader
    readiness: Readiness
    outlets: Outlets
    supervision: Supervision
    opened: AsyncExitStack
    """What closes all of it."""


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
    works: _Works
    """For both."""


async def run(
    config: Config, console: Console | None = None, again: Callable[[], Config] | None = None
) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 after an orderly end, 1 when it was forced or left
    events unwritten that the outbox should have.

    `console` is where live transcripts are printed: standard output, if none is given. `again` reads the
    configuration once more, at a SIGHUP or when a command asks for it. Raises ConfigError for what only this
    machine can tell.
    """
    try:
        config = settled(config)
        reloader = Reloader(config, lambda: config if again is None else settled(again()))
        return await _run(config, console, reloader)
    except ExceptionGroup as group:
        raise _fault(group) from None


def _fault(group: ExceptionGroup) -> BaseException:
    """The configuration's fault, if nothing else went wrong."""
    faults, others = group.split(ConfigError)
    return group if faults is None or others is not None else first_of(faults)


async def _run(config: Config, console: Console | None, reloader: Reloader) -> int:
    check_bind(config.media.bind)
    raise_file_limit()
    stop, force, hangup = _signals()
    readiness = Readiness(supervisor := Supervisor(os.environ))
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(supervisor.beating(lambda: readiness.reasons))
        outlets = await open_outlets(config, console, opened, readiness, reloader.parts)
        supervision = await open_watch(config, outlets, stop.set, reloader.reload, readiness, opened)
        base = _Base(config, reloader, readiness, outlets, supervision, opened)
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(sink.run()) for sink in outlets.sinks]
            sending = tasks.create_task(outlets.deliveries.run()) if outlets.deliveries else None
            lines = await _open_lines(base)
            if (told := build_pbx_sink(config, lines.pbx)) is not None:
                outlets.sinks.append(told)
                writing.append(tasks.create_task(told.run()))
            switchboard, works = await _open_calls(base, lines)
            working = [tasks.create_task(work) for work in (*works, reloader.follow(hangup))]
            readiness.begin(lines.pbx, lines.tokens, lines.governor, outlets.sinks)
            reloader.begin()
            await stop.wait()
            readiness.stop()
            reloader.stop()
            orderly = await _let_finish(switchboard, reloader.config, working, force)
            orderly &= await _last_events(outlets, writing, force)
            if sending is not None:
                sending.cancel()
    return 0 if orderly else 1


async def _open_lines(base: _Base) -> _Lines:
    tokens = await base.opened.enter_async_context(build_tokens(base.config))
    speech = build_rtzr(base.config, tokens)
    governor = build_governor(base.config, speech)
    pbx = await base.opened.enter_async_context(open_pbx(base.config))
    return _Lines(pbx, tokens, speech, governor)


async def _open_calls(base: _Base, lines: _Lines) -> tuple[Switchboard, _Works]:
    """All between the PBX and RTZR, and what is to run for it. Raises ConfigError."""
    config, outlets, watching = base.config, base.outlets, base.supervision
    fanout = FanOut(outlets.sinks, config.sinks_of_rules)
    publish = tallied(fanout.publish)
    spool = await open_spool(config, base.opened)
    hearing = await _open_desks(base, lines, publish, spool)
    notes, mix_when = PbxNotes(watching.tell), _mix_when(lines.governor)
    switchboard = build_switchboard(config, lines.pbx, hearing.desks, publish, mix_when, notes)
    parts = base.reloader.parts
    add_core(parts, lines.tokens, lines.governor, fanout, hearing.desks, switchboard, lines.pbx)
    watching.status.begin(lines.pbx, lines.governor, notes)
    watching.pausing.board = switchboard
    await open_live_page(config, outlets, watching, switchboard.pause, parts, base.opened)
    meter = Meter(
        switchboard, hearing.desks, lines.pbx, lines.tokens, lines.governor, outlets.sinks, base.readiness
    )
    works = [*hearing.works, lines.tokens.keep_fresh(), switchboard.run(), meter.run()]
    works += watching.look(hearing.desks.snapshots)
    if hearing.lobby is not None:
        works.append(receive(lines.pbx, hearing.lobby, switchboard))
    if spool is not None:
        late = await _open_catch_up(base, lines, spool, publish, switchboard.pauses)
        works.append(late.run())
        meter.late = late.counters
    return switchboard, works


async def _open_desks(
    base: _Base, lines: _Lines, publish: Callable[[Event], None], spool: Spool | None
) -> _Hearing:
    """Raises ConfigError."""
    config, tell, status = base.config, base.supervision.tell, base.supervision.status
    if (number := workers_of(config)) == 1:
        ports = ports_of(config, 0)
        desks = build_desks(config, ports, lines.governor, lines.speech, publish, spool, tell=tell)
        lobby = await open_door(config, desks, base.opened)
        own = watch_load(watched(status.beside(desks.observe)))
        return _Hearing(desks, lobby, [own, collect_seldom(desks.__len__)])
    if config.pbx == "freeswitch":
        check_streams(config)
    workers = Workers(config, number, lines.tokens, lines.governor, publish, tell)
    await base.opened.enter_async_context(workers)
    status.ask_lag(lambda: workers.lag_ms)
    base.readiness.watch(lambda: workers.absent)
    return _Hearing(workers, None, [watch_load(watched(status.beside(lambda _cpu_s, _lag_ms: None)))])


async def _open_catch_up(
    base: _Base,
    lines: _Lines,
    spool: Spool,
    publish: Callable[[Event], None],
    pauses: Pauses,
) -> CatchUp:
    """What makes up for what the spool has: once it is known which calls are paused."""
    files = await base.opened.enter_async_context(build_files(base.config, lines.tokens))
    base.reloader.parts.add(lambda config: partial(files.adopt, stream_options(config)))
    room, knows = lines.governor.room, base.reloader.knows_sinks_of
    return CatchUp(
        spool,
        files,
        lambda: pauses.compared and room(),
        publish,
        base.outlets.written,
        knows=knows,
        paused=pauses.paused,
    )


async def _let_finish(
    switchboard: Switchboard, config: Config, working: Sequence[asyncio.Task[None]], force: asyncio.Event
) -> bool:
    """The calls; as `_drain`."""
    orderly = await _drain(switchboard, config.drain_s, force)
    await _cancel(working)
    if config.pbx == "asterisk" and config.asterisk.via == "ari":  # else nobody is ever sent to us
        await switchboard.leave()
    return orderly


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


def _mix_when(governor: Governor[Session]) -> Callable[[int], bool]:
    """With `mix_legs`: whether so many streams are more than RTZR gives, by the YAML or by its refusals."""

    def mixed(streams: int) -> bool:
        settings = governor.settings
        if settings.on_full is not OnFull.MIX_LEGS:
            return False
        return 0 < settings.max_sessions < streams or governor.counters.full

    return mixed


def _signals() -> tuple[asyncio.Event, asyncio.Event, asyncio.Event]:
    """That it is to stop, at once, or to reload.

    SIGHUP is a reload, but for a daemon whose terminal is gone: there nobody would end it any more.
    """
    stop, force, hangup = asyncio.Event(), asyncio.Event(), asyncio.Event()
    at_terminal = os.isatty(0)

    def end() -> None:
        (force if stop.is_set() else stop).set()

    def hung_up() -> None:
        end() if at_terminal and not os.isatty(0) else hangup.set()

    loop = asyncio.get_running_loop()
    for number, told in ((signal.SIGTERM, end), (signal.SIGINT, end), (signal.SIGHUP, hung_up)):
        loop.add_signal_handler(number, told)
    return stop, force, hangup


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
