"""The counters are plain numbers that start at nought and go out by name."""

from dataclasses import asdict

from bridge.wire.fates import RtpCounters


def test_all_counters_start_at_nought() -> None:
    assert set(asdict(RtpCounters()).values()) == {0}
