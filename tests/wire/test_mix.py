"""Two sides in one stream: every sample once and at its time, or counted; a side alone untouched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, pi, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Frame
from bridge.wire import g711
from bridge.wire.mix import Mixer

CODECS = [Codec.ULAW, Codec.ALAW, Codec.SLIN, Codec.SLIN16]


def frames(payload: bytes, at_ms: float, codec: Codec = Codec.ULAW, step_ms: int = 20) -> list[Frame]:
    size = step_ms * codec.bytes_per_ms
    return [Frame(payload[at : at + size], at_ms + codec.ms(at)) for at in range(0, len(payload), size)]


def tone(hertz: float, ms: int, codec: Codec, amplitude: int) -> bytes:
    wave = [round(amplitude * sin(2 * pi * hertz * n / codec.rate)) for n in range(ms * codec.rate // 1000)]
    return np.array(wave, "<i2").tobytes()


def joined(taken: Sequence[Frame]) -> bytes:
    return b"".join(frame.payload for frame in taken)


@pytest.mark.parametrize("codec", CODECS)
def test_both_at_once_are_the_clipped_sum(codec: Codec) -> None:
    left, right = (g711.from_pcm(tone(hertz, 200, codec, 25_000), codec) for hertz in (440, 700))
    mixer = Mixer(codec)
    mixer.push(0, frames(left, 0, codec))
    mixer.push(1, frames(right, 0, codec))
    taken = mixer.take(0)
    assert [frame.at_ms for frame in taken] == list(range(0, 200, 20))
    heard = [np.frombuffer(g711.to_pcm(side, codec), "<i2").astype(int) for side in (left, right)]
    clipped = np.clip(heard[0] + heard[1], -32768, 32767)
    assert abs(heard[0] + heard[1]).max() > 32768
    assert joined(taken) == g711.from_pcm(clipped.astype("<i2").tobytes(), codec)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_that_lie_across_the_grid_come_out_on_it(codec: Codec) -> None:
    payload = bytes(range(256)) * (codec.bytes_per_ms * 100 // 256 + 1)
    payload = payload[: codec.bytes_per_ms * 100]
    mixer = Mixer(codec)
    mixer.push(0, frames(payload, 7, codec))
    mixer.end(1)
    taken = mixer.take(0)
    mixer.end(0)
    taken += mixer.take(0)
    assert [frame.at_ms for frame in taken] == [7, 20, 40, 60, 80, 100]
    assert joined(taken) == payload


def test_a_side_that_is_silent_is_waited_for_no_longer_than_the_lag() -> None:
    mixer = Mixer(Codec.ULAW, lag_ms=100)
    mixer.push(1, frames(b"\x10" * 160, 0))
    mixer.push(0, frames(b"\x20" * 480, 0))
    assert [frame.at_ms for frame in mixer.take(60)] == [0]
    assert mixer.take(139.9) == []
    assert [frame.at_ms for frame in mixer.take(140)] == [20]
    mixer.push(1, frames(b"\x10" * 160, 40))
    (both,) = mixer.take(141)
    assert both.at_ms == 40
    assert both.payload not in (b"\x10" * 160, b"\x20" * 160)
    assert mixer.late_ms == 0


def test_a_side_that_has_ended_is_not_waited_for() -> None:
    mixer = Mixer(Codec.ULAW)
    mixer.push(0, frames(b"\x20" * 200, 0))
    assert mixer.take(25) == []
    mixer.end(1)
    assert [frame.at_ms for frame in mixer.take(25)] == [0]
    mixer.end(0)
    (rest,) = mixer.take(25)
    assert (rest.at_ms, rest.payload) == (20, b"\x20" * 40)


def test_what_comes_too_late_is_counted_and_not_heard() -> None:
    mixer = Mixer(Codec.ULAW, lag_ms=100)
    mixer.push(0, frames(b"\x20" * 320, 0))
    assert len(mixer.take(140)) == 2
    mixer.push(1, frames(b"\x10" * 320, 30))
    assert mixer.late_ms == 10
    (rest, _) = mixer.take(300)
    assert (rest.at_ms, rest.payload) == (40, b"\x10" * 160)


def test_nothing_comes_where_neither_spoke() -> None:
    mixer = Mixer(Codec.ULAW)
    mixer.push(0, [Frame(b"\x20" * 40, 2), Frame(b"\x21" * 40, 12), Frame(b"\x22" * 160, 500)])
    mixer.push(1, [Frame(b"\x23" * 16, 9)])
    taken = mixer.take(1000)
    assert [(frame.at_ms, len(frame.payload)) for frame in taken] == [(2, 40), (9, 16), (12, 40), (500, 160)]


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    mixer = Mixer(Codec.ULAW, most_ms=1000)
    mixer.push(0, frames(b"\x20" * 8 * 3000, 0))
    mixer.push(1, [Frame(b"\x20" * 160, 1e9)])
    assert len(mixer._slots) == 50
    assert mixer.dropped_ms == 2020
    assert mixer.take(3100)[0].at_ms == 2020


@pytest.mark.parametrize("noise", [1e-9, 0.06])
def test_times_that_round_apart_do_not_tear_a_stream(noise: float) -> None:
    mixer = Mixer(Codec.ULAW)
    payload = bytes(range(256)) * 50
    mixer.push(
        0, [Frame(f.payload, f.at_ms + (n % 2) * noise) for n, f in enumerate(frames(payload, 0.0625))]
    )
    mixer.end(0)
    mixer.end(1)
    assert joined(mixer.take(0)) == payload
    assert mixer.late_ms == 0


# Any frames, in any order, taken at any time.


def sample(side: int, at: int) -> int:
    """A value that tells side and position: side 0 counts in ones, side 1 in multiples of 128."""
    return at % 127 + 1 if side == 0 else 128 * (at % 200 + 1)


def audio(side: int, start: int, length: int) -> bytes:
    return np.array([sample(side, at) for at in range(start, start + length)], "<i2").tobytes()


@dataclass
class Listener:
    """A mixer, what went in, what came out, and since when a sample may be late."""

    lag_ms: float
    mixer: Mixer = field(init=False)
    pushed: int = 0
    reach: list[float] = field(default_factory=lambda: [-inf, -inf])
    open_from: float = -inf
    into: list[set[int]] = field(default_factory=lambda: [set(), set()])
    late: int = 0
    out: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mixer = Mixer(Codec.SLIN, lag_ms=self.lag_ms)

    def push(self, side: int, start: int, length: int) -> None:
        self.mixer.push(side, [Frame(audio(side, start, length), start / 8)])
        new = {at for at in range(start, start + length) if at >= self.open_from} - self.into[side]
        self.into[side] |= new
        self.late += length - len(new)
        self.reach[side] = max(self.reach[side], start + length)

    def take(self, now_ms: float) -> None:
        until = max(min(self.reach), (now_ms - self.lag_ms) * 8) // 160 * 160
        for frame in self.mixer.take(now_ms):
            start, length = round(frame.at_ms * 8), len(frame.payload) // 2
            assert length
            assert start // 160 == (start + length - 1) // 160
            assert start + length <= until
            for at, value in enumerate(np.frombuffer(frame.payload, "<i2"), start):
                assert at not in self.out
                assert at >= self.open_from
                self.out[at] = int(value)
        self.open_from = max(self.open_from, until)

    def end(self) -> None:
        for side in (0, 1):
            self.mixer.end(side)
            self.reach[side] = inf
        for frame in self.mixer.take(0):
            values = np.frombuffer(frame.payload, "<i2")
            self.out |= {at: int(value) for at, value in enumerate(values, round(frame.at_ms * 8))}


spans = st.tuples(st.integers(0, 1), st.integers(0, 2000), st.integers(1, 400))
steps = st.lists(st.one_of(spans, st.floats(0, 400)), max_size=30)


@given(steps, st.sampled_from([0.0, 20.0, 100.0]))
def test_every_sample_comes_once_at_its_time_or_is_counted(
    steps: list[tuple[int, int, int] | float], lag_ms: float
) -> None:
    listener = Listener(lag_ms)
    for step in steps:
        if isinstance(step, tuple):
            listener.push(*step)
        else:
            listener.take(step)
    listener.end()
    expected = {
        at: sum(sample(side, at) for side in (0, 1) if at in listener.into[side])
        for at in listener.into[0] | listener.into[1]
    }
    assert listener.out == expected
    assert listener.mixer.late_ms * 8 == pytest.approx(listener.late)
    assert listener.mixer.dropped_ms == 0
    assert listener.mixer._slots == {}


@given(
    st.sampled_from(CODECS),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)), min_size=1, max_size=20),
    st.integers(0, 1),
)
def test_a_side_alone_comes_out_byte_for_byte(codec: Codec, parts: list[tuple[int, int]], side: int) -> None:
    """Also those bytes of mu-law that no encoder makes."""
    source, at_ms, now_ms = np.random.default_rng(len(parts)), 0.0, 0.0
    mixer, went, came = Mixer(codec), list[tuple[float, bytes]](), list[Frame]()
    for hole_ms, length_ms in parts:
        at_ms += hole_ms
        payload = source.bytes(length_ms * codec.bytes_per_ms)
        went.append((at_ms, payload))
        mixer.push(side, [Frame(payload, at_ms)])
        at_ms += length_ms
        now_ms = at_ms
        came += mixer.take(now_ms)
    mixer.end(0)
    mixer.end(1)
    came += mixer.take(now_ms)
    assert joined(came) == b"".join(payload for _, payload in went)
    times = {at_ms + n for at_ms, payload in went for n in range(int(codec.ms(len(payload))))}
    assert {f.at_ms + n for f in came for n in range(int(codec.ms(len(f.payload))))} == times
    assert mixer.late_ms == 0
