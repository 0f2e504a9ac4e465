"""How one leg uses the spool, if there is one: what arrives is kept until nobody can need it any more.

Nothing here waits, reads a clock or touches the disk: the spool's thread does.
"""

from collections.abc import Sequence

from bridge.spool.spool import LegSpool
from bridge.types import Codec, Frame
from bridge.wire.gate import Gate
from bridge.wire.replay import Tape

_EVERY_S = 1.0


class Kept:
    """A leg's audio on the disk; without a spool, none."""

    __slots__ = ("_at_s", "_codec", "_preroll_ms", "_spool", "_taken_ms")

    def __init__(self, spool: LegSpool | None, codec: Codec, preroll_ms: float) -> None:
        """`preroll_ms`: what is needed from before the audio that is."""
        self._spool = spool
        self._codec = codec
        self._preroll_ms = preroll_ms
        self._taken_ms = self._at_s = 0.0

    def __bool__(self) -> bool:
        """Whether there is a spool."""
        return self._spool is not None

    def keep(self, frames: Sequence[Frame]) -> None:
        """Audio as it arrives, in order."""
        if self._spool is not None and frames:
            self._spool.keep(frames)
            self._taken_ms = frames[-1].at_ms + self._codec.ms(len(frames[-1].payload))

    def lose(self, start_ms: float, end_ms: float) -> None:
        """This range will not be streamed."""
        if self._spool is not None:
            self._spool.lose(start_ms, end_ms)

    def cover(self, now_s: float, tape: Tape, gate: Gate) -> None:
        """Once a second: what nobody needs any more need not stay on the disk."""
        if self._spool is None or now_s < self._at_s:
            return
        self._at_s = now_s + _EVERY_S
        if (losing := tape.losing) is not None:  # what counts as covered can no longer be lost
            self._spool.lose(losing.start_ms, losing.end_ms)
        needed_ms = tape.needed_from_ms
        if needed_ms is None:
            needed_ms = self._taken_ms - gate.held_ms
        self._spool.covered(needed_ms - self._preroll_ms)

    def hush(self) -> None:
        """A pause has begun: of what was taken, only what is lost already is needed."""
        if self._spool is not None:
            self._spool.covered(self._taken_ms)

    def close(self) -> None:
        """The leg has ended."""
        if self._spool is not None:
            self._spool.close()
