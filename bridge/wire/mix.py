"""Both parties of a call mixed into one stream, sample by sample in call time.

For accounts with fewer channels than speakers. Frames of two sides go in, in whatever order and however they
lie; frames on a grid of 20 ms come out. No clock and no session: the caller says what time it is.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from bridge.types import Codec, Frame
from bridge.wire import g711

GRID_MS = 20
_SNAP = 0.75
"""Samples. Call times are floats: frames that follow each other may round apart. A true hole is 1 or more."""

_Piece = tuple[int, bytes]
"""First sample, counted from the call's start, and the payload."""


class Mixer:
    """Mixes the sides 0 and 1 of one call.

    A side that is silent may send nothing at all: after `lag_ms` it is not waited for. At most `most_ms` of
    call time are kept; when more comes, the oldest is dropped.
    """

    def __init__(self, codec: Codec, *, lag_ms: float = 100.0, most_ms: float = 60_000.0) -> None:
        self._codec = codec
        self._lag_ms = lag_ms
        self._slot = codec.rate * GRID_MS // 1000
        self._most = max(1, int(most_ms / GRID_MS))
        self._slots: dict[int, tuple[list[_Piece], list[_Piece]]] = {}
        """By number on the grid: each side's pieces in it, in order, none over another."""
        self._emitted = -(1 << 62)
        """The first sample that was not emitted yet; what comes before it is late."""
        self._reach: list[float] = [-math.inf, -math.inf]
        """Where each side's audio ends so far; infinity once it has ended."""
        self.late_ms = 0.0
        """Audio that came after its time had been emitted, or a second time."""
        self.dropped_ms = 0.0
        """Audio of both sides that nobody took in time."""

    def push(self, side: int, frames: Sequence[Frame]) -> None:
        """Audio of one side, in whole samples."""
        for frame in frames:
            if frame.payload:
                self._place(side, self._sample(frame.at_ms, self._reach[side]), frame.payload)
        while len(self._slots) > self._most:
            self._drop(min(self._slots))

    def end(self, side: int) -> None:
        """No more comes of this side: it is not waited for."""
        self._reach[side] = math.inf

    def take(self, now_ms: float) -> list[Frame]:
        """What both sides have reached, or one of them is late for, in order; no frame where neither spoke.

        A frame is shorter than 20 ms where audio begins or ends within its slot.
        """
        late = (now_ms - self._lag_ms) * self._codec.rate / 1000
        until = max(min(self._reach), late)
        ready = sorted(number for number in self._slots if (number + 1) * self._slot <= until)
        mixed = [frame for number in ready for frame in self._mix(*self._slots.pop(number))]
        if math.isfinite(until):
            self._emitted = max(self._emitted, int(until // self._slot) * self._slot)
        elif ready:
            self._emitted = max(self._emitted, (ready[-1] + 1) * self._slot)
        return mixed

    # Placing.

    def _sample(self, at_ms: float, reach: float) -> int:
        exact = at_ms * self._codec.rate / 1000
        return int(reach) if abs(exact - reach) < _SNAP else round(exact)

    def _place(self, side: int, start: int, payload: bytes) -> None:
        width = self._codec.width
        end = start + len(payload) // width
        self._reach[side] = max(self._reach[side], end)
        at = max(start, min(end, self._emitted))
        self._late(at - start)
        while at < end:
            number = at // self._slot
            upto = min(end, (number + 1) * self._slot)
            piece = at, payload[(at - start) * width : (upto - start) * width]
            self._insert(self._slots.setdefault(number, ([], []))[side], piece)
            at = upto

    def _insert(self, pieces: list[_Piece], piece: _Piece) -> None:
        """Add what is new of a piece; what this side has there already stays."""
        at, payload = piece
        end, fresh = self._end(piece), []
        for have in [*pieces, (end, b"")]:
            if at < min(have[0], end):
                fresh.append(self._cut(piece, at, min(have[0], end)))
            at = max(at, self._end(have))
        kept = sum(len(new) for _, new in fresh)
        self._late((len(payload) - kept) // self._codec.width)
        pieces += fresh
        pieces.sort()

    def _late(self, samples: int) -> None:
        self.late_ms += samples * 1000 / self._codec.rate

    def _drop(self, number: int) -> None:
        self.dropped_ms += sum(self._codec.ms(len(p)) for side in self._slots.pop(number) for _, p in side)
        self._emitted = max(self._emitted, (number + 1) * self._slot)

    # Mixing.

    def _mix(self, left: list[_Piece], right: list[_Piece]) -> Iterator[Frame]:
        """The frames of one slot: usually one, more where there are holes."""
        edges = sorted({edge for piece in (*left, *right) for edge in (piece[0], self._end(piece))})
        start, run = edges[0], b""
        for at, upto in pairwise(edges):
            sides = [self._cut(piece, at, upto)[1] for piece in (*left, *right) if self._covers(piece, at)]
            run += self._sum(*sides) if len(sides) == 2 else b"".join(sides)
            if not sides or upto == edges[-1]:
                if run:
                    yield Frame(run, start * 1000 / self._codec.rate)
                start, run = upto, b""

    def _sum(self, left: bytes, right: bytes) -> bytes:
        """Both heard at once; what is too loud is clipped, not wrapped."""
        pcm = [
            np.frombuffer(g711.to_pcm(side, self._codec), "<i2").astype(np.int32) for side in (left, right)
        ]
        both = np.clip(pcm[0] + pcm[1], -32768, 32767).astype("<i2")
        return g711.from_pcm(both.tobytes(), self._codec)

    def _covers(self, piece: _Piece, at: int) -> bool:
        return piece[0] <= at < self._end(piece)

    def _end(self, piece: _Piece) -> int:
        return piece[0] + len(piece[1]) // self._codec.width

    def _cut(self, piece: _Piece, at: int, upto: int) -> _Piece:
        width = self._codec.width
        return at, piece[1][(at - piece[0]) * width : (upto - piece[0]) * width]
