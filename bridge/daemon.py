"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack

import structlog
from rich.console import Console

from bridge.config import Config, ConfigError
from bridge.desk import Desks
from bridge.groups import first_of
from bridge.inlets import Inlets
from bridge.load import collect_seldom, raise_file_limit, watch_load
from bridge.meter import Meter
from bridge.net.filestt import FileStt
from bridge.net.rtzr import Session
from bridge.opening import Outlets, check_bind, check_streams, open_door, open_outlets, open_spool
from bridge.quota import Governor
from bridge.readiness import Readiness
from bridge.sinks.fanout import FanOut
from bridge.spool.catchup import CatchUp
from bridge.spool.spool import Spool
from bridge.switchboard import Switchboard
from bridge.types import Event
from bridge.visit import receive
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
    stop, force, readiness = asyncio.Event(), asyncio.Event(), Readiness()
    _on_signals(lambda: force.set() if stop.is_set() else stop.set())
    async with AsyncExitStack() as opened:
        outlets = await open_outlets(config, console, opened, readiness)
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(sink.run()) for sink in outlets.sinks]
            sending = tasks.create_task(outlets.deliveries.run()) if outlets.deliveries else None
            tokens = await opened.enter_async_context(build_tokens(config))
            speech = build_rtzr(config, tokens)
            governor = build_governor(config, speech)
            pbx = await opened.enter_async_context(open_pbx(config))
            if (told := build_pbx_sink(config, pbx)) is not None:
                outlets.sinks.append(told)
                writing.append(tasks.create_task(told.run()))
            publish = FanOut(outlets.sinks, config.sinks_of_rules).publish
            spool = await open_spool(config, opened)
            works: list[Coroutine[None, None, None]] = []
            desks: Desks
            lobby: Inlets | None = None
            if (number := workers_of(config)) == 1:
                desks = local = build_desks(config, ports_of(config, 0), governor, speech, publish, spool)
                lobby = await open_door(config, local, opened)
                works += [watch_load(local.observe), collect_seldom(local.__len__)]
            else:
                if config.pbx == "freeswitch":
                    check_streams(config)
                desks = await opened.enter_async_context(Workers(config, number, tokens, governor, publish))
            switchboard = build_switchboard(config, pbx, desks, publish, _mix_when(config, governor))
            meter = Meter(switchboard, desks, pbx, tokens, governor, outlets.sinks)
            works += [tokens.keep_fresh(), switchboard.run(), meter.run()]
            if lobby is not None:
                works.append(receive(pbx, lobby, switchboard))
            if spool is not None:
                files = await opened.enter_async_context(build_files(config, tokens))
                works.append(_catch_up(config, spool, files, governor, publish, outlets))
            working = [tasks.create_task(work) for work in works]
            readiness.begin(pbx, tokens, governor, outlets.sinks)
            await stop.wait()
            readiness.stop()
            orderly = await _drain(switchboard, config.drain_s, force)
            await _cancel(working)
            if config.pbx == "asterisk" and config.asterisk.via == "ari":  # else nobody is ever sent to us
                await switchboard.leave()
            orderly &= await _last_events(outlets, writing, force)
            if sending is not None:
                sending.cancel()
    return 0 if orderly else 1


def _catch_up(
    config: Config,
    spool: Spool,
    files: FileStt,
    governor: Governor[Session],
    publish: Callable[[Event], None],
    outlets: Outlets,
) -> Coroutine[None, None, None]:
    knows = config.knows_sinks_of
    return CatchUp(spool, files, governor.room, publish, outlets.written, knows=knows).run()


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


def _on_signals(told: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)


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
