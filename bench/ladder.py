"""Where a leg's CPU goes under the pace of real calls: the media path, one part more at each rung.

`python -m bench ladder`. Unlike in `bench.parts`, packets come as from a PBX, so that the loop wakes for one
or two and the caches hold little of a leg. All rungs, the floors and the daemon are there at once and sent
on in turns, so that the machine is as fast for one as for the next.
"""

import os
from asyncio import sleep
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Any, NamedTuple

from bench import machine
from bench.aside import Aside, AsideError
from bench.load import Load, Rig, rig
from bench.outcome import Advance, Outcome
from bench.rung import RUNGS

LEGS = 200
ROUNDS = 5
_SECONDS = 3.0
_NEVER_MS = 1_000_000
"""A message so long that none is ever sent: what is left of the floor is receiving."""
_DAEMON, _FLOOR, _DEAF_FLOOR, _BARE = "daemon", "floor", "deaf floor", "libraries"
TURNS = (*RUNGS, _DAEMON, _DEAF_FLOOR, _FLOOR, _BARE)
_ADDS = {
    "wake": "the loop wakes, a datagram is read",
    "receive": "port, order, call time",
    "hand": "ring, the leg's coroutine woken",
    "keep": "gate and tape",
    "leg": "pace, books, results; the desk",
    "send": "masked, framed, on the socket; results read",
    _DAEMON: "PBX, channels, sinks, metrics",
}


class _Turn(NamedTuple):
    """Who is sent on; no ports are the taps', and no process is asked what it heard when `heard` is None."""

    pids: Sequence[int]
    ports: Sequence[int] | None
    heard: Aside | None


async def run(advance: Advance) -> Outcome:
    """The whole ladder."""
    return outcome(await measure(advance=advance))


async def measure(
    legs: int = LEGS, rounds: int = ROUNDS, seconds: float = _SECONDS, advance: Advance = lambda _: None
) -> dict[str, Any]:
    """CPU of each in ms a leg-second, the median of the rounds. AsideError: a rung did not hear all."""
    load = Load(legs=legs)
    async with rig(load) as one, AsyncExitStack() as stack:
        await one.ring(legs)
        turns = await _raise(one, stack)
        found: dict[str, list[float]] = {name: [] for name in TURNS}
        for _ in range(rounds):
            for name in TURNS:
                found[name].append(await _cost(one, name, turns[name], seconds))
                advance(1)
    return {"legs": legs, "ms_per_leg_s": {name: round(median(costs), 3) for name, costs in found.items()}}


async def _raise(one: Rig, stack: AsyncExitStack) -> Mapping[str, _Turn]:
    """Every rung and floor, as a process on the daemon's core."""
    cores, sink, legs = set(os.sched_getaffinity(one.host.pid)), one.sink.greeting["port"], one.load.legs
    turns = {_DAEMON: _Turn(one.daemon(), None, None)}
    for name in RUNGS:
        settings = {"rung": name, "legs": legs, "sink": sink}
        aside = await stack.enter_async_context(Aside("bench.rung", settings, cores))
        turns[name] = _Turn([aside.pid], aside.greeting["ports"], aside)
        await aside.ask("lock", await one.pbx.ask("aim", aside.greeting["ports"]))
    others = ((_FLOOR, "floor", 100), (_DEAF_FLOOR, "floor", _NEVER_MS), (_BARE, "bare", 100))
    for name, module, message_ms in others:
        settings = {"legs": legs, "sink": sink, "message_ms": message_ms}
        aside = await stack.enter_async_context(Aside(f"bench.{module}", settings, cores))
        turns[name] = _Turn([aside.pid], aside.greeting["ports"], None)
    return turns


async def _cost(one: Rig, name: str, turn: _Turn, seconds: float) -> float:
    """CPU in ms a leg-second while it is sent on. Raises AsideError when that did not reach its top."""
    await one.pbx.ask("aim", turn.ports)
    await sleep(0.5)
    reached_ms = await turn.heard.ask("reached") if turn.heard else 0.0
    before = machine.cpu_ms(turn.pids)
    await sleep(seconds)
    cost = (machine.cpu_ms(turn.pids) - before) / seconds / one.load.legs
    if turn.heard:
        share = (await turn.heard.ask("reached") - reached_ms) / 1000 / seconds / one.load.legs
        if not 0.8 < share < 1.3:
            raise AsideError(f"{name} heard {share:.0%} of what was sent; is the machine busy?")
    return cost


def outcome(found: Mapping[str, Any]) -> Outcome:
    """The table and the JSON."""
    columns = ("rung", "it adds", "ms", "more", "least", "times")
    notes = (
        "ms: CPU of a leg-second with everything up to this rung. more: than the rung below.",
        "least: the same without an event loop and a library (receiving; with sending: the whole).",
        f"Beside them: uvloop and websockets alone {found['ms_per_leg_s'][_BARE]} ms.",
    )
    rows = [[str(cell) for cell in row] for row in table_rows(found)]
    return Outcome(found, columns, rows, notes)


def table_rows(found: Mapping[str, Any]) -> list[list[object]]:
    """A row for each rung: its name, what it adds, its cost, what that is more, its floor and the ratio."""
    cost = found["ms_per_leg_s"]
    floors = {"wake": cost[_DEAF_FLOOR], "send": cost[_FLOOR] - cost[_DEAF_FLOOR], _DAEMON: cost[_FLOOR]}
    rows: list[list[object]] = []
    below = 0.0
    for name, adds in _ADDS.items():
        more = cost[name] - below
        least = floors.get(name)
        whole = cost[name] if name == _DAEMON else more
        times = "" if least is None else f"{whole / least:.1f}"
        rows.append([name, adds, f"{cost[name]:.3f}", f"{more:.3f}", f"{least:.3f}" if least else "", times])
        below = cost[name]
    return rows
