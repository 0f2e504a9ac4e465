"""The metrics: differences by tick, and the text that Prometheus reads."""

from bridge.metrics import AUDIO_MS, REGISTRY, bump, difference, export, text


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_difference_leaves_out_what_did_not_grow() -> None:
    assert difference({"lost": 2, "late": 1}, {"lost": 5, "late": 1, "jumps": 0}) == {"lost": 3}
    assert difference({}, {"lost": 5}) == {"lost": 5}


def test_each_tick_adds_what_happened_since_the_last() -> None:
    before = value("rtzr_bridge_rtp_total", fate="accepted")
    export({}, {"accepted": 50})
    export({"accepted": 50}, {"accepted": 80})
    assert value("rtzr_bridge_rtp_total", fate="accepted") == before + 80


def test_audio_is_counted_in_its_own_metric() -> None:
    before = value("rtzr_bridge_audio_ms_total", fate="withheld")
    bump({"withheld": 12.5}, AUDIO_MS)
    assert value("rtzr_bridge_audio_ms_total", fate="withheld") == before + 12.5
    assert b'rtzr_bridge_audio_ms_total{fate="withheld"}' in text()
