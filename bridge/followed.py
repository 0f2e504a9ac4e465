"""A PBX whose events are read for as long as something is asked of it, by a command and not by the daemon.

FreeSWITCH and AMI answer over the very connection that brings events; nothing here looks at one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from bridge.pbx import Pbx
from bridge.wire.pbxevents import Connected, PbxInfo

PATIENCE_S = 8.0
_ASKED_AGAIN_S = 0.05


@asynccontextmanager
async def followed(pbx: Pbx, given_up: Callable[[], bool] = lambda: False) -> AsyncIterator[PbxInfo | None]:
    """Who it is, the PBX being entered; None when it cannot be reached within `PATIENCE_S`, or before that
    once `given_up` says so."""
    now_s = asyncio.get_running_loop().time
    connected: asyncio.Future[PbxInfo] = asyncio.get_running_loop().create_future()

    async def follow() -> None:
        async with aclosing(pbx.events()) as events:
            async for event in events:
                if isinstance(event, Connected) and not connected.done():
                    connected.set_result(event.pbx)

    following = asyncio.create_task(follow())
    try:
        until_s = now_s() + PATIENCE_S
        while not (connected.done() or following.done() or given_up() or now_s() >= until_s):
            await asyncio.wait({connected}, timeout=_ASKED_AGAIN_S)
        yield connected.result() if connected.done() else None
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
