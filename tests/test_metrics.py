"""The metrics: differences by tick, and the text that Prometheus reads."""

from bridge.metrics import REGISTRY, bump, bump_audio, difference, export, text
from bridge.types import GapReason


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_difference_leaves_out_what_did_not_grow() -> None:
    assert difference({"lost": 2, "late": 1}, {"lost": 5, "late": 1, "jumps": 0}) == {"lost": 3}
    assert difference({}, {"lost": 5}) == {"lost": 5}


def test_each_tick_adds_what_happened_since_the_last() -> None:
    before = value("rtzr_bridge_packets_total", fate="accepted")
    export({}, {"accepted": 50})
    export({"accepted": 50}, {"accepted": 80})
    assert value("rtzr_bridge_packets_total", fate="accepted") == before + 80


def test_audio_is_counted_in_seconds_and_what_was_lost_by_its_reason() -> None:
    before = value("rtzr_bridge_audio_seconds_total", fate="withheld")
    lost = value("rtzr_bridge_audio_lost_seconds_total", reason="ring")
    bump_audio({"withheld": 1250.0, "lost_ring": 500.0})
    assert value("rtzr_bridge_audio_seconds_total", fate="withheld") == before + 1.25
    assert value("rtzr_bridge_audio_lost_seconds_total", reason="ring") == lost + 0.5
    assert b'rtzr_bridge_audio_seconds_total{fate="withheld"}' in text()


def test_connections_of_media_are_no_packets() -> None:
    before = value("rtzr_bridge_media_connections_total", fate="foreign")
    bump({"media_foreign": 2})
    assert value("rtzr_bridge_media_connections_total", fate="foreign") == before + 2
    assert REGISTRY.get_sample_value("rtzr_bridge_packets_total", {"fate": "media_foreign"}) is None


def test_what_may_be_lost_is_there_before_anything_was() -> None:
    for reason in GapReason:
        assert (
            REGISTRY.get_sample_value("rtzr_bridge_audio_lost_seconds_total", {"reason": reason.value})
            is not None
        )


def test_the_first_scrape_has_no_series_that_nobody_asked_for() -> None:
    assert b"_created" not in text()
