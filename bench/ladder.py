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
from time import monotonic
from typing import Any, NamedTuple

from bench import machine
from bench.aside import Aside, AsideError
from bench.load import Load, Rig, rig
from bench.outcome import Advance, Outcome
from bench.rung import RUNGS

LEGS = 200
ROUNDS = 5
_SECONDS = 3.0
_SETTLE_S = 0.5
_MESSAGE_MS = 100
_LEAST, _MOST = 0.9, 1.1
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
    """Who is sent to; no ports are the taps'. What came to the top is known there, or, without `top`, to the
    false RTZR."""

    pids: Sequence[int]
    ports: Sequence[int] | None
    top: Aside | None


class _Cost(NamedTuple):
    """Of one turn."""

    ms: float
    """CPU a leg-second."""
    system: int
    """Ticks the kernel's part of it took, and all of it."""
    ticks: int


async def run(advance: Advance) -> Outcome:
    """The whole ladder."""
    return outcome(await measure(advance=advance))


async def measure(
    legs: int = LEGS, rounds: int = ROUNDS, seconds: float = _SECONDS, advance: Advance = lambda _: None
) -> dict[str, Any]:
    """CPU of each in ms a leg-second, the median of the rounds; of that, the kernel's share.

    Raises AsideError when what was sent did not reach the top of one.
    """
    load = Load(legs=legs, message_ms=_MESSAGE_MS)
    async with rig(load) as one, AsyncExitStack() as stack:
        await one.ring(legs)
        turns = await _raise(one, stack)
        found: dict[str, list[_Cost]] = {name: [] for name in TURNS}
        for _ in range(rounds):
            for name in TURNS:
                found[name].append(await _cost(one, name, turns[name], seconds))
                advance(1)
    return {
        "machine": machine.described(),
        "legs": legs,
        "ms_per_leg_s": {name: round(median(cost.ms for cost in costs), 3) for name, costs in found.items()},
        "system_share": {name: round(_system(costs), 2) for name, costs in found.items()},
        "rounds": {name: [round(cost.ms, 3) for cost in costs] for name, costs in found.items()},
    }


def _system(costs: Sequence[_Cost]) -> float:
    return sum(cost.system for cost in costs) / max(1, sum(cost.ticks for cost in costs))


async def _raise(one: Rig, stack: AsyncExitStack) -> Mapping[str, _Turn]:
    """Every rung and floor, as a process on the daemon's core."""
    cores, sink, legs = set(os.sched_getaffinity(one.host.pid)), one.sink.greeting["port"], one.load.legs
    turns = {_DAEMON: _Turn(one.daemon(), None, None)}
    for name in RUNGS:
        settings = {"rung": name, "legs": legs, "sink": sink}
        aside = await stack.enter_async_context(Aside("bench.rung", settings, cores))
        top = None if name == "send" else aside
        turns[name] = _Turn([aside.pid], aside.greeting["ports"], top)
        await aside.ask("lock", await one.pbx.ask("aim", aside.greeting["ports"]))
    others = ((_DEAF_FLOOR, "floor", None), (_FLOOR, "floor", _MESSAGE_MS), (_BARE, "bare", _MESSAGE_MS))
    for name, module, message_ms in others:
        settings = {"legs": legs, "sink": sink, "message_ms": message_ms}
        aside = await stack.enter_async_context(Aside(f"bench.{module}", settings, cores))
        turns[name] = _Turn([aside.pid], aside.greeting["ports"], None if message_ms else aside)
    return turns


async def _cost(one: Rig, name: str, turn: _Turn, seconds: float) -> _Cost:
    """What it costs while it is sent to. Raises AsideError when what was sent did not reach its top."""
    await one.pbx.ask("aim", turn.ports)
    await sleep(_SETTLE_S)
    reached_ms = await _reached_ms(one, turn)
    before, ticks, began_s = machine.cpu_ms(turn.pids), machine.system_ticks(turn.pids), monotonic()
    await sleep(seconds)
    cost_ms, took_s = machine.cpu_ms(turn.pids) - before, monotonic() - began_s
    system, whole = (after - then for after, then in zip(machine.system_ticks(turn.pids), ticks, strict=True))
    legs_s = took_s * one.load.legs
    share = (await _reached_ms(one, turn) - reached_ms) / 1000 / legs_s
    if not _LEAST < share < _MOST:
        raise AsideError(f"{share:.0%} of what was sent came to the top of {name}; is the machine busy?")
    return _Cost(cost_ms / legs_s, system, whole)


async def _reached_ms(one: Rig, turn: _Turn) -> float:
    """Audio that was sent by the PBX and came to the top, in milliseconds of all legs."""
    if turn.top is None:
        return float(_MESSAGE_MS * await one.sink.ask("timed"))
    return float(await turn.top.ask("reached"))


def outcome(found: Mapping[str, Any]) -> Outcome:
    """The table and the JSON."""
    columns = ("rung", "it adds", "ms", "more", "least", "times", "kernel")
    notes = (
        "ms: CPU of a leg-second with everything up to this rung. more: than the rung below.",
        "least: the same without an event loop and a library (receiving; with sending: the whole).",
        "kernel: its share of all the CPU up to this rung.",
        f"Beside them: uvloop and websockets alone {found['ms_per_leg_s'][_BARE]} ms.",
    )
    rows = [[str(cell) for cell in row] for row in table_rows(found)]
    return Outcome(found, columns, rows, notes)


def table_rows(found: Mapping[str, Any]) -> list[list[object]]:
    """A row for each rung: name, what it adds, cost, what that is more, floor, ratio, the kernel's share."""
    cost = found["ms_per_leg_s"]
    floors = {"wake": cost[_DEAF_FLOOR], "send": cost[_FLOOR] - cost[_DEAF_FLOOR], _DAEMON: cost[_FLOOR]}
    rows: list[list[object]] = []
    below = 0.0
    for name, adds in _ADDS.items():
        more = cost[name] - below
        least = floors.get(name)
        whole = cost[name] if name == _DAEMON else more
        times = "" if least is None else f"{whole / least:.1f}"
        kernel = f"{found['system_share'][name]:.0%}"
        floor = "" if least is None else f"{least:.3f}"
        rows.append([name, adds, f"{cost[name]:.3f}", f"{more:.3f}", floor, times, kernel])
        below = cost[name]
    return rows
