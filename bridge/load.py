"""What this process takes of the machine: its CPU, how late its loop is, and how many files it may open.

It measures; what follows from the figures is `wire.door`'s and an administrator's concern.
"""

import asyncio
import resource
import time
from collections.abc import Callable

_TICK_S = 0.05
_TICKS = 5

Observe = Callable[[float, float], None]
"""Called four times a second with the CPU seconds of this process so far, and with the loop's worst lag since
the last call, in milliseconds."""


async def watch_load(observe: Observe) -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        lag_s = 0.0
        for _ in range(_TICKS):
            due_s = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            lag_s = max(lag_s, loop.time() - due_s)
        observe(time.process_time(), lag_s * 1000)


def raise_file_limit() -> int:
    """Let this process, and its workers, open as many files as the system allows; how many that is.

    A leg takes two: its UDP port and its socket to RTZR.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a platform that says "unlimited" and does not mean it
            return soft
    return hard
