"""`rtzr-bridge explain --channel`: what the PBX says of a live channel, as the facts that rules look at.

It asks, and changes nothing. What the rules make of it, and what is printed, is `explain`'s.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from bridge.config import Config
from bridge.explain.log import ExplainError
from bridge.followed import followed
from bridge.net.ami import Ami
from bridge.net.freeswitch import FreeSwitch
from bridge.pbx import Pbx
from bridge.types import CallId
from bridge.wire.freeswitch import QUEUE
from bridge.wire.pbxevents import LINKEDID, Channel, PbxError, PbxRefused, PbxUnreachable
from bridge.wire.rules import Direction, Facts, matches
from bridge.wire.selection import facts_of
from bridge.wiring import open_pbx

_SEE = {
    "freeswitch": "freeswitch.esl_host and esl_port",
    "ari": "asterisk.ari_url",
    "ami": "asterisk.ami_host and ami_port",
}
_LIST = {
    "freeswitch": "fs_cli -x 'show channels'",
    "asterisk": "the last field of 'core show channels concise'",
}


async def facts(config: Config, channel: str) -> tuple[CallId, Facts]:
    """The call of a live channel, and what is known of whoever calls in it. Raises ExplainError."""
    async with open_pbx(config) as pbx, _answering(pbx):
        try:
            return await _asked(pbx, config, channel)
        except (PbxRefused, PbxUnreachable, PbxError) as error:
            why = getattr(pbx, "why", "") or f"{type(error).__name__} {error}"
            way = config.asterisk.via if config.pbx == "asterisk" else config.pbx
            raise ExplainError(f"{config.pbx}: {why}; see {_SEE[way]}") from None


@asynccontextmanager
async def _answering(pbx: Pbx) -> AsyncIterator[None]:
    """FreeSWITCH and AMI answer while their events are read. ARI answers anyhow, and to read its events would
    take them from a daemon."""
    if isinstance(pbx, FreeSwitch | Ami):
        async with followed(pbx, lambda: bool(pbx.why)):
            yield
    else:
        yield


async def _asked(pbx: Pbx, config: Config, channel: str) -> tuple[CallId, Facts]:
    live = {one.id: one for one in await pbx.channels()}
    if channel not in live:
        raise ExplainError(f"--channel: no such live channel; take one from {_LIST[config.pbx]}")
    call = await pbx.variable(channel, LINKEDID) or channel
    asked = live[channel]
    if asked.dialled and call in live:  # rules are asked about who calls, and never about whom it dials
        asked = live[call]
    names = {name for rule in config.rules for name in rule.match.variables}
    variables = {name: await pbx.variable(asked.id, name) for name in sorted(names)}
    known = facts_of(asked, config.trunk_contexts)
    if known.direction is None:
        known = replace(known, direction=await _direction(pbx, asked, live, config.trunk_contexts))
    return call, replace(
        known,
        queue=await _queue(pbx, asked),
        variables={name: value for name, value in variables.items() if value is not None},
    )


async def _queue(pbx: Pbx, asked: Channel) -> str:
    if isinstance(pbx, FreeSwitch):
        return await pbx.variable(asked.id, QUEUE) or ""
    return asked.application_data.partition(",")[0] if asked.application == "Queue" else ""


async def _direction(
    pbx: Pbx, asked: Channel, live: Mapping[str, Channel], trunks: Iterable[str]
) -> Direction | None:
    """By whom it talks to; None while it is alone."""
    for bridge in await pbx.bridges():
        if asked.id in bridge.channels:
            for peer in map(live.get, bridge.channels - {asked.id}):
                if peer is not None and not peer.local:
                    return Direction.OUT if matches(tuple(trunks), peer.context) else Direction.INTERNAL
    return None
