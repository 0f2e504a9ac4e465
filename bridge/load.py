"""What a process takes of the machine: its CPU, how late its loop is, its files, and its garbage.

It measures, and sets what a process may set for itself; what follows from the figures is for `wire.door`.
"""

import asyncio
import gc
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 0.05
_TICKS = 5
_LOOK_S, _HOUR_S = 60.0, 3600.0

_CLOCK_HZ = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()

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


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used, or uses."""

    cpu_s: float
    resident_bytes: int
    files: int


def usage(pid: int) -> Usage | None:
    """Of a process of this user; None where it is gone, or the system has no /proc (proc(5))."""
    home = Path("/proc") / str(pid)
    try:
        fields = (home / "stat").read_text().rpartition(")")[2].split()
        files = len(list((home / "fd").iterdir()))
    except (OSError, ValueError):
        return None
    user, system, resident = int(fields[11]), int(fields[12]), int(fields[21])
    return Usage((user + system) / _CLOCK_HZ, resident * _PAGE, files)


async def collect_seldom(legs: Callable[[], int]) -> None:
    """Until cancelled, look for garbage where it costs no call its latency; `legs` counts those live.

    Python looks through objects whenever enough were made, and legs keep many: half of a small message's
    price, and pauses of 50 ms at 200 legs, were that. Nothing of ours is in a cycle when a call ends (`make
    soak` and tests/test_garbage.py tell when something is), so it looks only while there is no leg, or once
    an hour.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        await _collect(legs)
    finally:
        gc.enable()


async def _collect(legs: Callable[[], int]) -> None:
    loop = asyncio.get_running_loop()
    collected_s = loop.time()
    while True:
        await asyncio.sleep(_LOOK_S)
        if not legs() or loop.time() - collected_s >= _HOUR_S:
            gc.collect()
            collected_s = loop.time()


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
