"""`python -m bench.soak [MINUTES]`: calls come and go, and nothing of them may stay in the daemon.

Two loads of the same size, one after the other: descriptors and tasks are back where they were after each,
and the second adds less than 5 % of memory. Ends with 1 when one of these does not hold.
"""

import asyncio
import json
import sys
from typing import Any

from bench import machine
from bench.load import Load, Rig, rig
from bench.loops import run

_LEGS = 60
_TURN_S = 10.0
_MORE = 1.05
LEFT = 6
"""Descriptors and tasks that may come and go with idle connections to the PBX."""


async def soak(minutes: float) -> tuple[dict[str, Any], list[str]]:
    """The figures after no load, the first and the second; and what does not hold."""
    async with rig(Load(legs=_LEGS)) as one:
        states = [await _state(one)]
        for number in (1, 2):
            await _load(one, minutes * 30, number)
            await one.wait_for(0)
            await asyncio.sleep(3)
            states.append(await _state(one))
        waiting = await one.host.ask("garbage")
    found = {"empty": states[0], "first": states[1], "second": states[2]}
    return found, [*faults(*states), *cycles(waiting)]


async def _load(one: Rig, seconds: float, number: int) -> None:
    """A tenth of the calls is replaced each turn."""
    loop = asyncio.get_running_loop()
    end_s, calls = loop.time() + seconds, _LEGS // 2
    await one.ring(_LEGS)
    while loop.time() < end_s:
        await asyncio.sleep(min(_TURN_S, max(0.0, end_s - loop.time())))
        await one.pbx.ask("end", calls // 10)
        await one.pbx.ask("ring", calls // 10)
        state = await _state(one)
        sys.stderr.write(f"load {number}, {end_s - loop.time():.0f} s left: {state}\n")
    await one.pbx.ask("end", calls)


async def _state(one: Rig) -> dict[str, int]:
    pids = one.daemon()
    tasks = (await one.host.ask("state"))["tasks"]
    return {"rss_kb": machine.rss_kb(pids), "fds": machine.descriptors(pids), "tasks": tasks}


def faults(empty: dict[str, int], first: dict[str, int], second: dict[str, int]) -> list[str]:
    """What did not stay flat, one line each."""
    found = [
        f"{name}: {state[name]} after load {number}, {empty[name]} before any"
        for name in ("fds", "tasks")
        for number, state in enumerate((first, second), 1)
        if state[name] > empty[name] + LEFT
    ]
    if second["rss_kb"] > _MORE * first["rss_kb"]:
        found.append(f"memory: {second['rss_kb']} kB after load 2, {first['rss_kb']} kB after load 1")
    return found


def cycles(waiting: dict[str, int]) -> list[str]:
    """Our own objects that only the collector found; while calls go on it comes once an hour."""
    return [f"cycles: {number} of {name}" for name, number in waiting.items() if name.startswith("bridge.")]


def main(arguments: list[str]) -> int:
    """The exit code."""
    figures, wrong = run(soak(float(arguments[0]) if arguments else 30.0))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    for line in wrong:
        sys.stderr.write(f"soak: {line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
