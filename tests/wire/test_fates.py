"""The counters are plain numbers that start at nought and go out by name."""

from dataclasses import asdict

from bridge.wire.fates import RTP_FATES, RtpCounters, numbers


def test_all_counters_start_at_nought() -> None:
    assert set(asdict(RtpCounters()).values()) == {0}


def test_the_numbers_are_in_the_order_of_the_names() -> None:
    counters = RtpCounters(**{fate: place for place, fate in enumerate(RTP_FATES)})
    assert numbers(counters) == tuple(range(len(RTP_FATES)))
    assert asdict(counters) == dict(zip(RTP_FATES, numbers(counters), strict=True))
