"""What a whole run tells whom: transcripts and numbers to the endpoints, none of them to the log or a
metric's label. With everything that can be on, in one process and in workers."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import EmulatorProcess
from tests.asterisk.pbx import free_tcp_port, wait_for
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.hooks import SECRET, Hooks
from tests.freeswitch.site import SwitchThread

CALLER, CALLED = "01098761234", "+827055556789"
NUMBERS = re.compile(r"9876.?1234|5555.?6789")
FEED_TOKEN = "feed-token-of-32-characters-0123"
SECRETS = (FEED_TOKEN, SECRET, "demo-secret", "Bearer", "eyJ", "whsec_")
A_CALL_AT_MOST = 11
"""Lines: of each leg its token, its socket opened, reused and closed; and of the call its end and cost."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


class Site:
    """A daemon with all that can be on."""

    def __init__(self, folder: Path, hooks: Hooks, workers: int) -> None:
        self.port = free_tcp_port()
        feed = {"port": free_tcp_port()}
        webhooks = [{"name": "crm", "url": hooks.url, "secret_env": ["CRM_SECRET"], "allow_private": True}]
        self.settings: dict[str, Any] = {
            "metrics": {"port": self.port},
            "admin": {"socket": str(folder / "admin.sock")},
            "outbox": {"path": str(folder / "outbox.db")},
            "spool": {"folder": str(folder / "spool")},
            "sinks": {"feed": feed, "webhooks": webhooks, "pbx": {"user_event": "RTZR_TEXT"}},
            "workers": workers,
        }

    def get(self, what: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{what}", trust_env=False)


def labels(text: str) -> set[str]:
    """Every value of a label."""
    families = text_string_to_metric_families(text)
    return {value for one in families for sample in one.samples for value in sample.labels.values()}


def audio(text: str) -> dict[str, float]:
    """Seconds by fate, as scraped, but for those of which there are none."""
    families = {one.name: one for one in text_string_to_metric_families(text)}
    samples = families["rtzr_bridge_audio_seconds"].samples
    return {sample.labels["fate"]: sample.value for sample in samples if sample.value}


def booked(ledger: dict[str, Any]) -> dict[str, float]:
    """The same by the call's own books."""
    fates = (
        "arrived",
        "sent",
        "sent_first",
        "replayed",
        "filled",
        "keepalive",
        "mixed",
        "withheld",
        "paused",
    )
    return {fate: ledger[f"{fate}_ms"] / 1000 for fate in fates if ledger[f"{fate}_ms"]}


def lines_of(log: str) -> list[dict[str, Any]]:
    """All but what asyncio says in its debug mode."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if not line["event"].startswith("Executing <")]


@pytest.mark.parametrize("workers", [1, 2])
def test_endpoints_are_told_everything_and_log_and_metrics_nothing_of_it(
    emulator: EmulatorProcess,
    tmp_path: Path,
    workers: int,
    promtool: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRM_SECRET", SECRET)
    monkeypatch.setenv("RTZR_FEED_TOKEN", FEED_TOKEN)
    with Hooks(1, failing=0) as hooks, SwitchThread() as pbx:
        site = Site(tmp_path, hooks, workers)
        with FreeSwitchBridge(pbx.port, emulator, tmp_path, **site.settings) as bridge:
            wait_for(lambda: site.get("/ready").status_code == 200, 10, bridge.printed)
            before = len(lines_of(bridge.printed()))
            call = pbx.call(CALLER, CALLED)
            pbx.say((call.caller, 0), (call.callee, 1), (call.caller, 2))
            live = site.get("/metrics").text
            pbx.do(call.hang_up())
            wait_for(
                lambda: any(one["type"].endswith("call.ended") for one in hooks.events), 10, bridge.printed
            )
            log = lines_of(bridge.printed())[before:]
            wait_for(
                lambda: 'calls_ended_total{verdict="complete"} 1.0' in site.get("/metrics").text,
                5,
                bridge.printed,
            )
            wait_for(lambda: "sent_first" in audio(site.get("/metrics").text), 5, bridge.printed)
            text = site.get("/metrics").text
            assert bridge.terminate(20) == 0
        told = json.dumps(hooks.events, ensure_ascii=False)
        written = bridge.printed()
    spoken = SENTENCES[:3]
    assert all(sentence in told for sentence in spoken)
    assert CALLER in told

    words = {word for sentence in spoken for word in sentence.split()}
    assert [word for word in sorted(words) if word in written] == []
    assert [secret for secret in SECRETS if secret in written] == []
    assert not NUMBERS.search(written)
    assert [line for line in log if not line.get("call")] == [], "every line is about the one call"
    assert [line for line in log if line["level"] != "info"] == []
    assert len(log) <= A_CALL_AT_MOST, log

    ids = {one["subject"] for one in hooks.events} | {
        one["data"].get("channel", "") for one in hooks.events
    } - {""}
    for scrape in (live, text):
        assert promtool("check", "metrics", given=scrape.encode()) == ""
        assert not [
            value for value in labels(scrape) if NUMBERS.search(value) or any(one in value for one in ids)
        ]
        assert not NUMBERS.search(scrape)
    assert "rtzr_bridge_legs 2.0" in live
    assert re.search(r'audio_seconds_total\{fate="sent"\} [1-9]', live), "told while the legs live"
    assert 'transcript_latency_seconds_count{kind="final"} 3.0' in text
    assert "rtzr_bridge_session_wait_seconds_count 2.0" in text
    assert re.search(r"rtzr_bridge_cost_won_total [1-9]", text)
    process = "daemon" if workers == 1 else "worker 1"
    assert re.search(rf'loop_lag_seconds_count\{{process="{process}"\}} [1-9]', text)
    assert ('worker_resident_memory_bytes{process="worker 0"}' in text) == (workers > 1)
    (ended,) = [one["data"] for one in hooks.events if one["type"].endswith("call.ended")]
    assert audio(text) == {fate: pytest.approx(s, abs=0.02) for fate, s in booked(ended["ledger"]).items()}
