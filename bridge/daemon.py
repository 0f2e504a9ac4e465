"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import errno
import os
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import structlog
from rich.console import Console

from bridge.catchup import CatchUp
from bridge.config import Config, ConfigError
from bridge.desk import Desks, LocalDesks
from bridge.groups import first_of
from bridge.inlets import Inlets
from bridge.load import collect_seldom, raise_file_limit, watch_load
from bridge.meter import Meter
from bridge.net.rtzr import Session
from bridge.quota import Governor
from bridge.sinks.fanout import FanOut
from bridge.spool import Spool
from bridge.switchboard import Switchboard
from bridge.visit import receive
from bridge.wiring import (
    build_desks,
    build_files,
    build_governor,
    build_pbx_sink,
    build_rtzr,
    build_sinks,
    build_spool,
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
"""How long legs that are forced to end have for their last events."""


async def run(config: Config, console: Console | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 after an orderly end, 1 when it was forced.

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
    _check_bind(config.media.bind)
    raise_file_limit()
    stop, force = asyncio.Event(), asyncio.Event()
    _on_signals(lambda: force.set() if stop.is_set() else stop.set())
    sinks = build_sinks(config, console)
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        for sink in sinks:
            tasks.create_task(sink.run())
        tokens = await opened.enter_async_context(build_tokens(config))
        speech = build_rtzr(config, tokens)
        governor = build_governor(config, speech)
        pbx = await opened.enter_async_context(open_pbx(config))
        if (told := build_pbx_sink(config, pbx)) is not None:
            sinks.append(told)
            tasks.create_task(told.run())
        publish = FanOut(sinks, config.sinks_of_rules).publish
        spool = await _open_spool(config, opened)
        works: list[Coroutine[None, None, None]] = []
        desks: Desks
        lobby: Inlets | None = None
        if (number := workers_of(config)) == 1:
            desks = local = build_desks(config, ports_of(config, 0), governor, speech, publish, spool)
            lobby = await _open_door(config, local, opened)
            works += [watch_load(local.observe), collect_seldom(local.__len__)]
        else:
            desks = await opened.enter_async_context(Workers(config, number, tokens, governor, publish))
        switchboard = build_switchboard(config, pbx, desks, publish, _mix_when(config, governor))
        meter = Meter(switchboard, desks, pbx, tokens, governor, sinks)
        works += [tokens.keep_fresh(), switchboard.run(), meter.run()]
        if lobby is not None:
            works.append(receive(pbx, lobby, switchboard))
        if spool is not None:
            files = await opened.enter_async_context(build_files(config, tokens))
            works.append(CatchUp(spool, files, governor.room, publish).run())
        working = [tasks.create_task(work) for work in works]
        await stop.wait()
        orderly = await _drain(switchboard, config.drain_s, force)
        for task in working:
            task.cancel()
        await asyncio.wait(working, timeout=_LAST_WORDS_S)
        if config.pbx == "asterisk" and config.asterisk.via == "ari":  # else nobody is ever sent to us
            await switchboard.leave()
        for sink in sinks:
            sink.close()
    return 0 if orderly else 1


def _check_bind(address: str) -> None:
    """Raises ConfigError when RTP could not be received at `media.bind`: now, not at the first call."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            fault = (
                f"media.bind: {address} is not to be had ({error.strerror}); give an address of this machine"
            )
            raise ConfigError([fault]) from None


async def _open_door(config: Config, desks: LocalDesks, opened: AsyncExitStack) -> Inlets:
    """Where calls come that the dialplan sends. Raises ConfigError when the port cannot be had."""
    opened.push_async_callback(desks.inlets.close)
    if config.pbx == "freeswitch":
        await _open_streams(desks)
    if config.media.audiosocket_calls:
        try:
            await desks.inlets.audiosocket()
        except OSError as error:
            port, reason = config.media.audiosocket_port, error.strerror
            fault = f"media.audiosocket_port: {port} is not to be had ({reason}); give another one"
            raise ConfigError([fault]) from None
    return desks.inlets


async def _open_streams(desks: LocalDesks) -> None:
    """Where FreeSWITCH's streams come: now, not at the first call. Raises ConfigError."""
    try:
        await desks.inlets.audiostream()
    except ssl.SSLError:
        fault = "freeswitch.media_tls_cert: is no PEM certificate, or media_tls_key not its key; give both"
        raise ConfigError([fault]) from None
    except OSError as error:
        file = error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR)  # ssl does not say which
        what = "freeswitch.media_tls_cert or media_tls_key" if file else "media.websocket_port"
        fault = f"{what}: is not to be had ({os.strerror(error.errno or 0)}); give another one"
        raise ConfigError([fault]) from None


async def _open_spool(config: Config, opened: AsyncExitStack) -> Spool | None:
    """The spool, if one is asked for. Raises ConfigError when its folder cannot be had."""
    spool = build_spool(config)
    if spool is None:
        return None
    try:
        await asyncio.to_thread(spool.check)
    except OSError as error:
        folder, reason = config.spool.folder, error.strerror
        fault = f"spool.folder: {folder} is not to be had ({reason}); give a folder of this user"
        raise ConfigError([fault]) from None
    spool.start()
    opened.push_async_callback(asyncio.to_thread, spool.stop)
    return spool


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
    """Let live legs finish; False when a second signal came first."""
    _log.info("stopping", legs=switchboard.legs, patience_s=patience_s)
    draining = asyncio.create_task(switchboard.drain(patience_s))
    forcing = asyncio.create_task(force.wait())
    try:
        await asyncio.wait({draining, forcing}, return_when=asyncio.FIRST_COMPLETED)
        return draining.done()
    finally:
        draining.cancel()
        forcing.cancel()
