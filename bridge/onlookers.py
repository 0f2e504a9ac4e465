"""Who only looks on, once a second: a fault there is told, and ends neither the daemon nor a call."""

import asyncio
from collections.abc import Callable

import structlog

_log = structlog.get_logger()

_TICK_S = 1.0


async def every_second(look: Callable[[], None], who: str) -> None:
    """Until cancelled. What fails second after second is told once."""
    failing = False
    while True:
        try:
            look()
            failing = False
        except Exception:
            if not failing:
                _log.exception("an onlooker failed; calls go on without it", who=who)
            failing = True
        await asyncio.sleep(_TICK_S)
