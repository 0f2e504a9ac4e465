"""What a benchmark has to say, and how it is said: progress while it runs, then its JSON and a table.

No measuring here, and no target: a benchmark knows what it was to reach.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_TOLD_EVERY = 10
"""Without a terminal, progress is a line each time so many per cent more are done."""

Advance = Callable[[int], None]
"""Called with how much more is done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A benchmark's figures."""

    data: Mapping[str, Any]
    """What its JSON says."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """What a reader of the table has to know, one line each."""
    missed: Sequence[str] = field(default=())
    """The targets that were not reached, one plain line each."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the least value that `share` of them do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def keep(name: str, outcome: Outcome, folder: Path) -> Path:
    """Write the JSON. Raises OSError."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(outcome.data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def show(name: str, outcome: Outcome, console: Console) -> None:
    """The table, its notes, and what was missed."""
    table = Table(title=name, title_justify="left")
    for number, column in enumerate(outcome.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in outcome.rows:
        table.add_row(*row)
    console.print(table)
    for note in outcome.notes:
        console.print(note, highlight=False)
    for line in outcome.missed:
        console.print(f"{name}: missed: {line}", highlight=False, style="red")


@contextmanager
def progress(name: str, total: int, console: Console) -> Iterator[Advance]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _lines(name, total, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda more: bar.advance(task, more)


def _lines(name: str, total: int, console: Console) -> Advance:
    done = told = 0

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        if (share := 100 * done // total) // _TOLD_EVERY > told // _TOLD_EVERY:
            told = share
            console.print(f"{name}: {done} of {total}", highlight=False)

    return advance
