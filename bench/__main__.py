"""`python -m bench [NAME ...]`: runs benchmarks, shows their tables, keeps their JSON in bench/results.

Ends with 1 when a target was missed. Without a name it runs what is short.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from bench import bill, churn, deliveries, ladder, latency, legs, outage, overload, parts, tokens
from bench.loops import run
from bench.outcome import RESULTS, Advance, Outcome, keep, progress, show
from bridge import logs


@dataclass(frozen=True, slots=True)
class _Bench:
    work: Callable[[Advance], Awaitable[Outcome]]
    steps: int
    """How much `work` advances in all."""


def _benches() -> dict[str, _Bench]:
    return {
        "latency": _Bench(latency.run, latency.CALLS * len(latency.WAYS)),
        "outage": _Bench(outage.run, sum(scenario.runs for scenario in outage.SCENARIOS)),
        "token": _Bench(tokens.run, 3 * tokens.SESSIONS),
        "churn": _Bench(churn.run, churn.WARM_UP + churn.cycles_wanted()),
        "legs": _Bench(legs.run, legs.work()),
        "bill": _Bench(bill.run, bill.work()),
        "overload": _Bench(overload.run, overload.STEPS),
        "parts": _Bench(parts.run, len(parts.PARTS)),
        "deliveries": _Bench(deliveries.run, deliveries.Size().steps),
        "ladder": _Bench(ladder.run, ladder.ROUNDS * len(ladder.TURNS)),
    }


_INTERRUPTED = 130
_SHORT = ("latency", "token", "churn")


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    try:
        benches = _benches()
    except ValueError:
        parser.error(
            "CYCLES or LEGS is no number; give how many calls churn, or how many legs, there are to be"
        )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benches))
    names = parser.parse_args(arguments).names or _SHORT
    if unknown := [name for name in names if name not in benches]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(benches)}")
    return max([_one(name, benches[name]) for name in names])


def _one(name: str, bench: _Bench) -> int:
    """One benchmark: 1 when it missed a target."""
    out, beside = Console(), Console(stderr=True)
    with progress(name, bench.steps, beside) as advance:
        outcome = run(_whole(bench, advance))
    if outcome.data:
        keep(name, outcome, RESULTS)
    show(name, outcome, out)
    return 1 if outcome.missed else 0


async def _whole(bench: _Bench, advance: Advance) -> Outcome:
    return await bench.work(advance)


if __name__ == "__main__":
    logs.set_up("error", "brief")
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
