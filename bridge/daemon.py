"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog
from rich.console import Console

from bridge.config import Config, ConfigError
from bridge.desk import LocalDesks
from bridge.groups import first_of
from bridge.inlets import Inlets
from bridge.load import collect_seldom, raise_file_limit, watch_load
from bridge.meter import Meter
from bridge.net.rtzr import Session
from bridge.opening import Outlets, check_bind, open_door, open_outlets, open_spool
from bridge.quota import Governor
from bridge.readiness import Readiness
from bridge.reload.parts import add_core
from bridge.reload.reloader import Reloader
from bridge.sinks.fanout import FanOut
from bridge.spool.catchup import CatchUp
from bridge.switchboard import Switchboard
from bridge.visit import receive
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
from bridge.workers import Workers

_log = structlog.get_logger()

_LAST_WORDS_S = 5.0
"""How long legs that are forced to end have for their last events, and then these for their sinks."""
_WORK_OFF_S = 20.0
"""How long legs have after the drain while RTZR is away: supervisors kill after 90 s, of which the drain may
take 30 and what follows 15."""
_LAST_SENDS_S = 5.0
"""How long endpoints have to take what waits for them; the rest waits for the next start."""


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
    (stop, force, hangup), readiness = _signals(), Readiness()
    async with AsyncExitStack() as opened:
        outlets = await open_outlets(config, console, opened, readiness, reloader)
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
            fanout = FanOut(outlets.sinks, config.sinks_of_rules)
            publish = fanout.publish
            spool = await open_spool(config, opened)
            works: list[Coroutine[None, None, None]] = []
            desks: LocalDesks | Workers
            lobby: Inlets | None = None
            if (number := workers_of(config)) == 1:
                desks = local = build_desks(config, ports_of(config, 0), governor, speech, publish, spool)
                lobby = await open_door(config, local, opened)
                works += [watch_load(local.observe), collect_seldom(local.__len__)]
            else:
                desks = await opened.enter_async_context(Workers(config, number, tokens, governor, publish))
            switchboard = build_switchboard(config, pbx, desks, publish, _mix_when(governor))
            meter = Meter(switchboard, desks, pbx, tokens, governor, outlets.sinks)
            works += [tokens.keep_fresh(), switchboard.run(), meter.run(), reloader.follow(hangup)]
            add_core(reloader.parts, tokens, governor, fanout, desks, switchboard, pbx)
            if lobby is not None:
                works.append(receive(pbx, lobby, switchboard))
            if spool is not None:
                files = await opened.enter_async_context(build_files(config, tokens))
                reloader.parts.add(lambda config: partial(files.adopt, stream_options(config)))
                works.append(CatchUp(spool, files, governor.room, publish, outlets.written).run())
            working = [tasks.create_task(work) for work in works]
            readiness.begin(pbx, tokens, governor, outlets.sinks)
            reloader.begin()
            await stop.wait()
            readiness.stop()
            reloader.stop()
            orderly = await _let_finish(switchboard, reloader.config, working, force)
            orderly &= await _last_events(outlets, writing, force)
            if sending is not None:
                sending.cancel()
    return 0 if orderly else 1


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
