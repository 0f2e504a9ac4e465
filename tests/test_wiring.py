"""bridge/wiring.py: what the YAML says reaches the parts that act on it. It runs in tests/asterisk."""

from dataclasses import replace
from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load
from bridge.outbox.outbox import OutboxSettings
from bridge.sinks.console import ConsoleSink
from bridge.sinks.jsonl import JsonlSink
from bridge.wire.gate import GateSettings, Mode
from bridge.wiring import build_outbox, build_sinks, leg_settings, settled, stream_options

ENVIRON = {"RTZR_CLIENT_ID": "id", "RTZR_CLIENT_SECRET": "secret", "ARI_PASSWORD": "password"}
TOKEN = {"RTZR_FEED_TOKEN": "t0ken-" * 8}


def configured(folder: Path, text: str) -> Config:
    path = folder / "bridge.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENVIRON | TOKEN)


def test_options_are_spelled_as_rtzr_wants_them(tmp_path: Path) -> None:
    options = stream_options(configured(tmp_path, "rtzr: {keywords: [예약, '취소:2.5'], use_itn: false}"))
    assert options == {
        "model_name": "sommers_ko",
        "domain": "CALL",
        "language": "ko",
        "use_itn": "false",
        "use_disfluency_filter": "false",
        "use_profanity_filter": "false",
        "use_punctuation": "false",
        "keywords": "예약,취소:2.5",
        "epd_time": "0.5",
        "max_utter_duration": "12",
    }


def test_the_gates_thresholds_are_the_yamls(tmp_path: Path) -> None:
    gate = "gate: {mode: vad, silence_ms: 700, aggressiveness: 3}"
    text = f"{gate}\nhangup: {{drain_ms: 100}}\nmedia: {{message_ms: 20}}"
    settings = leg_settings(configured(tmp_path, text))
    assert settings.gate == GateSettings(mode=Mode.VAD, silence_ms=700, aggressiveness=3)
    assert (settings.session.drain_ms, settings.message_ms) == (100, 20)


def test_the_gates_defaults_are_the_same_in_both_places() -> None:
    assert leg_settings(Config()).gate == GateSettings()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("media: {}", [ConsoleSink]),
        ("sinks: {console: {enabled: false}, jsonl: {path: FOLDER/events.jsonl}}", [JsonlSink]),
        ("sinks: {jsonl: {path: FOLDER/events.jsonl}}", [ConsoleSink, JsonlSink]),
    ],
)
async def test_sinks_are_the_yamls(tmp_path: Path, text: str, kinds: list[type]) -> None:
    sinks = build_sinks(configured(tmp_path, text.replace("FOLDER", str(tmp_path))))
    assert [type(sink) for sink in sinks] == kinds


async def test_an_outbox_is_the_yamls(tmp_path: Path) -> None:
    assert build_outbox(Config()) is None
    text = f"outbox: {{path: {tmp_path}/o.db, max_mb: 1, keep_days: 2, sync: full}}"
    outbox = build_outbox(configured(tmp_path, text))
    assert outbox is not None
    kept = OutboxSettings(max_mb=1, keep_days=2, sync="full", keep_delivered=False)
    assert outbox.settings == kept
    followed = build_outbox(configured(tmp_path, f"{text}\nsinks: {{feed: {{port: 8099}}}}"))
    assert followed is not None
    assert followed.settings == replace(kept, keep_delivered=True), "for those who come back"
    await outbox.open()
    await outbox.close()
    assert (tmp_path / "o.db").exists()


def test_the_outboxs_defaults_are_the_same_in_both_places() -> None:
    given = Config().outbox
    assert OutboxSettings(given.max_mb, given.keep_days, given.sync) == OutboxSettings()


def test_workers_by_themselves_are_given_no_port_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.wiring.workers_of", lambda _: 4)
    given = configured(tmp_path, "workers: auto\nmedia: {websocket_port: 9095}")
    with pytest.raises(ConfigError, match=r"^media\.websocket_port: is one of AudioSocket's, for 4 workers"):
        settled(given)
