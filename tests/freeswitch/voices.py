"""What the parties of a replayed call say: sentences of the code book where the recording has audio.

Pure. A script's audio is one track, counted in milliseconds of audio sent: what a hold or a pause drops was
never in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bridge.emulator.codebook import say

FILL = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Saying:
    script: int
    """Which start of the leg's it belongs to, from 0."""
    at_ms: int
    """Where it begins in the audio of that start."""
    text: str


def track(sayings: Sequence[Saying], script: int, rate: int, ms: float) -> bytes:
    """One party's audio of one start: 16-bit little-endian mono, silence where nothing is said."""
    audio = bytearray(2 * round(ms * rate / 1000))
    for saying in sayings:
        if saying.script == script:
            voice = say(saying.text, rate)
            at = 2 * (saying.at_ms * rate // 1000)
            if at + len(voice) > len(audio):
                raise ValueError(f"{saying.text} does not fit into {ms} ms")
            audio[at : at + len(voice)] = voice
    return bytes(audio)


class Voice:
    """The audio of one stream, frame by frame, in the format that was asked for."""

    def __init__(self, own: bytes, other: bytes, mix: str, rate: int) -> None:
        """`own`, `other`: tracks of the leg's party and of the one it talks to, of `rate` Hz."""
        self.mix = mix
        self._rate = rate
        self._pcm = _mixed(own, other, mix)
        self._width = 4 if mix == "stereo" else 2
        self._sent_ms = 0.0
        self._at = 0

    def next(self, ms: float, *, fill: bool = False) -> bytes:
        """The next so many milliseconds; silence after the end of the track."""
        self._sent_ms += ms
        until = round(self._sent_ms * self._rate / 1000) * self._width
        frame = self._pcm[self._at : until].ljust(until - self._at, b"\0")
        self._at = until
        return FILL * (len(frame) // 2) if fill else frame


def _mixed(own: bytes, other: bytes, mix: str) -> bytes:
    if mix == "mono":
        return own
    size = max(len(own), len(other))
    both = np.array([np.frombuffer(one.ljust(size, b"\0"), "<i2") for one in (own, other)], dtype=np.int32)
    if mix == "stereo":
        return both.T.astype("<i2").tobytes()
    summed: bytes = both.sum(axis=0).clip(-32768, 32767).astype("<i2").tobytes()
    return summed
