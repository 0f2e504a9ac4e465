"""docker/grafana/dashboard.json: every query is PromQL of metrics that there are; panels do not overlap. What
it and the alerts name exists on a real scrape, and docs/operations.md tells all of it."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bridge import metrics

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker" / "grafana" / "dashboard.json").read_text())
RULES = yaml.safe_load((ROOT / "docker" / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
NAMED = re.compile(r"\b(?:rtzr_bridge|process)_\w+\b(?=\{)|\brtzr_bridge_\w+\b")
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}


def defined() -> dict[str, tuple[str, ...]]:
    """Every series that the daemon can have, with its labels."""
    found = {}
    for collector in set(metrics.REGISTRY._collector_to_names):
        labels = tuple(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            for suffix in SUFFIXES[family.type]:
                found[family.name + suffix] = labels + (("le",) if suffix == "_bucket" else ())
    return found


def queries() -> Iterator[str]:
    """Of the dashboard, with Grafana's variables as Grafana would fill them in."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    asked += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    for expr in asked:
        yield expr.replace("$__rate_interval", "1m").replace("$instance", ".*")


def test_every_query_is_promql(promtool: Callable[..., str], tmp_path: Path) -> None:
    rules = [{"record": f"query:{at}", "expr": expr} for at, expr in enumerate(queries())]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))
    assert len(rules) > 40


def test_what_dashboard_and_alerts_name_exists_with_its_labels() -> None:
    known = defined()
    for expr in [*queries(), *(rule["expr"] for rule in RULES)]:
        names = NAMED.findall(expr)
        assert names or expr.startswith("up{"), expr
        assert set(names) <= known.keys(), expr
        allowed = {"instance", "job", *itertools.chain.from_iterable(known[name] for name in names)}
        used = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expr))
        used |= set(re.split(r",\s*", ",".join(re.findall(r"(?:by|on) \(([^)]*)\)", expr)))) - {""}
        assert used <= allowed, expr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_what_an_alert_compares_is_there_before_the_first_of_it_happens(rule: dict[str, Any]) -> None:
    """No series is neither 0 nor an increase: an alert on it would be silent when all has failed from the
    start. Endpoints and sinks come with the YAML."""
    code = "import sys; from bridge import metrics; sys.stdout.buffer.write(metrics.text())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode()
    for name, labels in re.findall(r"(rtzr_bridge_\w+)\{([^}]*)\}", rule["expr"]):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            if "endpoint" not in defined()[name]:
                assert re.search(rf'^{name}\{{[^}}]*{label}="{value}"', fresh, re.MULTILINE), name


def test_the_variable_is_asked_of_a_metric_that_is_there() -> None:
    (asked,) = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    assert set(NAMED.findall(asked)) <= defined().keys()


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    named = set(NAMED.findall(" ".join([*queries(), *(rule["expr"] for rule in RULES)])))
    ours = {family for family in families() if family.startswith("rtzr_bridge_")}
    shown = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in named}
    assert ours - shown <= {
        "rtzr_bridge_build",
        "rtzr_bridge_legs_started",
        "rtzr_bridge_sessions_opened",
        "rtzr_bridge_tokens_issued",
        "rtzr_bridge_longest_wait_seconds",
        "rtzr_bridge_billed_seconds",
        "rtzr_bridge_feed_dropped",
    }


def families() -> set[str]:
    return {family.name for one in set(metrics.REGISTRY._collector_to_names) for family in one.collect()}


def test_panels_have_an_id_each_and_a_place_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def test_promtool_finds_no_fault_with_the_names(promtool: Callable[..., str]) -> None:
    assert promtool("check", "metrics", given=metrics.text()) == ""


def rows() -> Iterator[str]:
    """A line of the table for each metric, in the order of their definition."""
    for collector in dict.fromkeys(metrics.REGISTRY._collector_to_names):
        labels = ",".join(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            of = f"{{{labels}}}" if labels else ""
            yield f"| `{name}{of}` | {family.type} | {family.documentation} |"


def test_every_metric_is_told_in_operations_with_its_labels_and_no_other() -> None:
    told = re.findall(r"^\| `rtzr_bridge_.*\|$", OPERATIONS, re.MULTILINE)
    assert told == [row for row in rows() if row.startswith("| `rtzr_bridge_")]


def test_every_alert_is_told_in_operations_with_what_to_do() -> None:
    told = re.findall(r"^\| `(RtzrBridge\w+)` \| \w+ \| .{20,} \|$", OPERATIONS, re.MULTILINE)
    assert told == [rule["alert"] for rule in RULES]


def test_the_text_is_read_by_prometheus_own_parser() -> None:
    read = {family.name for family in text_string_to_metric_families(metrics.text().decode())}
    assert {"rtzr_bridge_ready", "rtzr_bridge_loop_lag_seconds", "process_cpu_seconds"} <= read
