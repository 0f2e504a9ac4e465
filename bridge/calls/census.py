"""All that the PBX has, asked for in full: what a roster compares with what it knows. It asks, and decides
nothing."""

import asyncio
from collections.abc import Sequence

import structlog

from bridge.calls.errands import told
from bridge.pbx import Pbx
from bridge.types import CallId
from bridge.wire.census import Census, Mark
from bridge.wire.pbxevents import LINKEDID, Channel, PbxError, PbxRefused, PbxUnreachable
from bridge.wire.wishes import VARIABLE

_log = structlog.get_logger()

MARK = "RTZR_CALL"
"""The variable that the dialplan's one line leaves on the announcing channel and on those it dials."""


async def census(pbx: Pbx, *, rules: bool) -> Census:
    """`rules`: whether calls without a mark can be ours. Raises PbxRefused, PbxUnreachable and PbxError."""
    channels = await pbx.channels()
    marks = await asyncio.gather(*(_mark(pbx, channel) for channel in channels))
    found = {one.id: mark for one, mark in zip(channels, marks, strict=True) if mark is not None}
    families = await _families(pbx, [one for one in channels if one.id not in found]) if rules else {}
    pauses = await asyncio.gather(*(_pause(pbx, one) for one in channels if one.person))
    set_ = {channel: value for channel, value in pauses if value is not None}
    return Census(channels, found, families, await pbx.bridges(), set_)


async def _mark(pbx: Pbx, channel: Channel) -> Mark | None:
    return Mark.read(await _variable(pbx, channel, MARK))


async def _pause(pbx: Pbx, channel: Channel) -> tuple[str, str | None]:
    return channel.id, await _variable(pbx, channel, VARIABLE)


async def _variable(pbx: Pbx, channel: Channel, name: str) -> str | None:
    try:
        return await pbx.variable(channel.id, name)
    except (PbxRefused, PbxError) as error:
        _log.warning("channel not read", reason=told(error))
        return None


async def _families(pbx: Pbx, channels: Sequence[Channel]) -> dict[str, CallId]:
    """The linkedids of channels that nobody has marked."""
    asked = [pbx.variable(channel.id, LINKEDID) for channel in channels]
    linkedids = await asyncio.gather(*asked)
    return {one.id: linkedid for one, linkedid in zip(channels, linkedids, strict=True) if linkedid}


async def family(pbx: Pbx, channel: Channel) -> CallId | None:
    """The linkedid of one channel; None where it cannot be asked and could be anything."""
    try:
        return await pbx.variable(channel.id, LINKEDID) or channel.id
    except (PbxRefused, PbxUnreachable) as error:
        _log.warning("request to the pbx failed", reason=told(error))
        return None if channel.local else channel.id  # as it is for whoever calls from a telephone
