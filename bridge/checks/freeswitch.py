"""`rtzr-bridge check` of a FreeSWITCH: its event socket, media module, settings and clock, our media ports,
and with `--call` a tone through a real stream.

Without `--call` nothing is changed there and no call is made. RTZR's part and what is printed are `check`'s.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Sequence
from uuid import uuid4

from bridge.checks.asterisk import clock
from bridge.checks.deliveries import runs_here
from bridge.checks.finding import Finding, Verdict
from bridge.checks.selftest import PURE, tone_call, tone_through_stream
from bridge.config import Config
from bridge.credentials import DEFAULT_PASSWORD
from bridge.followed import followed
from bridge.leg.inlets import NoInlet
from bridge.net.freeswitch import FreeSwitch
from bridge.wire import knownbad
from bridge.wire.mediastream import Module
from bridge.wire.pbxevents import STATE, Gone, PbxError, PbxInfo, PbxRefused, PbxUnreachable
from bridge.wire.skew import ahead_s
from bridge.wire.taporder import TapKind
from bridge.wiring import build_freeswitch, ports_for, ports_of, workers_of

_FAILED = (PbxRefused, PbxUnreachable, PbxError, Gone)
_TESTED = ((1, 10), (1, 11))
_BUFFER = "STREAM_BUFFER_SIZE"
_BUFFER_MS = 20
"""What mod_audio_stream sends at once where that variable is not set: it fits every packet time."""
_HIGHEST_PORT = 65_535


async def findings(config: Config, *, call: bool) -> list[Finding]:
    """In the order in which a call would meet it. `call`: one may be made."""
    found = [*await asyncio.to_thread(_media, config), *_stream(config)]
    pbx = build_freeswitch(config)
    async with pbx, followed(pbx, lambda: bool(pbx.why)) as info:
        if info is None:
            return [*found, _unreachable(pbx, config)]
        module = _module(info.modules or frozenset(), config)
        found += [*_reached(info, config), module, await _clock(pbx), *await _settings(pbx, config)]
        if call and module.verdict is not Verdict.FAULT:
            found += await _call(pbx, config)
    return found


# On our side.


def _media(config: Config) -> list[Finding]:
    """Whether streams can be met, each worker's, and over TLS where they are to be."""
    found = [_ports(config)]
    if config.freeswitch.media_tls_cert is not None:
        found.append(_tls(config))
    return found


def _ports(config: Config) -> Finding:
    name, media = "media ports", config.media
    ports = media.websocket_ports(workers_of(config))
    where = f"TCP {ports[0]}" + (f" to {ports[-1]}" if len(ports) > 1 else "") + f" of {media.bind}"
    if ports[-1] > _HIGHEST_PORT:
        mend = "give a lower media.websocket_port, or fewer workers: each has one port"
        return Finding(name, Verdict.FAULT, f"{where}: there are no such ports", mend)
    for port in ports:
        try:
            _listen(media.bind, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and runs_here(config):
                return Finding(name, Verdict.OK, f"{where}: the daemon's that runs")
            text = f"{port} of {media.bind} is not to be had ({error.strerror})"
            return Finding(name, Verdict.FAULT, text, _port_mend(error))
    return Finding(name, Verdict.OK, f"{where}: free, one a worker")


def _listen(address: str, port: int) -> None:
    """For an instant, as a worker would. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        probe.listen(1)


def _port_mend(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            "does a running daemon have it? then try again without it; else give another media.websocket_port"
        )
    return "give an address of this machine as media.bind, and a port from 1024 on as media.websocket_port"


def _tls(config: Config) -> Finding:
    name = "media tls"
    try:
        ports_for(config, ports_of(config, 0), 0).media_tls()
    except ssl.SSLError as error:
        mend = "give PEM files that belong together as freeswitch.media_tls_cert and media_tls_key"
        return Finding(name, Verdict.FAULT, f"certificate and key will not do ({error.reason})", mend)
    except OSError as error:
        mend = "see freeswitch.media_tls_cert and media_tls_key: may this user read them?"
        return Finding(name, Verdict.FAULT, f"files cannot be read ({error.strerror})", mend)
    return Finding(name, Verdict.OK, "certificate and key belong together")


def _stream(config: Config) -> list[Finding]:
    if config.freeswitch.kind is not TapKind.STEREO:
        return []
    text = "stereo streams can fall behind for a whole call, and lose its end"
    return [Finding("stream", Verdict.WARNING, text, "freeswitch.stream: mono")]


# What FreeSWITCH is.


def _address(config: Config) -> str:
    return f"{config.freeswitch.esl_host}:{config.freeswitch.esl_port}"


def _unreachable(pbx: FreeSwitch, config: Config) -> Finding:
    why, _, mend = pbx.why.partition("; ")
    mend = mend or (
        "is FreeSWITCH up, and are listen-ip and listen-port of event_socket.conf.xml those of "
        "freeswitch.esl_host and esl_port?"
    )
    return Finding(
        "freeswitch", Verdict.FAULT, f"{why or 'does not answer'} (ESL at {_address(config)})", mend
    )


def _reached(info: PbxInfo, config: Config) -> list[Finding]:
    found = [Finding("freeswitch", Verdict.OK, f"{info.version} over ESL at {_address(config)}")]
    if config.secrets.esl_password == DEFAULT_PASSWORD:
        text = "is the one that every FreeSWITCH has at first: who reaches the event socket may do anything"
        mend = "set another in event_socket.conf.xml, and as ESL_PASSWORD"
        found.append(Finding("password", Verdict.WARNING, text, mend))
    number = knownbad.version(info.version)
    if number is None or number[:2] not in _TESTED:
        age = "older than" if number is not None and number[:2] < _TESTED[0] else "other than"
        tested = " and ".join(".".join(map(str, one)) for one in _TESTED)
        mend = f"update FreeSWITCH, or listen to a call: tested with {tested}"
        found.append(Finding("version", Verdict.WARNING, f"{age} those that were tested", mend))
    return found


def _module(loaded: frozenset[str], config: Config) -> Finding:
    """Which media module a call would have, if it is there."""
    name, given = "module", config.freeswitch.module
    ours = [module for module in Module if module.label in loaded]
    if given != "auto":
        wanted = Module[given.upper()]
        if wanted not in ours:
            others = f", and {ours[0].label} is" if ours else ""
            text = f"freeswitch.module is {given}, and {wanted.label} is not loaded{others}"
            mend = _load(wanted) + (", or freeswitch.module: auto" if ours else "")
            return Finding(name, Verdict.FAULT, text, mend)
        return Finding(name, Verdict.OK, f"{wanted.label} is loaded")
    if not ours:
        text = "neither mod_audio_stream nor mod_audio_fork is loaded: no call can be heard"
        return Finding(name, Verdict.FAULT, text, f"{_load(Module.AUDIO_STREAM)}: docs/freeswitch.md")
    if len(ours) > 1:
        text = f"{' and '.join(one.label for one in ours)} are loaded: {ours[0].label} is taken"
        return Finding(name, Verdict.OK, f"{text} (freeswitch.module says which)")
    return Finding(name, Verdict.OK, f"{ours[0].label} is loaded")


def _load(module: Module) -> str:
    return f"fs_cli -x 'load {module.label}', and see modules.conf.xml"


async def _clock(pbx: FreeSwitch) -> Finding:
    asked_s = time.time()
    try:
        second = await pbx.epoch_s()
    except _FAILED as error:
        why = f"the PBX's is not known: {type(error).__name__} {error}".strip()
        return Finding("pbx clock", Verdict.WARNING, why, "compare 'date' on both machines")
    harm = "times of calls that are live at a start are off by up to half a second"
    return clock("pbx clock", ahead_s(second, asked_s, time.time()), harm)


async def _settings(pbx: FreeSwitch, config: Config) -> list[Finding]:
    """Of the global variables that mod_audio_stream goes by, the one that can keep it silent."""
    given = config.freeswitch.module
    if given == "audio_fork":
        return []
    try:
        value = await pbx.setting(_BUFFER)
    except _FAILED as error:
        text = f"{_BUFFER} is not known: {type(error).__name__} {error}".strip()
        return [Finding("variables", Verdict.WARNING, text, f"fs_cli -x 'global_getvar {_BUFFER}'")]
    return [_buffer(value)]


def _buffer(value: str | None) -> Finding:
    name, mend = "variables", f"take {_BUFFER} out of vars.xml, then fs_cli -x 'global_setvar {_BUFFER}='"
    if value is None or value == str(_BUFFER_MS):
        return Finding(name, Verdict.OK, "none that harms a stream is set for all calls")
    ms = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
    if not ms or ms % _BUFFER_MS:
        text = f"{_BUFFER} is set for all calls and no multiple of {_BUFFER_MS}: streams may send nothing"
        return Finding(name, Verdict.FAULT, text, mend)
    text = (
        f"{_BUFFER} is {ms} for all calls: text comes later, and of calls whose packets do not fit into that "
        "none at all"
    )
    return Finding(name, Verdict.WARNING, text, mend)


# A call.


async def _call(pbx: FreeSwitch, config: Config) -> list[Finding]:
    """A tone within FreeSWITCH through a real stream: module, way back, rate and byte order at once."""
    name, channel, up = "tap", str(uuid4()), False
    legs: Sequence[str] = (channel,)
    try:
        async with tone_call(pbx, channel) as legs:
            up = True
            tap = _heard(await tone_through_stream(pbx, channel, config), config)
    except NoInlet as error:
        mend = "see media.bind and websocket_port; is it a running daemon's? then try again without it"
        tap = Finding(name, Verdict.FAULT, str(error), mend)
    except _FAILED as error:
        text = f"{type(error).__name__} {error}".strip()
        mend = _stream_mend(config, text=str(error)) if up else _CALL_MEND
        tap = Finding(name, Verdict.FAULT, text, mend)
    return [tap, await _left(pbx, legs)]


_CALL_MEND = (
    "a call within FreeSWITCH needs its own modules: fs_cli -x 'load mod_loopback', 'load mod_tone_stream', "
    "'load mod_dptools'"
)


def _stream_mend(config: Config, text: str) -> str:
    """`text`: why there is no stream; where that is FreeSWITCH's own word it has not even tried."""
    if text.startswith("-ERR"):
        return (
            "FreeSWITCH's log says why: is the module built from the sources of this FreeSWITCH? see "
            "docs/freeswitch.md"
        )
    mend = f"can FreeSWITCH reach {config.media.advertised} at TCP {config.media.websocket_port}?"
    if config.freeswitch.media_tls_cert is None:
        return f"{mend} see docs/freeswitch.md"
    return f"{mend} Was its module built with TLS, and does it trust our certificate? see docs/freeswitch.md"


def _heard(share: float | None, config: Config) -> Finding:
    name, codec = "tap", config.freeswitch.codec.label
    if share is None:
        mend = f"is mod_tone_stream loaded, and {_BUFFER} not set? fs_cli -x 'load mod_tone_stream'"
        return Finding(name, Verdict.FAULT, "the stream began, and no audio came", mend)
    if share < PURE:
        text = f"a tone came back changed (as {codec}; {share:.0%} of it is left)"
        mend = "is the module built from the sources of this FreeSWITCH? try freeswitch.rate: 8000"
        return Finding(name, Verdict.FAULT, text, mend)
    return Finding(name, Verdict.OK, f"a tone came back as {codec} (mono stream), {share:.0%} of it pure")


async def _left(pbx: FreeSwitch, legs: Sequence[str]) -> Finding:
    """The call is hung up; its two halves are given a moment."""
    left: Sequence[str] = ()
    for _ in range(40):
        try:
            left = [leg for leg in legs if await pbx.variable(leg, STATE) is not None]
        except _FAILED as error:
            text = f"{type(error).__name__} {error}".strip()
            return Finding("clean", Verdict.WARNING, text, "fs_cli -x 'show channels'")
        if not left:
            return Finding("clean", Verdict.OK, "nothing of the check is left in the PBX")
        await asyncio.sleep(0.05)
    mend = f"fs_cli -x 'uuid_kill {left[0]}'"
    return Finding("clean", Verdict.WARNING, f"{len(left)} channels of the check are left", mend)
