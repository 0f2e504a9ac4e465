"""What the YAML says becomes the parts that act on it: settings as they want them, and the parts themselves.

Nothing runs here; who opens and closes what, and when, is the daemon's and the worker's concern.
"""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import random

from rich.console import Console

from bridge.calls.switchboard import Switchboard
from bridge.calls.switchsettings import SwitchboardSettings
from bridge.calls.tap import TapSettings
from bridge.calls.ways import WaySettings
from bridge.config import Config, ConfigError
from bridge.leg.call import LegSettings
from bridge.leg.conversation import SessionSettings
from bridge.leg.desk import Desks, LocalDesks
from bridge.leg.desksettings import DeskSettings
from bridge.leg.inlets import Inlets, Ports
from bridge.leg.permit import Speech
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.net.filestt import FileStt
from bridge.net.freeswitch import FreeSwitch
from bridge.net.rtzr import Rtzr, Session, Tokens, TokenSource
from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.sinks.console import ConsoleSink
from bridge.sinks.jsonl import JsonlSettings, JsonlSink
from bridge.sinks.pbx import PbxSink, as_event, as_variable
from bridge.sinks.queued import QueuedSink
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Event, Transport
from bridge.watching.pbxnotes import PbxNotes
from bridge.wire.channels import OnFull, QuotaSettings
from bridge.wire.door import Door
from bridge.wire.freeswitch import ANNOUNCED, PAUSE, RESUME
from bridge.wire.gate import GateSettings, Mode
from bridge.wire.mediastream import Module
from bridge.wire.rtpbudget import RtpBudget
from bridge.wire.taporder import TapKind
from bridge.wire.watched import Tell, unheard
from bridge.wire.wishes import VARIABLE, WishWays


def build_sinks(config: Config, console: Console | None = None) -> list[QueuedSink]:
    sinks: list[QueuedSink] = []
    if config.sinks.console.enabled:
        sinks.append(ConsoleSink(partials=config.sinks.console.partials, console=console))
    if config.sinks.jsonl.path is not None:
        sinks.append(JsonlSink(Path(config.sinks.jsonl.path), jsonl_settings(config)))
    return sinks


def jsonl_settings(config: Config) -> JsonlSettings:
    """How the file of events is kept."""
    jsonl = config.sinks.jsonl
    return JsonlSettings(
        max_bytes=round(jsonl.max_mb * 1_000_000), keep=jsonl.keep, sync=jsonl.sync == "batch"
    )


def build_pbx_sink(config: Config, pbx: Pbx) -> PbxSink | None:
    """Where the PBX is told what was said, if it is to be."""
    told = config.sinks.pbx
    if told.variable is not None and isinstance(pbx, Ami | FreeSwitch):
        return PbxSink(as_variable(pbx, told.variable))
    if told.user_event is not None and isinstance(pbx, Ami | Ari | FreeSwitch):
        return PbxSink(as_event(pbx, told.user_event))
    return None


def build_tokens(config: Config) -> Tokens:
    """The token cache."""
    rtzr, secrets = config.rtzr, config.secrets
    return Tokens(
        rtzr.auth_url,
        secrets.client_id,
        secrets.client_secret,
        renew_before_s=rtzr.renew_before_s,
        timeout_s=rtzr.connect_timeout_s,
        tls=_tls(config),
        proxy=rtzr.proxy,
    )


def build_rtzr(config: Config, tokens: TokenSource) -> Rtzr:
    """What opens sessions with the cached token."""
    rtzr = config.rtzr
    return Rtzr(
        tokens,
        rtzr.stream_url,
        stream_options(config),
        timeout_s=rtzr.connect_timeout_s,
        tls=_tls(config),
        proxy=rtzr.proxy,
    )


def _tls(config: Config) -> ssl.SSLContext:
    """Always verified: by the system's authorities, or by those of `rtzr.ca_file` alone."""
    return ssl.create_default_context(cafile=config.rtzr.ca_file)


def build_files(config: Config, tokens: Tokens) -> FileStt:
    """RTZR's file API, with the streams' token and options."""
    rtzr = config.rtzr
    return FileStt(tokens, rtzr.file_url, stream_options(config), tls=_tls(config), proxy=rtzr.proxy)


def build_governor(config: Config, speech: Rtzr) -> Governor[Session]:
    """What all legs get their sessions from."""
    return Governor(speech, quota_settings(config), clock=asyncio.get_running_loop().time, random01=random)


def quota_settings(config: Config) -> QuotaSettings:
    """What is known of the account's channels."""
    quota = config.quota
    return QuotaSettings(
        max_sessions=quota.max_sessions,
        reserve=quota.reserve,
        on_full=OnFull(quota.on_full),
        alarm=quota.alarm,
    )


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


@asynccontextmanager
async def open_pbx(config: Config) -> AsyncIterator[Pbx]:
    """The PBX that the configuration names, for as long as it is used."""
    async with build_freeswitch(config) if config.pbx == "freeswitch" else build_asterisk(config) as pbx:
        yield pbx


def build_freeswitch(config: Config) -> FreeSwitch:
    """FreeSWITCH, not entered."""
    freeswitch = config.freeswitch
    module = None if freeswitch.module == "auto" else Module[freeswitch.module.upper()]
    return FreeSwitch(
        freeswitch.esl_host,
        freeswitch.esl_port,
        config.secrets.esl_password,
        module=module,
        secure=freeswitch.media_tls_cert is not None,
        media_wait_s=freeswitch.media_wait_s,
        timeout_s=freeswitch.request_timeout_s,
        wanted=frozenset(
            [name for rule in config.rules for name in rule.match.variables]
            + ([VARIABLE] if config.pause.variable else [])
        ),
        digits=_digits(config),
    )


def build_asterisk(config: Config) -> Ari | Ami:
    """Asterisk by the way that `asterisk.via` names, not entered."""
    asterisk = config.asterisk
    variables = config.pause.variable or any(rule.match.variables for rule in config.rules)
    if asterisk.via == "ami":
        return Ami(
            asterisk.ami_host,
            asterisk.ami_port,
            asterisk.username,
            config.secrets.ami_secret,
            timeout_s=asterisk.request_timeout_s,
            tls=ssl.create_default_context() if asterisk.ami_tls else None,
            variables=variables,
            digits=_digits(config),
        )
    return Ari(
        asterisk.ari_url,
        asterisk.username,
        config.secrets.ari_password,
        asterisk.app,
        timeout_s=asterisk.request_timeout_s,
        variables=variables,
        digits=_digits(config),
        tap_context=asterisk.tap_context,
        tells=config.sinks.pbx.application or "",
    )


def _digits(config: Config) -> bool:
    """Whether keys that are pressed mean anything."""
    return bool(config.pause.dtmf or config.pause.resume_dtmf)


def wish_ways(config: Config) -> WishWays:
    """By what calls are paused from the PBX's side."""
    pause, event = config.pause, config.asterisk.user_event
    told = (PAUSE, RESUME) if config.pbx == "freeswitch" else (f"{event}Pause", f"{event}Resume")
    return WishWays(*told, pause.variable, pause.dtmf or "", pause.resume_dtmf or "")


def leg_settings(
    config: Config, *, priority: int = 0, options: Mapping[str, str] | None = None
) -> LegSettings:
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
        priority=priority,
        options=options,
    )


def _by_rule(config: Config) -> dict[str, LegSettings]:
    """What holds for the calls of each rule."""
    found = {}
    for rule in config.rules:
        changed = config.ruled(rule.name)
        found[rule.name] = leg_settings(changed, priority=rule.priority, options=stream_options(changed))
    return found


def build_spool(config: Config) -> Spool | None:
    """The spool, if one is asked for."""
    settings = config.spool
    if settings.folder is None:
        return None
    return Spool(SpoolSettings(Path(settings.folder), settings.max_mb, settings.keep_days))


def build_outbox(config: Config) -> Outbox | None:
    """The outbox, if one is asked for; not open, and without endpoints."""
    settings = config.outbox
    if settings.path is None:
        return None
    keep = bool(config.sinks.feed.port)
    return Outbox(
        Path(settings.path), OutboxSettings(settings.max_mb, settings.keep_days, settings.sync, keep)
    )


def build_desks(
    config: Config,
    ports: range,
    speech: Speech,
    rtzr: Rtzr,
    publish: Callable[[Event], None],
    spool: Spool | None = None,
    *,
    worker: int = 0,
    tell: Tell = unheard,
) -> LocalDesks:
    """Desks in this process, which has the UDP `ports` and is the daemon or one of its workers; `tell`: what
    they have to say to who watches."""
    media = config.media
    return LocalDesks(
        desk_settings(config),
        Inlets(ports_for(config, ports, worker), media.reorder_ms, visits=media.audiosocket_calls),
        speech,
        publish,
        sessions=lambda: (rtzr.sessions_open, rtzr.sessions_opened),
        door=Door(config.overload.full_at),
        spool=spool,
        unix=time.time,
        tell=tell,
    )


def desk_settings(config: Config) -> DeskSettings:
    """What holds for legs. All of RTZR's options are among it, so that a leg keeps them through a reload."""
    legs = leg_settings(config, options=stream_options(config))
    return DeskSettings(config.media.encoding, config.media.ring_s * 1000, legs, _by_rule(config))


def ports_for(config: Config, rtp: range, worker: int) -> Ports:
    """What one of the processes that hear legs listens on."""
    media = config.media
    audiosocket = media.audiosocket_port + worker
    audiostream = media.websocket_port + worker
    tls = config.freeswitch.media_tls_cert, config.freeswitch.media_tls_key
    return Ports(media.bind, rtp, audiosocket, media.websocket_port, media.port_rest_s, audiostream, *tls)


def way_settings(config: Config) -> WaySettings:
    asterisk, media = config.asterisk, config.media
    if config.pbx == "freeswitch":
        kind = config.freeswitch.kind
        stereo = kind is TapKind.STEREO
        transport = Transport.AUDIOSTREAM_STEREO if stereo else Transport.AUDIOSTREAM
        return WaySettings(kind, transport, config.freeswitch.codec, wideband=False)
    return WaySettings(asterisk.kind, asterisk.wanted_transport, media.encoding, media.wideband)


def settled(config: Config) -> Config:
    """With `workers: auto` as a number, which is found once and not anew by each worker.

    Raises ConfigError when there are too few ports for so many, or one is meant for two things.
    """
    number, media = workers_of(config), config.media
    if media.last_port - media.first_port < number - 1:
        fault = f"workers: {number} are more than there are ports; widen media.first_port to media.last_port"
        raise ConfigError([fault])
    if media.websocket_port in media.audiosocket_ports(number):
        raise ConfigError(
            [f"media.websocket_port: is one of AudioSocket's, for {number} workers; give another"]
        )
    return config.model_copy(update={"workers": number})


def workers_of(config: Config) -> int:
    """How many processes hear legs; with 1 it is the daemon itself."""
    if config.workers != "auto":
        return config.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ports_of(config: Config, worker: int) -> range:
    """The UDP ports of one of the processes that hear legs: each has its own, none is shared."""
    media, workers = config.media, workers_of(config)
    each = (media.last_port + 1 - media.first_port) // workers
    first = media.first_port + worker * each
    return range(first, first + each)


def build_switchboard(
    config: Config,
    pbx: Pbx,
    desks: Desks,
    publish: Callable[[Event], None],
    mix_when: Callable[[int], bool] | None = None,
    notes: PbxNotes | None = None,
) -> Switchboard:
    return Switchboard(pbx, desks, switchboard_settings(config), publish, mix_when, notes)


def switchboard_settings(config: Config) -> SwitchboardSettings:
    """Which calls are taken, and how they are tapped."""
    media, asterisk = config.media, config.asterisk
    freeswitch = config.pbx == "freeswitch"
    in_dialplan = not freeswitch and asterisk.via == "ari" and asterisk.tap != "external"
    taps = TapSettings(
        app=asterisk.app,
        context=asterisk.tap_context if in_dialplan else "",
        advertise=media.advertised,
        media_url=asterisk.media_url,
        client=asterisk.websocket_client,
    )
    return SwitchboardSettings(
        taps=taps,
        ways=way_settings(config),
        user_event=ANNOUNCED if freeswitch else asterisk.user_event,
        early_media=media.early_media,
        preopen=config.rtzr.preopen == "ring",
        max_legs=config.overload.max_legs,
        prices=config.cost.prices,
        rules=tuple(rule.rule() for rule in config.rules),
        trunks=config.trunk_contexts,
        wishes=wish_ways(config),
        consent=frozenset(rule.name for rule in config.rules if rule.consent),
        rtp=None if freeswitch or asterisk.rtp_range is None else RtpBudget.of(*asterisk.rtp_range),
    )
