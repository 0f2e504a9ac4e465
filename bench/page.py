"""`python -m bench.page` writes the kept results into docs/performance.md: tables between marks, and a plot.

It measures nothing. What the tables mean is written on the page by hand.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import bill, ladder
from bench.outcome import RESULTS
from bench.ratio import ACCEPTED

DOCS = Path(__file__).parent.parent / "docs"
PAGE = "performance.md"
PLOT = "performance.svg"
_COLUMNS = {
    "legs": "legs",
    "cpu_ms_per_leg_s": "CPU ms per leg-s",
    "rss_kb_per_leg": "kB a leg",
    "added_ms_p50": "added p50 ms",
    "added_ms_p99": "p99 ms",
    "added_ms_p999": "p99.9 ms",
    "loop_lag_ms_p999": "loop lag p99.9 ms",
    "packets_lost": "packets lost",
    "fds": "descriptors",
}
_WIDE, _HIGH, _EDGE = 640, 260, 48


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [columns, ["---:" if number else "---" for number in range(len(columns))], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def legs_table(data: Mapping[str, Any]) -> str:
    """The machine, and a row for each load."""
    told = data["machine"]
    cells = [[row["name"], *(row[key] for key in _COLUMNS)] for row in data["rows"]]
    machine = f"{told['cpu']}, {told['cores']} cores, Linux {told['kernel']}, Python {told['python']}"
    return f"Machine: {machine}.\n\n{table(['', *_COLUMNS.values()], cells)}"


def parts_table(data: Mapping[str, Any]) -> str:
    """What each part costs alone, beside its floor, and its share of a leg-second in two gates."""
    rows = [
        [
            part["part"],
            part["us"],
            f"{part['floor']}: {part['floor_us']}",
            part["ratio"],
            round(part["us"] * part["base_per_s"] / 1000, 3) or "",
            round(part["us"] * part["hybrid_per_s"] / 1000, 3) or "",
        ]
        for part in data["parts"]
    ]
    columns = ["part", "µs a time", "floor, µs", "ratio", "immediate, ms a leg-s", "hybrid 20 ms, ms a leg-s"]
    return table(columns, rows)


def ladder_table(data: Mapping[str, Any]) -> str:
    """What each rung of the media path adds, beside the floors."""
    columns = [
        "rung",
        "it adds",
        "ms a leg-s up to here",
        "of that, this rung",
        "floor",
        "times",
        "the kernel's",
    ]
    return table(columns, ladder.table_rows(data))


def bill_table(data: Mapping[str, Any]) -> str:
    """What each tap costs the PBX."""
    columns = ["tap", "encoding", "untapped, ms a leg-s", "tapped, ms a leg-s", "the tap's"]
    return table(columns, bill.table_rows(data["rows"]))


def overload_table(data: Mapping[str, Any]) -> str:
    """The admitted with others at the door, and alone."""
    keys = ("offered", "legs", "core_share", "added_ms_p50", "added_ms_p99", "packets_missing")
    rows = [[row["name"], *(row[key] for key in keys)] for row in data["rows"]]
    columns = ["", "legs offered", "let in", "of a core", "added p50 ms", "p99 ms", "packets missing"]
    return table(columns, rows)


def ratio_table(data: Mapping[str, Any]) -> str:
    """The daemon beside the floor and the bare libraries."""

    def row(name: str, key: str, found: Mapping[str, Any]) -> list[object]:
        daemon, other = (median(one[which] for one in found["rounds"]) for which in ("daemon", key))
        return [name, found["legs"], f"{other:.2f}", f"{daemon:.2f}", found["ratio"]]

    rows = [row("receive, mask, send", "floor", data), row("uvloop and websockets", "bare", data["bare"])]
    return table(["", "legs", "it, ms a leg-s", "the daemon, ms a leg-s", "times"], rows)


_TABLES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "ladder": ladder_table,
    "parts": parts_table,
    "bill": bill_table,
    "overload": overload_table,
}


def plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG of what a leg-second costs, by the number of legs."""
    points = [(row["legs"], row["cpu_ms_per_leg_s"]) for row in rows if row["name"] == "base"]
    most_legs, most_ms = max(legs for legs, _ in points), max(1.2, *(ms for _, ms in points)) * 1.1

    def place(legs: float, ms: float) -> tuple[float, float]:
        across = _EDGE + legs / most_legs * (_WIDE - 2 * _EDGE)
        return round(across, 1), round(_HIGH - _EDGE - ms / most_ms * (_HIGH - 2 * _EDGE), 1)

    line = " ".join("{},{}".format(*place(*point)) for point in points)
    dots = "".join(_dot(*place(legs, ms), f"{legs}", f"{ms:.2f}") for legs, ms in points)
    target = place(0, 1.0)[1]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{_EDGE}" y="24">CPU of a leg in a second, in ms, by the number of legs</text>'
        f'<line x1="{_EDGE}" x2="{_WIDE - _EDGE}" y1="{target}" y2="{target}" stroke="#bbb" '
        f'stroke-dasharray="4"/><text x="{_WIDE - _EDGE + 4}" y="{target + 4}" fill="#777">1.0</text>'
        f'<polyline points="{line}" fill="none" stroke="#1565c0" stroke-width="2"/>{dots}</svg>\n'
    )


def _dot(x: float, y: float, legs: str, ms: str) -> str:
    return (
        f'<circle cx="{x}" cy="{y}" r="3" fill="#1565c0"/><text x="{x}" y="{y - 8}" '
        f'text-anchor="middle">{ms}</text><text x="{x}" y="{_HIGH - 20}" text-anchor="middle">{legs}</text>'
    )


def replaced(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks of `name`. Raises ValueError when it has none."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(
            f"the page has no <!-- {name} -->; put it and <!-- /{name} --> where its table belongs"
        )
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def _kept(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return data


def main() -> None:
    """Write the page and the plot."""
    path, legs = DOCS / PAGE, _kept("legs")
    page = replaced(path.read_text(encoding="utf-8"), "legs", legs_table(legs))
    page = replaced(page, "ratio", ratio_table(json.loads(ACCEPTED.read_text(encoding="utf-8"))))
    for name, made in _TABLES.items():
        page = replaced(page, name, made(_kept(name)))
    path.write_text(page, encoding="utf-8")
    (DOCS / PLOT).write_text(plot(legs["rows"]), encoding="utf-8")


if __name__ == "__main__":
    main()
