"""The daemon's cost as a multiple of the floor's, taken in turns: a busy machine makes both dearer.

`python -m bench.ratio` prints it, `python -m bench.ratio --accept` makes it the one that is accepted. A
change that raises it by more than a fifth does not pass the tests.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.aside import Aside
from bench.load import Load, Rig, rig
from bench.loops import run

ACCEPTED = Path(__file__).parent / "accepted.json"
TOLERANCE = 1.2
_LEGS = 100
_ROUNDS = 5
_SECONDS = 3.0


async def ratio(legs: int = _LEGS, rounds: int = _ROUNDS, seconds: float = _SECONDS) -> dict[str, Any]:
    """The median of the daemon's CPU over the floor's, and each round's figures in ms a leg-second."""
    load = Load(legs=legs)
    async with rig(load) as one:
        await one.ring(legs)
        settings = {"legs": legs, "sink": one.sink.greeting["port"], "message_ms": load.message_ms}
        async with Aside("bench.floor", settings, set(os.sched_getaffinity(one.host.pid))) as floor:
            pairs = [await _pair(one, floor, seconds / legs) for _ in range(rounds)]
    told = [{"daemon": round(host, 3), "floor": round(bare, 3)} for host, bare in pairs]
    return {"ratio": round(median(host / bare for host, bare in pairs), 2), "legs": legs, "rounds": told}


async def _pair(one: Rig, floor: Aside, leg_s: float) -> tuple[float, float]:
    """CPU of the daemon and of the floor, each while the other has nothing to do, in ms a leg-second."""
    seconds = leg_s * one.load.legs
    cost = []
    for pids, ports in ((one.daemon(), None), ([floor.pid], floor.greeting["ports"])):
        await one.pbx.ask("aim", ports)
        await asyncio.sleep(0.5)
        before = machine.cpu_ms(pids)
        await asyncio.sleep(seconds)
        cost.append((machine.cpu_ms(pids) - before) / seconds / one.load.legs)
    return cost[0], cost[1]


if __name__ == "__main__":
    found = run(ratio())
    print(json.dumps(found))
    if "--accept" in sys.argv:
        ACCEPTED.write_text(json.dumps(found, indent=2) + "\n")
