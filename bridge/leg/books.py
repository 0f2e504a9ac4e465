"""The books of one leg: what is lost is told as a gap, what nobody needs leaves the disk, and at its end
every millisecond is accounted for.

It counts what has become of the audio, and decides nothing: what is sent and what is given up is `call`'s.
"""

import asyncio
from collections.abc import Callable, Sequence

from bridge.events import LegEvents
from bridge.leg.conversation import LegSettings
from bridge.leg.ring import Ring
from bridge.spool.kept import Kept
from bridge.spool.spool import LegSpool
from bridge.types import Codec, Event, Frame, Gap, GapReason, LegId
from bridge.wire.gate import Audio, Gate
from bridge.wire.ledger import LegReport
from bridge.wire.replay import Loss, Tape


class Books:
    """Of a leg's ring, gate and tape, which it reads; the report is what it writes."""

    __slots__ = (
        "_codec", "_events", "_gate", "_kept", "_leg", "_publish", "_report", "_ring", "_tape",
    )  # fmt: skip

    def __init__(
        self,
        leg: LegId,
        codec: Codec,
        settings: LegSettings,
        audio: tuple[Ring, Gate, Tape],
        report: LegReport,
        events: LegEvents,
        publish: Callable[[Event], None],
        spool: LegSpool | None = None,
    ) -> None:
        self._leg = leg
        self._codec = codec
        self._ring, self._gate, self._tape = audio
        self._report = report
        self._events = events
        self._publish = publish
        self._kept = Kept(spool, codec, settings.gate.preroll_ms)

    def end_ms(self, frame: Frame) -> float:
        """Call time of a frame's end."""
        return frame.at_ms + self._codec.ms(len(frame.payload))

    def keep(self, frames: Sequence[Frame]) -> None:
        """They were taken in; on the disk, too, if there is a spool."""
        self._kept.keep(frames)

    def tell_losses(self, *, all_of_them: bool = False) -> None:
        if self._ring.evicted_ms:
            start_ms, end_ms = self._ring.evicted_span
            self._lose(Loss(start_ms, end_ms, self._ring.evicted_ms, GapReason.RING))
            self._ring.evicted_ms = 0.0
        if self._tape.losing is not None:
            for loss in self._tape.losses(all_of_them=all_of_them):
                self._lose(loss)

    def _lose(self, loss: Loss) -> None:
        ledger = self._report.ledger
        ledger.unsend(loss.sent_ms)
        ledger.lose(loss.ms, loss.reason)
        self._report.because(loss.reason.value)
        start_ms, end_ms = round(loss.start_ms), round(loss.end_ms)
        self._kept.lose(loss.start_ms, loss.end_ms)
        gap = Gap(self._leg, start_ms, end_ms, round(loss.ms), loss.reason)
        self._publish(self._events.gap(gap, spooled=bool(self._kept)))

    def cover(self) -> None:
        """Once a second: what nobody needs any more need not stay on the disk."""
        self._kept.cover(_now_s(), self._tape, self._gate)

    def hush(self) -> None:
        """A pause has begun: what waits will be neither sent nor kept."""
        self.tell_losses(all_of_them=True)
        self._report.ledger.pause(self._gate.reset())
        self._report.ledger.pause(*self._tape.hush())
        self._kept.hush()

    def since_answer(self, frames: Sequence[Frame], answered_ms: float) -> Sequence[Frame]:
        """What belongs to the answered call; early media is withheld and counted."""
        if not frames or frames[0].at_ms >= answered_ms:
            return frames  # they are in order
        early = [frame for frame in frames if self.end_ms(frame) <= answered_ms]
        self._report.ledger.withheld += sum(self._codec.ms(len(frame.payload)) for frame in early)
        return [frame for frame in frames if self.end_ms(frame) > answered_ms]

    def settle(self, answered_ms: float | None) -> None:
        """Close the books: what still waits somewhere will not be sent."""
        ledger, waiting = self._report.ledger, self._ring.read_now().frames
        ledger.arrived, ledger.mixed = self._ring.arrived_ms, self._ring.mixed_ms
        ledger.pause(self._ring.paused_ms)
        ledger.saved = self._gate.withheld_ms + self._gate.held_ms
        ledger.withheld += ledger.saved
        if answered_ms is None:
            ledger.withheld += self._ring.evicted_ms + sum(self._codec.ms(len(f.payload)) for f in waiting)
        else:
            waiting = self.since_answer(waiting, answered_ms)
            self._tape.append(Audio(f.payload, f.at_ms, voiced=False) for f in waiting)
            self._tape.rewind()  # what was sent and never told is lost with its session
            if self._ring.paused:
                ledger.pause(*self._tape.hush())
            self._tape.give_up(GapReason.DRAIN)
            self.tell_losses(all_of_them=True)
            self._report.reasons += self._ring.flaws
        self._kept.close()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
