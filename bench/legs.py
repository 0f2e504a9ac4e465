"""What a leg costs the daemon: CPU, memory and delay by number of legs, and by everything that can be set.

The base row (immediate, 100 ms, mu-law, no TLS, uvloop) rises until a core is full; the other factors are
tried one at a time at 200 legs. FULL=1 measures each longer, LEGS=200 one step alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import machine
from bench.aside import AsideError
from bench.load import Load, measure
from bench.outcome import Advance, Outcome

STEPS = (50, 100, 200, 300, 400, 800, 1200)
_FULL = 0.95
"""Of a core: more legs would only wait."""
_AT = 200
BASE_MS, HYBRID_MS, TLS_MORE = 1.0, 2.5, 1.33
ADDED_MS = {"added_ms_p50": 1.0, "added_ms_p99": 5.0}
LEG_KB = 150
_WORKERS_LEGS = 250
_WORKERS_MORE = 1.05

_Row = Mapping[str, Any]
_COLUMNS = {
    "legs": "legs",
    "cpu_ms_per_leg_s": "ms/leg-s",
    "rss_kb_per_leg": "kB/leg",
    "added_ms_p50": "p50 ms",
    "added_ms_p99": "p99 ms",
    "loop_lag_ms_p999": "lag ms",
    "packets_lost": "lost",
    "packets_missing": "missing",
}


@dataclass(frozen=True, slots=True)
class _Factor:
    name: str
    load: Load


def base(legs: int) -> Load:
    """The row that everything is compared with."""
    load = Load(legs=legs)
    return replace(load, settle_s=10.0, measure_s=60.0) if os.environ.get("FULL") else load


def factors() -> Iterator[_Factor]:
    """One thing changed at a time."""
    load = base(_AT)
    yield _Factor("gate vad", replace(load, gate="vad"))
    yield _Factor("gate hybrid", replace(load, gate="hybrid"))
    yield _Factor("message 40 ms", replace(load, message_ms=40))
    yield _Factor("message 20 ms", replace(load, message_ms=20))
    yield _Factor("hybrid, 20 ms", replace(load, gate="hybrid", message_ms=20))
    yield _Factor("A-law", replace(load, codec="alaw"))
    yield _Factor("linear", replace(load, codec="slin"))
    yield _Factor("TLS", replace(load, tls=True))
    yield _Factor("plain asyncio", replace(load, uvloop=False))
    yield _Factor("2 partials/s", replace(load, partials_s=2))
    for workers in (1, 2):
        one = replace(load, legs=_WORKERS_LEGS * workers, workers=workers)
        yield _Factor(f"{workers} worker{'s' if workers > 1 else ''}", one)


def wanted_steps() -> Sequence[int]:
    """Raises ValueError when LEGS is no number."""
    return (int(os.environ["LEGS"]),) if os.environ.get("LEGS") else STEPS


def work() -> int:
    """How much `run` advances in all."""
    steps = len(wanted_steps())
    return steps if os.environ.get("LEGS") else steps + len(list(factors()))


async def run(advance: Advance) -> Outcome:
    """Every row."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for legs in wanted_steps():
        if rows and rows[-1]["core_share"] * legs / rows[-1]["legs"] > 1.6 * _FULL:
            notes.append(
                f"{legs} legs not tried: {rows[-1]['legs']} took {rows[-1]['core_share']:.0%} of a core"
            )
        else:
            rows.append(await _row("base", base(legs), notes))
        advance(1)
    if not os.environ.get("LEGS"):
        for factor in factors():
            rows.append(await _row(factor.name, factor.load, notes))
            advance(1)
    return outcome([row for row in rows if "cpu_ms_per_leg_s" in row], notes)


async def _row(name: str, load: Load, notes: list[str]) -> dict[str, Any]:
    try:
        return {"name": name, **await measure(load)}
    except (TimeoutError, AsideError) as error:
        notes.append(f"{name}, {load.legs} legs: not measured ({type(error).__name__} {error})".strip())
        return {"name": name, "legs": load.legs, "core_share": 1.0}


def outcome(rows: Sequence[_Row], notes: Sequence[str] = ()) -> Outcome:
    """The rows as a table, with what of the targets they miss."""
    cells = [[_name(row), *(_cell(row[key]) for key in _COLUMNS)] for row in rows]
    beside = max((row["sender_share"] + row["sink_share"] for row in rows), default=0.0)
    late = max((row["sender_late_ms"]["p99"] for row in rows), default=0.0)
    told = (
        f"sender and sink together took {beside:.0%} of a core at most; "
        f"the sender was late by {late:.1f} ms at p99 at worst"
    )
    data = {"machine": machine.described(), "rows": list(rows)}
    return Outcome(data, ("", *_COLUMNS.values()), cells, [told, *notes], missed(rows))


def _name(row: _Row) -> str:
    return str(row["name"])


def _cell(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def missed(rows: Sequence[_Row]) -> list[str]:
    """The targets that were not reached; a row that is not there misses none."""
    return [*_costs(rows), *_quality(rows), *_workers(rows)]


def _find(rows: Sequence[_Row], name: str, legs: int = _AT) -> _Row | None:
    return next((row for row in rows if row["name"] == name and row["legs"] == legs), None)


def _costs(rows: Sequence[_Row]) -> Iterator[str]:
    for row in rows:
        cost = row["cpu_ms_per_leg_s"]
        if row["name"] == "base" and row["legs"] >= _AT and cost > BASE_MS:
            yield f"{row['legs']} legs cost {cost} ms of CPU a leg-second, to be {BASE_MS}"
        if row["name"] == "hybrid, 20 ms" and cost > HYBRID_MS:
            yield f"hybrid with 20 ms messages costs {cost} ms a leg-second, to be {HYBRID_MS}"
    plain, tls = _find(rows, "base"), _find(rows, "TLS")
    if plain and tls and tls["cpu_ms_per_leg_s"] > TLS_MORE * plain["cpu_ms_per_leg_s"]:
        yield f"TLS costs {tls['cpu_ms_per_leg_s'] / plain['cpu_ms_per_leg_s']:.2f} times as much, to be 1.33"


def _quality(rows: Sequence[_Row]) -> Iterator[str]:
    row = _find(rows, "base", 300)
    if row is None:
        return
    for name, most in ADDED_MS.items():
        if row[name] > most:
            yield f"at 300 legs {name} is {row[name]}, to be {most}"
    if row["packets_lost"] or row["packets_missing"]:
        yield f"at 300 legs {row['packets_lost']} packets were lost, {row['packets_missing']} missing"
    if row["rss_kb_per_leg"] > LEG_KB:
        yield f"a leg takes {row['rss_kb_per_leg']} kB, to be {LEG_KB}"


def _workers(rows: Sequence[_Row]) -> Iterator[str]:
    one, two = _find(rows, "1 worker", _WORKERS_LEGS), _find(rows, "2 workers", 2 * _WORKERS_LEGS)
    if one and two:
        ratio = two["cpu_ms_per_leg_s"] / one["cpu_ms_per_leg_s"]
        if ratio > _WORKERS_MORE:
            yield f"a leg on two workers costs {ratio:.2f} times as much as on one, to be {_WORKERS_MORE}"
        if two["packets_lost"] or two["packets_missing"]:
            yield f"on two workers {two['packets_lost']} packets were lost, {two['packets_missing']} missing"
