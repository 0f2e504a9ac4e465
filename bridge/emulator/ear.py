"""The recogniser: finds the code book's words in audio as it arrives.

Pure: samples in, things heard out, all times in milliseconds of audio since the first sample. What an
utterance is, and when a result is due, is decided in `engine`.

A window of 20 ms is looked at every 5 ms. Each look gives its strength and, where one low and one high tone
make up nearly all of it, the word of that pair. A word is then a run of looks at one pair; it ends where it
falls silent for as long as half a gap, where another pair takes over, or where no pair is to be seen.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bridge.emulator.codebook import HIGH_HZ, LOW_HZ, RAMP_MS, WORDS

HOP_MS = 5
WINDOW_MS = 20
BLOCK_HOPS = 4
"""Looks taken in one go: 20 ms, the PBX's packet. Always the same number, so that rounding cannot depend on
how the audio was cut."""

PURE = 0.7
"""Share of a window's energy that its two tones must hold; at an edge, how much of it must be in the word."""
PURE_WORD = 0.88
"""What that share must be on average over a word: two voices that share a tone, at once, are no word."""
TWIST = 0.1
"""Share of the pair's energy that the weaker tone must hold."""
LEAST_RMS = 100.0
"""Below this even a clean pair is taken for silence (of 32767; a spoken word has 5000)."""
VOICED_RMS = 800.0
"""From here on sound that is no word counts as a voice."""

MIN_WORD_MS = 90
"""A word of which less was heard is not recognised."""
MIN_VOICE_MS = 50
"""A shorter sound that is no word is a click, or the edge of a word."""
QUIET_HOPS = 6
"""Quiet that ends a word: 30 ms tells a gap of 60 with a packet missing from a hole of 20 in a word."""
LOST_HOPS = 12
"""So long without the pair, though not quiet, ends a word: a joint of two packets hides it for 15 ms only."""
TAKEOVER_HOPS = 3
"""So many looks at another pair end a word."""
LOUD_HOPS = 5
"""Loud looks that make a voice; those across a word's beginning show no pair yet either, and are fewer."""
VOICE_HOLE_MS = 300
"""A pause up to this long stays within one voiced segment: people breathe between syllables."""

_LEAD_MS = (1 - PURE) * WINDOW_MS - HOP_MS / 2 - RAMP_MS / 2
"""From the first window's start to the word's; it ends `WINDOW_MS - _LEAD_MS` after the last's start."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, or a voice that spoke none."""

    text: str = field(repr=False)
    start_ms: int
    duration_ms: int
    """As heard: a lost or doubled packet shows here."""
    confidence: float

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.duration_ms


class _Look(NamedTuple):
    pair: int
    """Index into WORDS, or -1."""
    energy: float
    """Mean square."""
    purity: float


_SILENT_BLOCK = (_Look(-1, 0.0, 0.0),) * BLOCK_HOPS


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the windows of one block lie, and the tones' cosines and sines, for one sample rate."""

    hop: int
    window: int
    index: NDArray[np.intp]
    tones: NDArray[np.float64]

    @property
    def span(self) -> int:
        """Samples that one block looks at."""
        return self.window + (BLOCK_HOPS - 1) * self.hop


@lru_cache(maxsize=64)
def _grid(rate: int) -> _Grid:
    hop, window = round(rate * HOP_MS / 1000), round(rate * WINDOW_MS / 1000)
    index = np.arange(BLOCK_HOPS)[:, None] * hop + np.arange(window)[None, :]
    phase = 2 * np.pi * np.outer(np.arange(window), (*LOW_HZ, *HIGH_HZ)) / rate
    # Scaled so that cosine and sine squared add up to the tone's mean square.
    tones = np.concatenate((np.cos(phase), np.sin(phase)), axis=1) * (np.sqrt(2) / window)
    return _Grid(hop, window, index, tones)


@dataclass(slots=True)
class _Run:
    """Looks at one pair, not yet ended."""

    pair: int
    first: int
    last: int
    count: int
    energy: float
    purity: float
    quiet: int = 0
    reported: bool = False
    """Already given out by `flush`: what still comes of it is swallowed, not heard twice."""

    def see(self, hop: int, look: _Look) -> None:
        self.last = hop
        self.count += 1
        self.energy += look.energy
        self.purity += look.purity
        self.quiet = 0


class Ear:
    """Hears one connection's audio: 16-bit little-endian mono PCM of `rate` Hz (8000 to 48000)."""

    def __init__(self, rate: int) -> None:
        self._grid = _grid(rate)
        self._hop_ms = self._grid.hop * 1000 / rate
        self._bytes_per_ms = 2 * rate / 1000
        self._received = 0
        self._pending = bytearray()
        self._hops = 0
        self._run: _Run | None = None
        self._rival: _Run | None = None
        self._loud: int | None = None
        self._voice: tuple[int, int] | None = None
        self._active_ms = 0.0

    @property
    def received_ms(self) -> float:
        """Audio received so far."""
        return self._received / self._bytes_per_ms

    @property
    def heard_ms(self) -> float:
        """Audio examined so far; up to 25 ms behind what was received."""
        return min((self._hops - 1) * self._hop_ms + WINDOW_MS, self.received_ms) if self._hops else 0.0

    @property
    def active_ms(self) -> float:
        """Where the last sound heard ended."""
        return self._active_ms

    def hear(self, pcm: bytes) -> list[Heard]:
        """Takes the next audio, cut anywhere, and gives what has ended by now, in order."""
        self._received += len(pcm)
        self._pending += pcm
        return self._examine()

    def forming(self) -> Heard | None:
        """What is being said and would be given out by `flush` now."""
        if self._run is not None and self._is_word(self._run):
            return None if self._run.reported else self._word(self._run)
        return self._voiced()

    def flush(self) -> list[Heard]:
        """Ends what is being said here: for `Finalize`. A word heard too little of is left to go on."""
        run = self._run
        if run is None or run.reported or not self._is_word(run):
            return self._end_voice()
        run.reported = True
        return self._with_voice_before(run)

    def finish(self) -> list[Heard]:
        """Examines the last audio received and ends everything: for `EOS`. Nothing may be heard after it."""
        silence = bytes(2 * (self._grid.span + BLOCK_HOPS * self._grid.hop * 4))
        del self._pending[len(self._pending) // 2 * 2 :]
        self._pending += silence
        heard = self._examine()
        return heard + (self._end_run() if self._run is not None else []) + self._end_voice()

    def _examine(self) -> list[Heard]:
        heard: list[Heard] = []
        span, step = 2 * self._grid.span, 2 * BLOCK_HOPS * self._grid.hop
        done = 0
        while len(self._pending) - done >= span:
            block = np.frombuffer(self._pending, "<i2", self._grid.span, done)
            looks = self._look(block)
            del block  # a view of the buffer, which could not be shortened while one lives
            for look in looks:
                self._step(look, heard)
                self._hops += 1
            done += step
        del self._pending[:done]
        return heard

    def _look(self, block: NDArray[np.int16]) -> tuple[_Look, ...]:
        if block.max() < LEAST_RMS and block.min() > -LEAST_RMS:
            return _SILENT_BLOCK
        windows = block.astype(np.float64)[self._grid.index]
        energy = np.einsum("ij,ij->i", windows, windows) / self._grid.window
        power = (windows @ self._grid.tones) ** 2
        power = power[:, :16] + power[:, 16:]
        low, high = power[:, :8], power[:, 8:]
        rows = zip(
            (low.argmax(axis=1) * 8 + high.argmax(axis=1)).tolist(),
            low.max(axis=1).tolist(),
            high.max(axis=1).tolist(),
            energy.tolist(),
            strict=True,
        )
        return tuple(_judge(*row) for row in rows)

    def _step(self, look: _Look, heard: list[Heard]) -> None:
        """Takes one look into the run and the voice under way; what ends by it goes to `heard`."""
        if look.pair >= 0:
            self._see_pair(look, heard)
        elif self._run is not None:
            self._see_none(self._run, look, heard)
        elif look.energy >= VOICED_RMS**2:
            self._see_loud()
        else:
            self._loud = None
        if self._voice is not None and (self._hops - self._voice[1]) * self._hop_ms > VOICE_HOLE_MS:
            heard += self._end_voice()

    def _see_pair(self, look: _Look, heard: list[Heard]) -> None:
        run, rival = self._run, self._rival
        self._loud = None
        if run is None:
            self._run = _Run(look.pair, self._hops, self._hops, 1, look.energy, look.purity)
        elif run.pair == look.pair:
            run.see(self._hops, look)
            self._rival = None
        elif rival is None or rival.pair != look.pair:
            self._rival = _Run(look.pair, self._hops, self._hops, 1, look.energy, look.purity)
        else:
            rival.see(self._hops, look)
            if rival.count >= TAKEOVER_HOPS:
                heard += self._end_run()
                self._run, self._rival = rival, None
        self._active_ms = self._end_of(self._hops)

    def _see_none(self, run: _Run, look: _Look, heard: list[Heard]) -> None:
        quiet = look.energy < 0.5 * run.energy / run.count
        run.quiet = run.quiet + 1 if quiet else 0
        loud = look.energy >= VOICED_RMS**2
        if loud and not quiet:
            self._active_ms = self._end_of(self._hops)
        if run.quiet >= QUIET_HOPS:
            heard += self._end_run()
        elif self._hops - run.last >= LOST_HOPS:
            heard += self._end_run()
            self._loud = run.last + LOUD_HOPS if loud else None

    def _see_loud(self) -> None:
        if self._loud is None:
            self._loud = self._hops
        if self._hops - self._loud >= LOUD_HOPS:
            self._see_voice(self._loud, self._hops)

    def _see_voice(self, first: int, last: int) -> None:
        self._voice = (self._voice[0] if self._voice else first, last)
        self._active_ms = self._end_of(last)

    def _end_run(self) -> list[Heard]:
        run, self._run, self._rival = self._run, None, None
        if run is None or run.reported:
            return []
        if self._is_word(run):
            return self._with_voice_before(run)
        if run.energy / run.count >= VOICED_RMS**2:
            self._see_voice(run.first, run.last)
        return []

    def _with_voice_before(self, run: _Run) -> list[Heard]:
        if self._voice is not None:
            self._voice = (self._voice[0], min(self._voice[1], run.first - LOUD_HOPS))
        return [*self._end_voice(), self._word(run)]

    def _end_voice(self) -> list[Heard]:
        voiced = self._voiced()
        self._voice = None
        return [voiced] if voiced is not None else []

    def _voiced(self) -> Heard | None:
        if self._voice is None:
            return None
        # From middle to middle: how much of its first and last windows a voice fills cannot be known.
        start, end = (hop * self._hop_ms + WINDOW_MS / 2 for hop in self._voice)
        if end - start < MIN_VOICE_MS:
            return None
        return Heard(f"[음성 {(end - start) / 1000:.1f}초]", round(start), round(end - start), 0.3)

    def _is_word(self, run: _Run) -> bool:
        # Half a hop of grace: the ends are known to that, and a word of exactly MIN_WORD_MS is one.
        long = self._end_of(run.last) - self._start_of(run.first) >= MIN_WORD_MS - HOP_MS
        return long and run.purity >= PURE_WORD * run.count

    def _word(self, run: _Run) -> Heard:
        start, end = self._start_of(run.first), self._end_of(run.last)
        purity = min(1.0, run.purity / run.count)
        return Heard(WORDS[run.pair], round(start), round(end - start), round(purity, 3))

    def _start_of(self, hop: int) -> float:
        return max(0.0, hop * self._hop_ms + _LEAD_MS)

    def _end_of(self, hop: int) -> float:
        return min(self.received_ms, hop * self._hop_ms + WINDOW_MS - _LEAD_MS)


def _judge(pair: int, low: float, high: float, energy: float) -> _Look:
    both = low + high
    if energy < LEAST_RMS**2:
        return _Look(-1, energy, 0.0)
    purity = both / energy
    if purity < PURE or min(low, high) < TWIST * both:
        return _Look(-1, energy, purity)
    return _Look(pair, energy, purity)
