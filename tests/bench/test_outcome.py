"""bench/outcome.py: what is measured is kept and shown, and a missed target is a plain line."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.outcome import Outcome, keep, percentile, progress, show

MISSED = Outcome({"p50": 1.5}, ("way", "p50 ms"), [["naive", "1500"]], ["a note"], ["naive is too slow"])


@pytest.mark.parametrize(("share", "value"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_a_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile(range(20, 0, -1), share) == value


def test_there_is_none_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_figures_are_kept_as_json(tmp_path: Path) -> None:
    path = keep("latency", MISSED, tmp_path / "results")
    assert path.name == "latency.json"
    assert json.loads(path.read_text()) == {"p50": 1.5}


def test_the_table_its_notes_and_what_was_missed_are_shown() -> None:
    out = io.StringIO()
    show("latency", MISSED, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert any("naive" in line and "1500" in line for line in lines)
    assert lines[-2:] == ["a note", "latency: missed: naive is too slow"]


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with progress("churn", 200, Console(file=out)) as advance:
        for _ in range(200):
            advance(1)
    lines = out.getvalue().splitlines()
    assert lines == [f"churn: {n} of 200" for n in range(20, 201, 20)]
