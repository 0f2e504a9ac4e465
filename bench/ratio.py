"""The daemon's cost as a multiple of another's, taken in turns: a busy machine makes both dearer.

The others are the floor and the bare libraries. `python -m bench.ratio` prints both multiples,
`python -m bench.ratio --accept` makes them those that are accepted. A change that raises that of the floor by
more than a fifth does not pass the tests.
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
_BARE_LEGS = 200
_ROUNDS = 5
_SECONDS = 3.0


async def ratio(legs: int = _LEGS, other: str = "floor") -> dict[str, Any]:
    """The median of the daemon's CPU over the other's, and each round's figures in ms a leg-second.

    `other`: `floor`, or `bare` for the libraries alone.
    """
    load = Load(legs=legs)
    async with rig(load) as one:
        await one.ring(legs)
        settings = {"legs": legs, "sink": one.sink.greeting["port"], "message_ms": load.message_ms}
        async with Aside(f"bench.{other}", settings, set(os.sched_getaffinity(one.host.pid))) as aside:
            pairs = [await _pair(one, aside) for _ in range(_ROUNDS)]
    told = [{"daemon": round(host, 3), other: round(cost, 3)} for host, cost in pairs]
    return {"ratio": round(median(host / cost for host, cost in pairs), 2), "legs": legs, "rounds": told}


async def _pair(one: Rig, other: Aside) -> tuple[float, float]:
    """CPU of the daemon and of the other, each while the other has nothing to do, in ms a leg-second."""
    cost = []
    for pids, ports in ((one.daemon(), None), ([other.pid], other.greeting["ports"])):
        await one.pbx.ask("aim", ports)
        await asyncio.sleep(0.5)
        before = machine.cpu_ms(pids)
        await asyncio.sleep(_SECONDS)
        cost.append((machine.cpu_ms(pids) - before) / _SECONDS / one.load.legs)
    return cost[0], cost[1]


async def both() -> dict[str, Any]:
    """The multiple of the floor, and under `bare` that of the libraries alone."""
    return {**await ratio(), "bare": await ratio(_BARE_LEGS, "bare")}


if __name__ == "__main__":
    found = run(both())
    print(json.dumps(found))
    if "--accept" in sys.argv:
        ACCEPTED.write_text(json.dumps(found, indent=2) + "\n")
