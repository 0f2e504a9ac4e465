"""A real Prometheus, with the configuration that ships, scrapes a daemon and judges what it finds."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.asterisk.daemon import EmulatorProcess
from tests.asterisk.pbx import free_tcp_port, wait_for
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.site import SwitchThread

SHIPPED = Path(__file__).parents[2] / "docker" / "prometheus"


class Prometheus:
    """As an administrator starts it, in a hurry."""

    def __init__(self, port: int, log: Path) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"
        self._log = log

    def get(self, what: str, **query: str) -> Any:
        return httpx.get(f"{self._base}/{what}", params=query, trust_env=False).json()["data"]

    def up(self) -> bool:
        try:
            return bool(self.get("targets")["activeTargets"][0]["health"] == "up")
        except (httpx.TransportError, ValueError, LookupError):
            return False

    def said(self) -> str:
        return self._log.read_text()

    def seen(self) -> set[str]:
        """Alerts that fire, or will when it goes on so."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"]}


@contextmanager
def scraping(port: int, folder: Path) -> Iterator[Prometheus]:
    """`port`: the daemon's."""
    text = (SHIPPED / "prometheus.yaml").read_text()
    (folder / "prometheus.yaml").write_text(text.replace("9464", str(port)).replace(": 15s", ": 200ms"))
    (folder / "alerts.yaml").write_text((SHIPPED / "alerts.yaml").read_text())
    own = free_tcp_port()
    log = folder / "prometheus.log"
    options = [
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    with log.open("wb") as out, subprocess.Popen(["prometheus", *options], stdout=out, stderr=out) as process:
        try:
            yield Prometheus(own, log)
        finally:
            process.kill()


@pytest.mark.timeout(60)
def test_prometheus_scrapes_a_daemon_and_sees_what_is_wrong(
    promtool: Callable[..., str], tmp_path: Path
) -> None:
    port = free_tcp_port()
    with EmulatorProcess(tmp_path) as emulator, SwitchThread() as pbx:
        settings: dict[str, Any] = {"metrics": {"port": port}}
        with (
            FreeSwitchBridge(pbx.port, emulator, tmp_path, **settings) as bridge,
            scraping(port, tmp_path) as prometheus,
        ):
            wait_for(prometheus.up, 20, prometheus.said)
            assert len(prometheus.get("rules")["groups"][0]["rules"]) > 20
            (ready,) = prometheus.get("query", query="rtzr_bridge_ready")["result"]
            assert ready["metric"]["job"] == "rtzr-bridge"
            assert prometheus.seen() == set(), json.dumps(prometheus.get("alerts"))
            pbx.switch.knobs = replace(pbx.switch.knobs, acl_refuses=True)
            pbx.do(pbx.cut())
            wait_for(lambda: "RtzrBridgePbxDisconnected" in prometheus.seen(), 10, prometheus.said)
            assert bridge.terminate() == 0
            wait_for(lambda: "RtzrBridgeDown" in prometheus.seen(), 10, prometheus.said)
