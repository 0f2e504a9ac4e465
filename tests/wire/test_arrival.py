"""bridge/wire/arrival.py: audio without a time of its own follows on itself, and holes stay holes."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.arrival import GAP_MS, Arrival


def test_audio_follows_on_itself_however_late_it_comes() -> None:
    arrival = Arrival()
    placed = [arrival.place(20, now) for now in (120, 135, 165, 240, 240, 241)]
    assert placed == [100, 120, 140, 160, 180, 200]


def test_a_hole_stays_a_hole() -> None:
    arrival = Arrival()
    assert arrival.place(20, 1000) == 980
    assert arrival.place(20, 6000) == 5980
    assert arrival.place(20, 6020) == 6000


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 2000)), min_size=1))
def test_audio_never_overlaps_nor_lags(pieces: list[tuple[float, float]]) -> None:
    arrival, now, end = Arrival(), 0.0, -1e9
    for length, wait in pieces:
        now += wait
        at = arrival.place(length, now)
        assert at >= end - 1e-6
        assert at > now - length - GAP_MS - 1e-6
        end = at + length
