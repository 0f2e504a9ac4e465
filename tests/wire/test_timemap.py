"""From RTZR's clock to call time: against a list that holds the call time of every sample sent."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.timemap import TimeMap

RUNS = st.lists(st.tuples(st.integers(-500, 5000), st.integers(1, 400)), min_size=1, max_size=30)
"""How far call time jumps before a piece, and how long the piece is, in milliseconds."""


@dataclass
class Naive:
    """A sample a millisecond: the call time of each, in the order in which they were sent."""

    sent: list[int] = field(default_factory=list)

    def append(self, at_ms: int, length_ms: int) -> None:
        self.sent += range(at_ms, at_ms + length_ms)

    def start(self, session_ms: int) -> int:
        return self.sent[session_ms] if session_ms < len(self.sent) else self.end(session_ms)

    def end(self, session_ms: int) -> int:
        """Where the last sample before it ended; past the end time goes on as it went."""
        last = min(max(session_ms, 1), len(self.sent))
        return self.sent[last - 1] + 1 + session_ms - last


@given(RUNS)
def test_every_moment_is_where_its_sample_was(runs: list[tuple[int, int]]) -> None:
    clocks, naive, at = TimeMap(), Naive(), 1000
    for jump, length in runs:
        jump = 0 if jump in (-1, 1) else jump  # one millisecond is taken for rounding
        at += jump
        clocks.append(at, length)
        naive.append(at, length)
        at += length
    assert clocks.sent_ms == len(naive.sent)
    for moment in range(len(naive.sent) + 50):
        assert clocks.start(moment) == naive.start(moment)
        assert clocks.end(moment) == naive.end(moment)


@given(RUNS)
def test_asked_while_it_grows_it_says_the_same(runs: list[tuple[int, int]]) -> None:
    """A partial is mapped long before the audio behind it is sent."""
    clocks, at, said = TimeMap(), 0, list[tuple[float, float]]()
    for jump, length in runs:
        at += jump
        clocks.append(at, length)
        at += length
        middle = clocks.sent_ms - length / 2
        said.append((middle, clocks.start(middle)))
    assert [(moment, clocks.start(moment)) for moment, _ in said] == said


def test_on_a_seam_a_start_belongs_to_what_follows_and_an_end_to_what_was_before() -> None:
    clocks = TimeMap()
    clocks.append(1000, 200)
    clocks.append(5000, 300)
    assert (clocks.end(200), clocks.start(200)) == (1200, 5000)
    assert (clocks.start(0), clocks.end(500)) == (1000, 5300)


def test_nothing_sent_maps_to_itself() -> None:
    assert TimeMap().start(120) == TimeMap().end(120) == 120


def test_rounding_neither_makes_runs_nor_adds_up() -> None:
    """An hour of 20 ms packets whose call times are each a little off."""
    clocks = TimeMap()
    for number in range(180_000):
        clocks.append(number * 20.0 + (0.4 if number % 2 else -0.4), 20.0)
    assert clocks.start(3_599_000) == pytest.approx(3_599_000, abs=1)
    assert len(clocks._session) == 1


def test_a_clock_that_drifts_is_followed() -> None:
    """200 ppm for an hour are 720 ms; no moment may be more than the seam off."""
    clocks = TimeMap()
    for number in range(180_000):
        clocks.append(number * 20.0 * 1.0002, 20.0)
    assert clocks.start(3_600_000 - 20) == pytest.approx(179_999 * 20 * 1.0002, abs=1.1)
