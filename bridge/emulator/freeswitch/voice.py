"""What a party of an emulated call says, and how two parties' PCM becomes one stream. Arithmetic only."""

from functools import lru_cache
from math import ceil

import numpy as np

FRAME_MS = 20
RATE = 8000
"""The legs are PCMU, as those recorded."""
MOST_BEHIND = 512 * 1024
"""Bytes of one party that a stereo stream keeps while the other is silent (32 s of 8 kHz)."""


class Voice:
    """Silence, but for utterances laid at a time: 16-bit little-endian mono, in frames of 20 ms.

    It answers for any frame at any time, so a stream that paused misses what was said meanwhile.
    """

    def __init__(self, origin_s: float) -> None:
        """Frames are counted from `origin_s` of the loop's clock."""
        self._origin_s = origin_s
        self._said: list[tuple[int, int, bytes]] = []

    def say(self, pcm: bytes, at_s: float) -> float:
        """Say 8 kHz `pcm` at the first frame from `at_s` on; when the last one of it will be over.

        Utterances may not overlap. Both times are the loop's clock.
        """
        first = ceil((at_s - self._origin_s) * 1000 / FRAME_MS)
        frames = ceil(len(pcm) / _size(RATE))
        self._said.append((first, first + frames, pcm))
        return self._origin_s + (first + frames) * FRAME_MS / 1000

    def frame(self, number: int, rate: int) -> bytes:
        """The 20 ms with this number, at `rate` Hz."""
        size = _size(rate)
        for first, end, pcm in self._said:
            if first <= number < end:
                at = (number - first) * size
                return _at_rate(pcm, rate)[at : at + size].ljust(size, b"\x00")
        return bytes(size)


def interleaved(left: bytes, right: bytes) -> bytes:
    """Two channels of 16-bit PCM as one stereo stream."""
    both = np.stack((np.frombuffer(left, "<i2"), np.frombuffer(right, "<i2")), axis=1)
    return bytes(both.tobytes())


def mixed(one: bytes, other: bytes) -> bytes:
    """The clipped sum of two channels of 16-bit PCM."""
    total = np.frombuffer(one, "<i2").astype(np.int32) + np.frombuffer(other, "<i2")
    return bytes(np.clip(total, -32768, 32767).astype("<i2").tobytes())


def tone_of(ms: int, hz: int) -> bytes:
    """A tone of 8 kHz PCM, as loud as FreeSWITCH's own (-7 dB)."""
    times = np.arange(ms * RATE // 1000) / RATE
    pcm: bytes = np.rint(np.sin(2 * np.pi * hz * times) * 14_600).astype("<i2").tobytes()
    return pcm


def _size(rate: int) -> int:
    return 2 * rate * FRAME_MS // 1000


@lru_cache(maxsize=64)
def _at_rate(pcm: bytes, rate: int) -> bytes:
    if rate == RATE:
        return pcm
    samples = np.frombuffer(pcm, "<i2")
    places = np.arange(len(samples) * rate // RATE) * RATE / rate
    resampled = np.rint(np.interp(places, np.arange(len(samples)), samples)).astype("<i2")
    return bytes(resampled.tobytes())
