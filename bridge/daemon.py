"""`rtzr-bridge run`: opens what the switchboard needs, runs it, and lets live calls finish when told to stop.

Wiring and signals only: no protocol, no decision about a call.
"""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import random

import structlog
from rich.console import Console

from bridge.call import LegSettings
from bridge.catchup import CatchUp
from bridge.config import Config, ConfigError
from bridge.conversation import SessionSettings
from bridge.meter import Meter
from bridge.net.ari import Ari
from bridge.net.filestt import FileStt
from bridge.net.rtp import PortPool
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.permit import Speech
from bridge.quota import Governor
from bridge.sinks.console import ConsoleSink
from bridge.sinks.jsonl import JsonlSink
from bridge.sinks.queued import QueuedSink
from bridge.spool import Spool, SpoolSettings
from bridge.switchboard import Switchboard, SwitchboardSettings
from bridge.tap import TapSettings
from bridge.types import Event
from bridge.wire.channels import OnFull, QuotaSettings
from bridge.wire.cost import Price
from bridge.wire.gate import GateSettings, Mode

_log = structlog.get_logger()

_LAST_WORDS_S = 5.0
"""How long legs that are forced to end have for their last events."""


async def run(config: Config, console: Console | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 after an orderly end, 1 when it was forced.

    `console` is where live transcripts are printed: standard output, if none is given.
    """
    _check_bind(config.media.bind)
    stop, force = asyncio.Event(), asyncio.Event()
    _on_signals(lambda: force.set() if stop.is_set() else stop.set())
    sinks = build_sinks(config, console)
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        for sink in sinks:
            tasks.create_task(sink.run())
        tokens, speech = build_rtzr(config)
        governor = build_governor(config, speech)
        await opened.enter_async_context(tokens)
        ari = await opened.enter_async_context(build_ari(config))
        publish = fan_out(sinks)
        spool = await _open_spool(config, opened)
        mix_when = _mix_when(config, governor)
        switchboard = build_switchboard(config, ari, governor, publish, spool, mix_when)
        meter = Meter(switchboard, ari, tokens, speech, governor, sinks)
        works = [switchboard.run(), tokens.keep_fresh(), meter.run()]
        if spool is not None:
            files = await opened.enter_async_context(build_files(config, tokens))
            works.append(CatchUp(spool, files, governor.room, publish).run())
        working = [tasks.create_task(work) for work in works]
        await stop.wait()
        orderly = await _drain(switchboard, config.drain_s, force)
        for task in working:
            task.cancel()
        await asyncio.wait(working, timeout=_LAST_WORDS_S)
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


async def _open_spool(config: Config, opened: AsyncExitStack) -> Spool | None:
    """The spool, if one is asked for. Raises ConfigError when its folder cannot be had."""
    settings = config.spool
    if settings.folder is None:
        return None
    spool = Spool(SpoolSettings(Path(settings.folder), settings.max_mb, settings.keep_days))
    try:
        await asyncio.to_thread(spool.check)
    except OSError as error:
        fault = (
            f"spool.folder: {settings.folder} is not to be had ({error.strerror}); give a folder of this user"
        )
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


def fan_out(sinks: Sequence[QueuedSink]) -> Callable[[Event], None]:
    """One event to every sink."""

    def publish(event: Event) -> None:
        for sink in sinks:
            sink.deliver(event)

    return publish


def build_sinks(config: Config, console: Console | None = None) -> list[QueuedSink]:
    sinks: list[QueuedSink] = []
    if config.sinks.console.enabled:
        sinks.append(ConsoleSink(partials=config.sinks.console.partials, console=console))
    if config.sinks.jsonl.path is not None:
        sinks.append(JsonlSink(Path(config.sinks.jsonl.path)))
    return sinks


def build_rtzr(config: Config) -> tuple[Tokens, Rtzr]:
    """The token cache and what opens sessions with it.

    TLS is always verified: by the system's authorities, or by those of `rtzr.ca_file` alone.
    """
    rtzr, secrets = config.rtzr, config.secrets
    tls = ssl.create_default_context(cafile=rtzr.ca_file)
    tokens = Tokens(
        rtzr.auth_url,
        secrets.client_id,
        secrets.client_secret,
        renew_before_s=rtzr.renew_before_s,
        timeout_s=rtzr.connect_timeout_s,
        tls=tls,
        proxy=rtzr.proxy,
    )
    speech = Rtzr(
        tokens,
        rtzr.stream_url,
        stream_options(config),
        timeout_s=rtzr.connect_timeout_s,
        tls=tls,
        proxy=rtzr.proxy,
    )
    return tokens, speech


def build_files(config: Config, tokens: Tokens) -> FileStt:
    """RTZR's file API, with the streams' token and options."""
    rtzr = config.rtzr
    tls = ssl.create_default_context(cafile=rtzr.ca_file)
    return FileStt(tokens, rtzr.file_url, stream_options(config), tls=tls, proxy=rtzr.proxy)


def build_governor(config: Config, speech: Rtzr) -> Governor[Session]:
    """What all legs get their sessions from."""
    quota = config.quota
    settings = QuotaSettings(
        max_sessions=quota.max_sessions,
        reserve=quota.reserve,
        on_full=OnFull(quota.on_full),
        alarm=quota.alarm,
    )
    return Governor(speech, settings, clock=asyncio.get_running_loop().time, random01=random)


_QUERY = (
    "model_name",
    "domain",
    "language",
    "use_itn",
    "use_disfluency_filter",
    "use_profanity_filter",
    "use_punctuation",
    "keywords",
    "epd_time",
    "max_utter_duration",
    "noise_threshold",
    "active_threshold",
)


def stream_options(config: Config) -> dict[str, str]:
    """The streaming query's options as RTZR spells them; what is not set is left to RTZR."""
    given = {name: getattr(config.rtzr, name) for name in _QUERY}
    return {name: _spelled(value) for name, value in given.items() if value not in (None, ())}


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def build_ari(config: Config) -> Ari:
    asterisk = config.asterisk
    return Ari(
        asterisk.ari_url,
        asterisk.username,
        config.secrets.ari_password,
        asterisk.app,
        timeout_s=asterisk.request_timeout_s,
    )


def leg_settings(config: Config) -> LegSettings:
    gate = config.gate.model_dump()
    return LegSettings(
        gate=GateSettings(**{**gate, "mode": Mode(gate["mode"])}),
        session=SessionSettings(
            catch_up=config.rtzr.catch_up,
            drain_ms=config.hangup.drain_ms,
            keepalive_ms=config.rtzr.keepalive_s * 1000,
            watchdog_ms=config.rtzr.watchdog_s * 1000,
            rotate_ms=config.rtzr.rotate_s * 1000,
        ),
        message_ms=config.media.message_ms,
        ring_ms=config.media.ring_s * 1000,
        outage_ms=config.hangup.outage_s * 1000,
    )


def build_switchboard(
    config: Config,
    ari: Ari,
    speech: Speech,
    publish: Callable[[Event], None],
    spool: Spool | None = None,
    mix_when: Callable[[int], bool] | None = None,
) -> Switchboard:
    media = config.media
    taps = TapSettings(
        app=config.asterisk.app,
        context=config.asterisk.tap_context,
        advertise=media.advertised,
        codec=media.encoding,
        reorder_ms=media.reorder_ms,
    )
    settings = SwitchboardSettings(
        taps=taps,
        legs=leg_settings(config),
        user_event=config.asterisk.user_event,
        ring_ms=media.ring_s * 1000,
        early_media=media.early_media,
        preopen=config.rtzr.preopen == "ring",
        prices=tuple(map(Price, config.cost.won_per_h, (*config.cost.up_to_h, None))),
    )
    ports = PortPool(media.bind, media.first_port, media.last_port, media.port_rest_s)
    return Switchboard(ari, ports, speech, settings, publish, spool, mix_when)
