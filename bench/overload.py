"""Half as many calls again as there is room for: who was let in is to keep the latency of an idle system.

Calls are added until the daemon refuses one; then half as many again are offered while the admitted are
measured, and after that the same number alone, with nobody at the door.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench import machine
from bench.load import Load, Rig, interval, rig
from bench.outcome import Advance, Outcome

STEPS = 3
_MOST_LEGS = 2000
_BATCH = 40
_FULL = 4
"""So many batches in a row that were refused."""
_FULL_AT = 0.85
_SECONDS = 10.0
_LATER_MS = 5.0
"""So much more than alone may the admitted's p99 be."""
_CALLS_PER_S = 25
_KEYS = ("legs", "offered", "core_share", "added_ms_p50", "added_ms_p99", "packets_lost", "packets_missing")


async def run(advance: Advance) -> Outcome:
    """Two rows: with others at the door, and without."""
    load = Load(legs=_MOST_LEGS, full_at=_FULL_AT, calls_per_s=_CALLS_PER_S)
    async with rig(load) as one:
        admitted = await fill(one, _MOST_LEGS)
        await asyncio.sleep(load.settle_s)
        advance(1)
        crowded = await beset(one, admitted, _SECONDS)
        advance(1)
    async with rig(replace(load, legs=admitted, full_at=1.0)) as one:
        await fill(one, admitted)
        await asyncio.sleep(load.settle_s)
        alone = {"name": "alone", "offered": admitted} | await interval(one, _SECONDS)
        advance(1)
    return outcome(crowded, alone)


async def fill(one: Rig, most: int) -> int:
    """Offer calls until none is let in any more, or until `most`; how many legs were let in.

    The door may say no in the rush and yes after it: only when it has said no for a while it is full.
    """
    streams = refusing = 0
    for _ in range(0, most, _BATCH):
        await one.pbx.ask("ring", _BATCH // 2)
        await asyncio.sleep(1.0)
        before, streams = streams, int(await one.sink.ask("streams"))
        refusing = refusing + 1 if streams - before <= _BATCH // 10 else 0
        if refusing == _FULL:
            break
    return streams


async def beset(one: Rig, admitted: int, seconds: float) -> dict[str, Any]:
    """The row of the legs let in, while calls of half their number knock within `seconds`."""
    calls = min(admitted // 4, int(seconds * _CALLS_PER_S * 0.9))
    one.load = replace(one.load, legs=admitted)
    async with asyncio.TaskGroup() as group:
        group.create_task(_knock(one, calls))
        measuring = group.create_task(interval(one, seconds))
    row = measuring.result()
    now = await one.sink.ask("streams")
    return {"name": "beset", "offered": admitted + 2 * calls, "after": now} | row


async def _knock(one: Rig, calls: int) -> None:
    """One at a time, so that others can ask the PBX too."""
    for _ in range(calls):
        await one.pbx.ask("ring", 1)


def outcome(crowded: Mapping[str, Any], alone: Mapping[str, Any]) -> Outcome:
    """Both rows, and what of the target they miss."""
    rows = [crowded, alone]
    cells = [[row["name"], *(f"{row[key]:g}" for key in _KEYS)] for row in rows]
    data = {"machine": machine.described(), "rows": rows}
    return Outcome(data, ("", *_KEYS), cells, [], missed(crowded, alone))


def missed(crowded: Mapping[str, Any], alone: Mapping[str, Any]) -> list[str]:
    """What the admitted had to suffer."""
    found = []
    if crowded["packets_lost"] or crowded["packets_missing"]:
        found.append(
            f"the admitted lost {crowded['packets_lost']} packets, {crowded['packets_missing']} are missing"
        )
    if crowded["added_ms_p99"] > alone["added_ms_p99"] + _LATER_MS:
        found.append(f"their p99 is {crowded['added_ms_p99']} ms, alone {alone['added_ms_p99']} ms")
    if crowded["after"] > 1.1 * crowded["legs"]:
        found.append(f"{crowded['after']} legs were let in in the end, after {crowded['legs']}")
    return found
