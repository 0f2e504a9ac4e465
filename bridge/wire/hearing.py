"""From RTZR's results to transcripts in call time, each piece of speech told once.

After a lost socket audio is sent again, and RTZR may tell again what a final has told already: that is found
by time, never by text. One `Hearing` a leg, one time map a session. No socket, no clock.
"""

from dataclasses import dataclass

from bridge.types import LegId, Transcript, Word
from bridge.wire.rtzr import Result
from bridge.wire.timemap import TimeMap

_OVERLAP_MS = 100.0
"""What ends so soon after a final's end is that final's own tail, heard again."""


@dataclass(slots=True)
class Hearing:
    """What a leg was told so far."""

    leg: LegId
    told_ms: float = 0.0
    """Call time to which finals reach."""
    repeats: int = 0
    """Results, or words of them, that had been told before."""

    def transcript(self, result: Result, clocks: TimeMap) -> Transcript | None:
        """`result` in call time; None when nothing of it is new, or when it has no text."""
        transcript: Transcript | None = self._mapped(result, clocks)
        if transcript is not None and result.start_ms < clocks.again_ms:
            transcript = self._new(transcript)
        if transcript is not None and transcript.final:
            self.told_ms = max(self.told_ms, transcript.end_ms)
        return transcript if transcript is not None and transcript.text else None

    def _mapped(self, result: Result, clocks: TimeMap) -> Transcript:
        words = tuple(
            Word(w.text, round(clocks.start(w.start_ms)), round(clocks.end(w.end_ms)), w.confidence)
            for w in result.words
        )
        # A final that says it reaches beyond what was sent must not make repeats of what is said next.
        start_ms = clocks.start(min(result.start_ms, clocks.sent_ms))
        end_ms = clocks.end(min(result.end_ms, clocks.sent_ms))
        return Transcript(self.leg, result.text, round(start_ms), round(end_ms), result.final, words)

    def _new(self, transcript: Transcript) -> Transcript | None:
        """What of it was not told before."""
        if transcript.start_ms >= self.told_ms:
            return transcript
        if not transcript.words:
            new = transcript.end_ms > self.told_ms + _OVERLAP_MS
            self.repeats += not new
            return transcript if new else None
        words = tuple(word for word in transcript.words if (word.start_ms + word.end_ms) / 2 > self.told_ms)
        self.repeats += len(transcript.words) - len(words)
        if not words or words[-1].end_ms <= self.told_ms + _OVERLAP_MS:
            return None
        if len(words) == len(transcript.words):
            return transcript
        text = " ".join(word.text for word in words)
        return Transcript(self.leg, text, words[0].start_ms, words[-1].end_ms, transcript.final, words)
