"""What goes wrong with the emulated RTZR during a simulation, and when: each fault begins and ends.

What a knob does is `bridge.emulator`'s.
"""

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bridge.emulator.server import Emulator, Knobs

_AWAY_S = 2.0
"""Or a quarter of the whole."""
_LATE_MS = 1500


class Fault(StrEnum):
    """By name, as on the command line."""

    DROP = "drop"
    """In the middle every connection is reset, and RTZR is away for a moment."""
    STALL = "stall"
    """Sessions that are opened in the first third take audio and say nothing."""
    TOKEN = "401"  # noqa: S105 - a status
    """In the middle every connection is reset, and the token is no good any more."""
    FULL = "429"
    """In the first two thirds there are half as many channels as legs."""
    LATE = "late"
    """Finals come a second and a half late."""


@dataclass(frozen=True, slots=True)
class Span:
    """The simulation as it is planned."""

    seconds: float
    legs: int
    """At most at once."""


def begun(knobs: Knobs, faults: frozenset[Fault], span: Span) -> Knobs:
    """The knobs at the beginning."""
    if Fault.STALL in faults:
        knobs = replace(knobs, mute=True)
    if Fault.TOKEN in faults:
        knobs = replace(knobs, token_life_s=span.seconds / 2)
    if Fault.FULL in faults:
        knobs = replace(knobs, max_streams=max(1, span.legs // 2))
    if Fault.LATE in faults:
        knobs = replace(knobs, late_final_ms=_LATE_MS, recognition_ms=knobs.recognition_ms + _LATE_MS)
    return knobs


async def go_on(rtzr: Emulator, knobs: Knobs, faults: frozenset[Fault], span: Span) -> None:
    """What changes on the way; what a fault has turned goes back to `knobs`."""
    async with asyncio.TaskGroup() as tasks:
        if Fault.STALL in faults:
            tasks.create_task(_back(rtzr, span.seconds / 3, mute=knobs.mute))
        if Fault.FULL in faults:
            tasks.create_task(_back(rtzr, span.seconds * 2 / 3, max_streams=knobs.max_streams))
        if Fault.TOKEN in faults:
            tasks.create_task(_cut(rtzr, span.seconds / 2 + 0.1, knobs.token_life_s))
        if Fault.DROP in faults:
            tasks.create_task(_go_away(rtzr, span.seconds / 2, min(_AWAY_S, span.seconds / 4)))


async def _back(rtzr: Emulator, after_s: float, **knobs: Any) -> None:
    await asyncio.sleep(after_s)
    rtzr.knobs = replace(rtzr.knobs, **knobs)


async def _cut(rtzr: Emulator, after_s: float, token_life_s: float) -> None:
    """The next token is good again."""
    await _back(rtzr, after_s, token_life_s=token_life_s)
    rtzr.cut()


async def _go_away(rtzr: Emulator, after_s: float, away_s: float) -> None:
    await asyncio.sleep(after_s)
    rtzr.knobs = replace(rtzr.knobs, away=True)
    rtzr.cut()
    await asyncio.sleep(away_s)
    rtzr.knobs = replace(rtzr.knobs, away=False)
