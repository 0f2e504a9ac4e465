"""`rtzr-bridge check`: everything that a call will need, tried now, each with a line and the mend.

It changes nothing, touches nobody's call and does not disturb a daemon that runs: it has a Stasis application
of its own. RTZR and Asterisk are here, FreeSWITCH is in `freeswitch`, where events go in `deliveries`.
"""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bridge import logs
from bridge.checks import asterisk, deliveries, freeswitch
from bridge.checks.finding import Finding, Verdict
from bridge.checks.selftest import PURE, tone_through_tap
from bridge.commands.ending import JsonOption
from bridge.config import DEFAULT_CONFIG, Config, ConfigError, load
from bridge.followed import followed
from bridge.leg.inlets import NoInlet
from bridge.loops import new_loop
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.waiting import waited
from bridge.wire import knownbad
from bridge.wire.pbxevents import Gone, PbxError, PbxInfo, PbxRefused, PbxUnreachable
from bridge.wire.rtzr import Refused, Unreachable
from bridge.wiring import build_asterisk, build_rtzr, build_tokens

_MODULES = ("chan_rtp.so", "app_chanspy.so", "res_rtp_asterisk.so", "func_cdr.so")


def command(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.")] = DEFAULT_CONFIG,
    session: Annotated[bool, typer.Option(help="Open a session too: RTZR bills 10 s for it.")] = True,
    call: Annotated[
        bool, typer.Option("--call", help="FreeSWITCH: hear a tone too, in a call within it of 20 s at most.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Try everything that a call will need: RTZR, where events go, the PBX, ports, and a tone through a real
    tap (of FreeSWITCH's, with --call).

    Exit code: 0 all is well or only warned of, 1 something is wrong, 2 the configuration is.
    """
    logs.set_up("critical", "brief")
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        typer.echo(
            _json([Finding("configuration", Verdict.FAULT, str(error))]) if json_ else str(error),
            err=not json_,
        )
        raise typer.Exit(2) from None
    findings = [Finding("configuration", Verdict.OK, str(config))]
    with asyncio.Runner(loop_factory=new_loop) as runner, waited("RTZR", quiet=json_) as trying:
        findings += runner.run(run(loaded, session=session, call=call, trying=trying))
    typer.echo(_json(findings) if json_ else _text(findings))
    raise typer.Exit(1 if any(one.verdict is Verdict.FAULT for one in findings) else 0)


async def run(
    config: Config,
    *,
    session: bool = True,
    call: bool = False,
    trying: Callable[[str], None] = lambda _what: None,
) -> list[Finding]:
    """All but the configuration, in the order in which a call would meet it. `call`: FreeSWITCH may make one
    of its own. `trying` is told what comes next."""
    trying("RTZR: a token, and a session" if session else "RTZR: a token")
    found = await _rtzr(config, session=session)
    trying("where events go")
    found += await deliveries.findings(config)
    if config.pbx == "freeswitch":
        trying("FreeSWITCH, and a call within it: 20 s at most" if call else "FreeSWITCH")
        return [*found, *await freeswitch.findings(config, call=call)]
    trying("the ports for audio")
    found.append(_ports(config))
    return [*found, *await _asterisk(config, trying)]


async def _rtzr(config: Config, *, session: bool) -> list[Finding]:
    findings: list[Finding] = []
    now_s = asyncio.get_running_loop().time
    async with build_tokens(config) as tokens:
        name = "rtzr token"
        try:
            began_s = now_s()
            await tokens.get()
            findings.append(Finding(name, Verdict.OK, f"issued in {1000 * (now_s() - began_s):.0f} ms"))
            if tokens.ahead_s is not None:
                findings.append(
                    asterisk.clock("rtzr clock", tokens.ahead_s, "tokens end sooner than they say")
                )
            if not session:
                return findings
            name, began_s = "rtzr session", now_s()
            opened = await build_rtzr(config, tokens).open(config.media.encoding)
            findings.append(Finding(name, Verdict.OK, f"opened in {1000 * (now_s() - began_s):.0f} ms"))
            opened.end()
            await opened.close()
        except Refused as error:
            mend = "check RTZR_CLIENT_ID and RTZR_CLIENT_SECRET, and the options under rtzr:"
            findings.append(Finding(name, Verdict.FAULT, str(error), mend))
        except Unreachable as error:
            mend = "check rtzr's URLs, rtzr.proxy, rtzr.ca_file and the firewall"
            findings.append(Finding(name, Verdict.FAULT, str(error), mend))
    return findings


def _ports(config: Config) -> Finding:
    """Whether the ports that legs get can be had."""
    media = config.media
    family = socket.AF_INET6 if ":" in media.bind else socket.AF_INET
    free, ports = 0, range(media.first_port, media.last_port + 1)
    for port in ports:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((media.bind, port))
            except OSError:
                continue
            free += 1
    text = f"{free} of {len(ports)} UDP ports of {media.bind} are free"
    if free == len(ports):
        return Finding("media ports", Verdict.OK, text)
    verdict = Verdict.WARNING if free else Verdict.FAULT
    return Finding("media ports", verdict, text, "one is a leg: see media.bind, first_port and last_port")


async def _asterisk(config: Config, trying: Callable[[str], None]) -> list[Finding]:
    trying(f"Asterisk over {config.asterisk.via}")
    app = f"{config.asterisk.app}.check"
    section = config.asterisk.model_copy(update={"app": app})
    own = config.model_copy(update={"asterisk": section})
    async with build_asterisk(own) as pbx, followed(pbx) as info:
        if info is None:
            why, _, mend = pbx.why.partition("; ")
            mend = mend or f"is Asterisk up, and {config.asterisk.via} enabled at that address?"
            text = f"{why or 'does not answer'} (user {config.asterisk.username})"
            return [asterisk.rtp_range(config, None), Finding("asterisk", Verdict.FAULT, text, mend)]
        findings = [
            Finding("asterisk", Verdict.OK, f"{info.version} over {config.asterisk.via}"),
            *_version(info),
        ]
        if info.modules is not None:
            findings.append(_modules(info.modules))
        findings += await asterisk.settings(pbx, app, config, info)
        trying("a tone through a real tap")
        findings.append(await _tap(pbx, info, app, config))
        findings.append(await _left(pbx, app))
    return findings


def _version(info: PbxInfo) -> list[Finding]:
    number = knownbad.version(info.version)
    if number is None:
        return [
            Finding("version", Verdict.WARNING, f"{info.version} is not known", "tested with Asterisk 22")
        ]
    if knownbad.too_old(number):
        return [Finding("version", Verdict.FAULT, "too old for any tap", "update to Asterisk 20 or 22")]
    return [
        Finding("version", Verdict.WARNING, fault, "update Asterisk") for fault in knownbad.faults(number)
    ]


def _modules(running: frozenset[str]) -> Finding:
    missing = [module for module in _MODULES if module not in running]
    if not missing:
        return Finding("modules", Verdict.OK, f"{len(_MODULES)} of {len(_MODULES)} run")
    mend = f"sudo asterisk -rx 'module load {missing[0]}', and see modules.conf"
    return Finding("modules", Verdict.FAULT, f"not running: {', '.join(missing)}", mend)


async def _tap(pbx: Ari | Ami, info: PbxInfo, app: str, config: Config) -> Finding:
    """A tone through a real tap: rights, context, ports, codec and byte order at once."""
    media, name = config.media, "tap"
    try:
        heard = await tone_through_tap(pbx, info, app, config)
    except (Gone, PbxRefused, PbxUnreachable, PbxError) as error:
        mend = _TAP_MEND["external" if config.asterisk.tap == "external" else config.asterisk.via]
        return Finding(name, Verdict.FAULT, f"{type(error).__name__} {error}".strip(), mend)
    except NoInlet as error:
        mend = "see media's bind and ports; is a port that a running daemon has? then try again without it"
        return Finding(name, Verdict.FAULT, str(error), mend)
    by = f"{heard.way.kind} over {heard.way.transport}"
    if heard.share is None:
        mend = f"can the PBX reach {media.advertised} there, and is its own side up? see docs/taps.md"
        return Finding(name, Verdict.FAULT, f"the tap ({by}) began, and no audio came", mend)
    if heard.share < PURE:
        mend = "try media.codec: ulaw; is codec_ulaw, codec_alaw or a patch of the PBX broken?"
        text = f"a tone came back changed ({by}; {heard.share:.0%} of it is left)"
        return Finding(name, Verdict.FAULT, text, mend)
    text = f"a tone came back as {heard.way.codec.label} ({by}), {heard.share:.0%} of it pure"
    return Finding(name, Verdict.OK, text)


_TAP_MEND = {
    "ari": "is dialplan/asterisk/extensions.conf pasted and loaded? sudo asterisk -rx 'dialplan reload'",
    "ami": "are app_chanspy and the transport's module loaded, and the rights those of our manager.conf?",
    "external": "are res_stasis_snoop and the transport's module loaded? see docs/taps.md",
}


async def _left(pbx: Ari | Ami, app: str) -> Finding:
    """The taps end with what they tap; they are given a moment."""
    left: Sequence[str] = ()
    for _ in range(40):
        try:
            left = [one.id for one in await pbx.channels() if one.id.startswith(f"{app}.")]
        except (PbxRefused, PbxUnreachable, PbxError) as error:
            return Finding("clean", Verdict.WARNING, f"{type(error).__name__} {error}".strip())
        if not left:
            return Finding("clean", Verdict.OK, "nothing of the check is left in the PBX")
        await asyncio.sleep(0.05)
    mend = "sudo asterisk -rx 'channel request hangup all' when no call is up"
    return Finding("clean", Verdict.WARNING, f"{len(left)} channels of the check are left", mend)


def _text(findings: Sequence[Finding]) -> str:
    width = max(len(one.name) for one in findings)
    lines = []
    for one in findings:
        lines.append(f"{one.verdict:5}  {one.name:{width}}  {one.text}")
        if one.mend:
            lines.append(f"{'':5}  {'':{width}}  -> {one.mend}")
    return "\n".join(lines)


def _json(findings: Sequence[Finding]) -> str:
    document = {
        "ok": not any(one.verdict is Verdict.FAULT for one in findings),
        "findings": [
            {"name": one.name, "verdict": one.verdict, "text": one.text, "mend": one.mend} for one in findings
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)
