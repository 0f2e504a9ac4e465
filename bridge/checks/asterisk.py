"""`rtzr-bridge check`: what Asterisk's own settings and clock are, compared with what we take them to be.

All of it is read with the rights that a run has anyhow: the dialplan's function AST_CONFIG reads a file of
the PBX's, over AMI by itself, over ARI on a channel: a telephone of ours, which is gone afterwards.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from bridge.checks.finding import Finding, Verdict
from bridge.checks.selftest import NOBODYS_PORT
from bridge.config import Config
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.wire import rtpbudget
from bridge.wire.pbxevents import PbxError, PbxInfo, PbxRefused, PbxUnreachable
from bridge.wire.rtpbudget import RtpBudget, RtpRange
from bridge.wire.skew import ahead_s

_CALL = 4
"""Pairs of ports: two telephones and their taps."""
_SESSIONS = 40
"""HTTP sessions: our one of events, at most 32 of requests, and somebody else's."""
_DEFAULT_SESSIONS = 100
_CLOCK_S = 2.0
_FAILED = (PbxRefused, PbxUnreachable, PbxError)

_SETTINGS = (("rtp.conf", "rtpstart"), ("rtp.conf", "rtpend"), ("http.conf", "sessionlimit,-1"))
"""Of a key that is given twice, Asterisk takes the first in rtp.conf, and the last in http.conf."""

unix_s: Callable[[], float] = time.time


async def settings(pbx: Ari | Ami, app: str, config: Config, info: PbxInfo) -> list[Finding]:
    """Clock, RTP ports, HTTP and rights; `info` is what the PBX has told of by itself."""
    found = [await _clock(pbx)]
    if isinstance(pbx, Ami):
        return [*found, rtp_range(config, info.rtp_range), _rights(pbx, config)]
    try:
        async with _telephone(pbx, app, config) as phone:
            first, last, sessions = [await _setting(pbx, phone, file, key) for file, key in _SETTINGS]
    except _FAILED:  # the tap, tried later, says why
        first = last = sessions = None
    known = rtpbudget.read(first or "", last or "")
    return [
        *found,
        rtp_range(config, known),
        _http(sessions, readable="func_config.so" in (info.modules or ())),
    ]


@asynccontextmanager
async def _telephone(pbx: Ari, app: str, config: Config) -> AsyncIterator[str]:
    """A channel to ask on; it says nothing, and would say it to nobody."""
    phone = f"{app}.phone.{uuid4().hex}"
    try:
        await pbx.originate_phone(phone, config.media.advertised, NOBODYS_PORT)
        yield phone
    finally:
        await pbx.hangup(phone)


async def _setting(pbx: Ari, phone: str, file: str, name: str) -> str | None:
    """A key of a file's `[general]`; None where there is none, or no AST_CONFIG."""
    try:
        return await pbx.variable(phone, f"AST_CONFIG({file},general,{name})")
    except PbxRefused:
        return None


async def _clock(pbx: Ari | Ami) -> Finding:
    asked_s = unix_s()
    try:
        second = await pbx.epoch_s()
    except _FAILED as error:
        why = f"the PBX's is not known: {type(error).__name__} {error}".strip()
        return Finding("pbx clock", Verdict.WARNING, why, "compare 'date' on both machines")
    return clock(
        "pbx clock", ahead_s(second, asked_s, unix_s()), "times of calls that are live at a start go wrong"
    )


def clock(name: str, ahead: float, harm: str) -> Finding:
    """Whether this machine's clock is near the other's, `ahead` of which it is by so many seconds."""
    if abs(ahead) <= _CLOCK_S:
        return Finding(name, Verdict.OK, f"within {_CLOCK_S:g} s of this machine's")
    text = f"this machine's is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}: {harm}"
    return Finding(name, Verdict.WARNING, text, "set both by NTP (chrony or systemd-timesyncd)")


def rtp_range(config: Config, known: RtpRange | None) -> Finding:
    """Whether we know how many ports the PBX has: it crashes when a tap finds none."""
    name, given = "rtp range", config.asterisk.rtp_range
    if config.asterisk.transport not in ("auto", "rtp"):
        return Finding(name, Verdict.OK, f"taps over {config.asterisk.transport} take no RTP port of the PBX")
    if known is not None and given != known and (given is not None or config.asterisk.via == "ari"):
        said = "is not given" if given is None else f"is [{given[0]}, {given[1]}]"
        text = f"rtp.conf has {known[0]} to {known[1]}, and asterisk.rtp_range {said}"
        return Finding(name, Verdict.FAULT, text, f"write asterisk.rtp_range: [{known[0]}, {known[1]}]")
    taken = given or known
    if taken is None:
        mend = "sudo asterisk -rx 'rtp show settings' shows both ports: give them as asterisk.rtp_range"
        return Finding(name, Verdict.WARNING, "not given: taps could use up the PBX's ports", mend)
    budget = RtpBudget.of(*taken)
    text = f"{budget.pairs} pairs of ports, {budget.spare} of them never for taps"
    if budget.room(0, 0) < _CALL:
        return Finding(name, Verdict.FAULT, text, "no call could be tapped: widen it in rtp.conf")
    how = "as rtp.conf has it" if known is not None else "rtp.conf is not readable: see 'rtp show settings'"
    return Finding(name, Verdict.OK, f"{text}; {how}")


def _http(sessions: str | None, *, readable: bool) -> Finding:
    """Whether the PBX's HTTP server has room for us: beyond its limit it drops connections."""
    name = "http sessions"
    if sessions is None and not readable:
        mend = f"look in http.conf: sessionlimit should be {_SESSIONS} or more (without the line it is 100)"
        return Finding(name, Verdict.WARNING, "http.conf is not readable (func_config is not loaded)", mend)
    limit = int(sessions) if sessions and sessions.isascii() and sessions.isdigit() else _DEFAULT_SESSIONS
    if limit >= _SESSIONS:
        return Finding(name, Verdict.OK, f"sessionlimit is {limit}")
    mend = (
        f"sessionlimit = 200 in http.conf, then sudo asterisk -rx 'module reload http'; {_SESSIONS} at least"
    )
    return Finding(name, Verdict.WARNING, f"sessionlimit is {limit}, too few under load", mend)


def _rights(pbx: Ami, config: Config) -> Finding:
    """What the account may not do, though a sink needs it, and what it may do for nothing."""
    name, mend = "rights", "in manager.conf, as dialplan/asterisk/manager.conf has it"
    if config.sinks.pbx.user_event is not None and not pbx.may("UserEvent"):
        text = "the account lacks the right user, which sinks.pbx.user_event needs"
        return Finding(name, Verdict.FAULT, text, f"add it to write= {mend}")
    if pbx.needless:
        text = f"the account may do more than it needs: {', '.join(pbx.needless)}"
        return Finding(name, Verdict.WARNING, text, f"take them out of write= {mend}")
    return Finding(name, Verdict.OK, "all that are needed, and none beyond")
