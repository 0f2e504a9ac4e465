"""One connection's utterances: audio and commands in, RTZR's result messages out, each at its due time.

Pure: `now_ms` is an argument, any clock that never goes back. The engine works audio off at a speed in times
real time, so audio that arrives in a lump waits its turn; results follow from audio positions, and their
times from when those positions were worked off.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bridge.emulator.decoder import to_pcm
from bridge.emulator.ear import Ear, Heard
from bridge.emulator.query import StreamQuery

Result = dict[str, Any]
"""A result message as RTZR sends it (reference/rtzr.md, 2.4)."""

STEP_MS = 20
"""Audio is heard in steps of this, so that a lump closes its utterances where a stream would."""


@dataclass(frozen=True, slots=True)
class _Due:
    at_ms: float
    result: Result = field(repr=False)


class Engine:
    """Recognises one connection's audio.

    `speed`: audio worked off, in times real time. `recognition_ms`: from the moment an utterance's end is
    known and its audio worked off to its final. `partial_ms`: audio between looks at the text for a partial.
    """

    def __init__(
        self,
        query: StreamQuery,
        *,
        speed: float = 5.0,
        recognition_ms: float = 0.0,
        partial_ms: float = 200.0,
        late_final_ms: float = 0.0,
    ) -> None:
        self._query = query
        self._speed = speed
        self._recognition_ms = recognition_ms
        self._partial_ms = partial_ms
        self._late_final_ms = late_final_ms
        self._ear = Ear(query.sample_rate)
        self._bytes_per_ms = query.width * query.sample_rate / 1000
        self._received = 0
        self._position_ms = 0.0
        self._worked_off_ms = 0.0
        self._said: list[Heard] = []
        self._seq = 0
        self._shown = ""
        self._next_partial_ms = partial_ms
        self._due: deque[_Due] = deque()
        self._ended = False

    @property
    def received_s(self) -> float:
        """Seconds of audio received."""
        return self._received / self._bytes_per_ms / 1000

    @property
    def next_due_ms(self) -> float | None:
        """When `due` next has something to give."""
        return self._due[0].at_ms if self._due else None

    @property
    def told_ms(self) -> float:
        """Up to where everything has been told: to what is being said, or is not given out, or to the end."""
        pending = [due.result["start_at"] for due in self._due] + [heard.start_ms for heard in self._saying()]
        return min(pending, default=self._position_ms)

    @property
    def drained(self) -> bool:
        """Whether EOS was read and every result has been given out."""
        return self._ended and not self._due

    def hear(self, payload: bytes, now_ms: float) -> None:
        """Takes audio as it came off the socket, in the query's encoding. After EOS it is ignored."""
        if self._ended:
            return
        self._received += len(payload)
        # A lump starts when the one before it is done.
        self._worked_off_ms = max(self._worked_off_ms, now_ms)
        pcm = to_pcm(payload, self._query.encoding)
        step = STEP_MS * self._query.sample_rate // 1000 * 2
        for start in range(0, len(pcm), step):
            self._hear_step(pcm[start : start + step])

    def finalize(self, now_ms: float) -> None:
        """Closes the utterance under way; where nothing was said, nothing comes of it."""
        if not self._ended:
            self._said += self._ear.flush()
            self._close(max(now_ms, self._worked_off_ms))

    def eos(self, now_ms: float) -> None:
        """Closes everything: the last results follow, and nothing more is heard."""
        if not self._ended:
            self._said += self._ear.finish()
            self._close(max(now_ms, self._worked_off_ms))
            self._ended = True

    def due(self, now_ms: float) -> list[Result]:
        """The results whose time has come, in order."""
        results = []
        while self._due and self._due[0].at_ms <= now_ms:
            results.append(self._due.popleft().result)
        return results

    def _hear_step(self, pcm: bytes) -> None:
        ms = len(pcm) / 2 / self._query.sample_rate * 1000
        self._position_ms += ms
        self._worked_off_ms += ms / self._speed
        before = self._ear.heard_ms
        self._said += self._ear.hear(pcm)
        if self._ear.heard_ms == before:
            return
        self._split()
        self._endpoint()
        if self._position_ms >= self._next_partial_ms:
            self._next_partial_ms = self._position_ms + self._partial_ms
            self._show()

    def _endpoint(self) -> None:
        """Closes the utterance after `epd_time` of heard silence."""
        if self._ear.heard_ms - self._ear.active_ms < self._query.epd_time * 1000:
            return
        self._said += self._ear.flush()
        self._close(self._worked_off_ms + self._late_final_ms)

    def _split(self) -> None:
        """Closes an utterance that has gone on for `max_utter_duration`, between words where it has any."""
        saying = self._saying()
        if not saying or self._ear.heard_ms - saying[0].start_ms < self._query.max_utter_duration * 1000:
            return
        if not self._said:
            self._said += self._ear.flush()
        self._close(self._worked_off_ms)

    def _saying(self) -> list[Heard]:
        forming = self._ear.forming()
        return self._said if forming is None else [*self._said, forming]

    def _show(self) -> None:
        saying = self._saying()
        text = self._text(saying)
        if not saying or text == self._shown:
            return
        self._shown = text
        self._give(self._worked_off_ms, self._result(saying, text, final=False))

    def _close(self, known_ms: float) -> None:
        """Gives the final of what was said. `known_ms`: when its end was known and its audio worked off."""
        if not self._said:
            return
        text = self._text(self._said) + ("." if self._query.use_punctuation else "")
        self._give(known_ms + self._recognition_ms, self._result(self._said, text, final=True))
        self._said = []
        self._shown = ""
        self._seq += 1

    def _give(self, at_ms: float, result: Result) -> None:
        # Results never overtake each other: a partial waits for the final of the utterance before.
        self._due.append(_Due(max(at_ms, self._due[-1].at_ms if self._due else at_ms), result))

    def _text(self, saying: list[Heard]) -> str:
        return " ".join(heard.text for heard in saying)

    def _result(self, saying: list[Heard], text: str, *, final: bool) -> Result:
        start = saying[0].start_ms
        confidence = round(sum(heard.confidence for heard in saying) / len(saying), 3)
        best: Result = {"text": text, "confidence": confidence}
        if final:
            best["words"] = _words(saying)
        return {
            "seq": self._seq,
            "start_at": start,
            "duration": saying[-1].end_ms - start if final else 0,
            "final": final,
            "alternatives": [best],
        }


def _words(said: list[Heard]) -> list[Result]:
    """Each word with its start relative to the sentence's; `|` after one that a space follows."""
    start = said[0].start_ms
    return [
        {
            "text": heard.text + ("|" if heard is not said[-1] else ""),
            "start_at": heard.start_ms - start,
            "duration": heard.duration_ms,
            "confidence": heard.confidence,
        }
        for heard in said
    ]
