"""docker/prometheus: the alerts are rules that Prometheus takes, fire when they should, and not when all is
well; each is explained in docs/operations.md."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "prometheus"
ALERTS = FOLDER / "alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
Promtool = Callable[..., str]
Series = dict[str, str]

HOST = 'instance="pbx1:9464",job="rtzr-bridge"'
RISES = "0+10x60"
"""A counter by minutes."""


def of(name: str, *labels: str) -> str:
    """A series as a scrape of the host gives it."""
    return f"{name}{{{','.join([*labels, HOST])}}}"


def bridge(name: str, *labels: str) -> str:
    return of(f"rtzr_bridge_{name}", *labels)


def histogram(name: str, *labels: str, low: str, high: str) -> Series:
    """All below 0.05 s, or by `high` all between 5 and 10."""
    steps = {"0.05": low, "0.1": low, "5.0": low, "10.0": high, "+Inf": high}
    return {bridge(f"{name}_seconds_bucket", *labels, f'le="{le}"'): values for le, values in steps.items()}


CALM: Series = {
    of("up"): "1x60",
    bridge("ready"): "1x60",
    bridge("pbx_connected"): "1x60",
    bridge("config_reload_ok"): "1x60",
    bridge("legs"): "4x60",
    bridge("legs_waiting"): "0x60",
    bridge("backlog_seconds"): "0.1x60",
    bridge("outbox_degraded"): "0x60",
    bridge("workers_lost_total"): "0x60",
    bridge("cost_won_total"): RISES,
    bridge("deliveries_oldest_seconds", 'endpoint="webhook:crm"'): "2x60",
    bridge("deliveries_waiting", 'endpoint="webhook:crm"'): "3x60",
    bridge("deliveries_total", 'endpoint="webhook:crm"', 'fate="given_up"'): "0x60",
    bridge("events_total", 'sink="jsonl"', 'fate="delivered"'): RISES,
    bridge("events_total", 'sink="jsonl"', 'fate="dropped"'): "0x60",
    bridge("audio_seconds_total", 'fate="arrived"'): "0+240x60",
    bridge("audio_lost_seconds_total", 'reason="ring"'): "0x60",
    bridge("packets_total", 'fate="received"'): "0+12000x60",
    bridge("packets_total", 'fate="lost"'): "0+12x60",
    bridge("packets_total", 'fate="foreign_source"'): "0x60",
    bridge("calls_refused_total", 'reason="cpu"'): "0x60",
    bridge("refusals_total", 'code="401"'): "0x60",
    bridge("refusals_total", 'code="A0001"'): "0x60",
    bridge("refusals_total", 'code="unreachable"'): "0x60",
    of("process_open_fds"): "50x60",
    of("process_max_fds"): "1000x60",
    **{bridge("quota_alarm", f'kind="{kind}"'): "0x60" for kind in ("full", "nearly_full", "spent")},
    **histogram("transcript_latency", 'kind="final"', low=RISES, high=RISES),
    **histogram("session_wait", low=RISES, high=RISES),
    **histogram("loop_lag", 'process="worker 1"', low="0+240x60", high="0+240x60"),
}

FIRING: dict[str, Series] = {
    "RtzrBridgeDown": {of("up"): "0x60"},
    "RtzrBridgePbxDisconnected": {bridge("pbx_connected"): "0x60"},
    "RtzrBridgeNotReady": {bridge("ready"): "0x60"},
    "RtzrBridgeQuotaSpent": {bridge("quota_alarm", 'kind="spent"'): "1x60"},
    "RtzrBridgeReloadFailed": {bridge("config_reload_ok"): "0x60"},
    "RtzrBridgeAudioLost": {bridge("audio_lost_seconds_total", 'reason="ring"'): RISES},
    "RtzrBridgeNoAudio": {bridge("audio_seconds_total", 'fate="arrived"'): "900x60"},
    "RtzrBridgePacketsLost": {bridge("packets_total", 'fate="lost"'): "0+600x60"},
    "RtzrBridgeForeignPackets": {bridge("packets_total", 'fate="foreign_source"'): "0+600x60"},
    "RtzrBridgeFinalsLate": histogram("transcript_latency", 'kind="final"', low="0x60", high=RISES),
    "RtzrBridgeBacklog": {bridge("backlog_seconds"): "25x60"},
    "RtzrBridgeSessionsSlow": histogram("session_wait", low="0x60", high=RISES),
    "RtzrBridgeChannelsFull": {
        bridge("quota_alarm", 'kind="full"'): "1x60",
        bridge("legs_waiting"): "2x60",
    },
    "RtzrBridgeChannelsNearlyFull": {bridge("quota_alarm", 'kind="nearly_full"'): "1x60"},
    "RtzrBridgeRefused": {bridge("refusals_total", 'code="401"'): "0x29 1x30"},
    "RtzrBridgeUnreachable": {bridge("refusals_total", 'code="unreachable"'): RISES},
    "RtzrBridgeCallsRefused": {bridge("calls_refused_total", 'reason="cpu"'): "0x29 1x30"},
    "RtzrBridgeLoopLag": histogram("loop_lag", 'process="worker 1"', low="0x60", high="0+240x60"),
    "RtzrBridgeWorkerLost": {bridge("workers_lost_total"): "0x29 1x30"},
    "RtzrBridgeFilesNearlyUsed": {of("process_open_fds"): "900x60"},
    "RtzrBridgeEventsDropped": {bridge("events_total", 'sink="jsonl"', 'fate="dropped"'): "0x29 1x30"},
    "RtzrBridgeOutboxDegraded": {bridge("outbox_degraded"): "1x60"},
    "RtzrBridgeDeliveriesStuck": {bridge("deliveries_oldest_seconds", 'endpoint="webhook:crm"'): "0+60x60"},
    "RtzrBridgeDeliveriesGivenUp": {
        bridge("deliveries_total", 'endpoint="webhook:crm"', 'fate="given_up"'): "0x29 1x30"
    },
    "RtzrBridgeCostHigh": {bridge("cost_won_total"): "0+9000x60"},
}
"""What differs from calm, by the one alert that it is for."""


def case(changed: Series, firing: str = "") -> dict[str, Any]:
    """After 35 minutes there is this alert and no other: `ALERTS` is Prometheus' own series of them."""
    values = {**CALM, **changed}
    expected = [{"labels": f'{{alertname="{firing}"}}', "value": 1}] if firing else []
    expr = 'group by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": told} for name, told in values.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": "35m", "exp_samples": expected}],
    }


def run(promtool: Promtool, folder: Path, *cases: dict[str, Any]) -> None:
    path = folder / "test.yaml"
    path.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    promtool("test", "rules", str(path))


def test_prometheus_takes_the_rules_and_its_configuration(promtool: Promtool) -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))
    assert "is valid prometheus config file" in promtool("check", "config", str(FOLDER / "prometheus.yaml"))


def test_nothing_fires_while_all_is_well(promtool: Promtool, tmp_path: Path) -> None:
    run(promtool, tmp_path, case({}))


def test_every_alert_fires_for_what_it_is_for_and_no_other_does(promtool: Promtool, tmp_path: Path) -> None:
    assert FIRING.keys() == {rule["alert"] for rule in RULES}
    assert all(changed.keys() <= CALM.keys() for changed in FIRING.values()), "else calm proves nothing of it"
    run(promtool, tmp_path, *(case(changed, name) for name, changed in FIRING.items()))


def test_a_case_that_is_wrong_is_found(promtool: Promtool, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="RtzrBridgeDown"):
        run(promtool, tmp_path, case({of("up"): "0x60"}))


def test_every_alert_says_where_it_is_and_how_soon_it_matters() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert re.search(r"\{\{ \$labels\.", rule["annotations"]["summary"]) or rule["alert"].endswith(
            "Spent"
        )
