"""What of a leg's audio goes to RTZR, and where an utterance ends.

Frames and the clock go in; audio, silence to fill with, and ends of utterances come out, in order. Time
goes on when packets stop (a ChanSpy tap sends nothing while its party is silent): a hole is silence, by
the clock. No socket, no session: the caller sends what comes out and counts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import webrtcvad

from bridge.types import Codec, Frame
from bridge.wire import g711

WINDOW_MS = 20
"""WebRTC VAD judges windows of 10, 20 or 30 ms; 20 is what PBXs send."""
HANGOVER_MS = (160, 160, 120, 120)
"""How long WebRTC VAD says "speech" after a voice, by aggressiveness (140 to 165 and 100 to 125 measured)."""
_SEAM_MS = 1.0
_JOIN_MS = 0.01
_MESSAGE_MS = 100.0
"""`immediate` joins no more than this: what is kept for a lost session is dropped by such pieces."""
_FILL_LAG_MS = 120.0
"""`immediate` fills only what is this late: a packet's length, the reorder buffer's patience and some jitter.
Sooner, and every packet that came late or after a lost one would come after a filling."""
_FLOWING_MS = 60.0
"""Audio that ended no longer ago than this goes on."""
_SLACK_MS = 60.0
"""While audio comes, the clock runs no farther ahead of it: what follows may be waiting to be read."""
_LULL_MS = 40.0
"""No audio for so long: none is waiting."""
_LEAP_MS = 300.0
"""A leg looks at the clock more often than this. If it did not, the bridge itself stood still."""
_VOICED_RMS = 180
"""About -45 dBFS: a voice on a telephone is well above, line noise below."""
_VAD_RATES = (8000, 16_000, 32_000, 48_000)
"""What WebRTC VAD takes; of audio at 24 kHz it is given a copy at a third of that."""
_FAINT_RMS = 60
"""About -55 dBFS: no voice is below. WebRTC VAD takes the first 100 ms of any line's noise for speech, and at
times seconds of faint noise after a loud sound."""


class Mode(StrEnum):
    IMMEDIATE = "immediate"
    VAD = "vad"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Thresholds in milliseconds, counted as the YAML's `gate` section says."""

    mode: Mode = Mode.HYBRID
    start_ms: int = 60
    silence_ms: int = 400
    preroll_ms: int = 300
    hangover_ms: int = 200
    min_speech_ms: int = 100
    max_utterance_ms: int = 12_000
    aggressiveness: int = 2


class Audio(NamedTuple):
    """Audio to send; `voiced` is the mark by which a later stage tells speech from silence.

    A tuple, as a packet is: made for each frame, and cheaper.
    """

    payload: bytes
    at_ms: float
    voiced: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """Silence to make and send, where time went on without packets."""

    at_ms: float
    length_ms: float


@dataclass(frozen=True, slots=True)
class EndOfUtterance:
    """The party has been silent for `silence_ms`, or has talked for `max_utterance_ms`."""

    voice_end_ms: float
    """Call time of the last voiced audio."""


Action = Audio | Silence | EndOfUtterance


@dataclass(slots=True)
class _Utterance:
    """Tracks one voice over VAD windows: when it began, when it was last heard, when it is over."""

    settings: GateSettings
    open: bool = False
    start_ms: float = 0.0
    _run_ms: float = 0.0
    _last_ms: float = 0.0
    """End of the last window that was speech and not faint."""
    _speech_ms: float = 0.0
    """End of the last window that the VAD called speech."""
    _heard_silence: bool = False

    def window(self, speech: bool, faint: bool, at_ms: float) -> None:
        """Take the verdicts on one window that starts at `at_ms`: the VAD's, and too faint for a voice."""
        self._heard_silence = not speech
        if speech:
            self._speech_ms = at_ms + WINDOW_MS
        if not speech or faint:
            self._run_ms = 0.0
            return
        if not self.open and not self._run_ms:
            self.start_ms = at_ms
        self._run_ms += WINDOW_MS
        self._last_ms = at_ms + WINDOW_MS
        self.open |= self._run_ms >= self.settings.start_ms

    def interrupt(self) -> None:
        """Time passed without audio: a voice that had only begun has not gone on."""
        self._run_ms = 0.0

    @property
    def voice_end_ms(self) -> float:
        """End of the voice. On a line that is not faint in itself only the VAD tells it, once it has heard
        silence, and its own hang-over is taken off: a hole has none."""
        if not self._heard_silence:
            return self._last_ms
        hangover_ms = HANGOVER_MS[self.settings.aggressiveness]
        return max(self.start_ms, min(self._last_ms, self._speech_ms - hangover_ms))

    def over(self, now_ms: float) -> bool:
        return self.open and (self.silent(now_ms) or now_ms - self.start_ms >= self.settings.max_utterance_ms)

    def silent(self, now_ms: float) -> bool:
        """Whether the voice has been gone for long enough."""
        return now_ms - self.voice_end_ms >= self.settings.silence_ms

    @property
    def begun(self) -> bool:
        """Whether a voice is heard, be it too short yet to open an utterance."""
        return self.open or self._run_ms > 0

    def end(self, now_ms: float) -> bool:
        """End it, and begin the next where the voice goes on; whether there was enough voice to count."""
        voice_end_ms = self.voice_end_ms
        counted = voice_end_ms - self.start_ms >= self.settings.min_speech_ms
        self.open, self.start_ms, self._run_ms = not self.silent(now_ms), voice_end_ms, 0.0
        return counted

    def close(self) -> None:
        """Nothing follows."""
        self.open, self._run_ms = False, 0.0


@dataclass(slots=True)
class Gate:
    """One leg's gate. `withheld_ms` counts what arrived and was not let through."""

    settings: GateSettings
    codec: Codec
    withheld_ms: float = 0.0
    _position: float | None = None
    """Call time up to which audio, or the clock, has been taken in."""
    _fed_ms: float = 0.0
    """When `feed` was last called ..."""
    _came_ms: float = 0.0
    """... and when it last brought frames."""
    _vad: webrtcvad.Vad = field(init=False)
    _utterance: _Utterance = field(init=False)
    _window: bytearray = field(default_factory=bytearray)
    _window_at: float = 0.0
    _held: list[Frame] = field(default_factory=list)
    """`vad`: the newest unsent audio, sent as pre-roll when a voice is found."""
    _bytes_per_ms: int = field(init=False)
    _window_size: int = field(init=False)
    """Bytes of PCM."""
    _vad_rate: int = field(init=False)

    def __post_init__(self) -> None:
        self._vad = webrtcvad.Vad(self.settings.aggressiveness)
        self._utterance = _Utterance(self.settings)
        self._bytes_per_ms = self.codec.bytes_per_ms
        self._window_size = WINDOW_MS * self.codec.rate // 1000 * 2
        rate = self.codec.rate
        self._vad_rate = rate if rate in _VAD_RATES else rate // 3

    @property
    def due_ms(self) -> float | None:
        """Call time at which the open utterance is over if no voice comes; None when there is none."""
        voice = self._utterance
        return voice.voice_end_ms + self.settings.silence_ms if voice.open else None

    @property
    def held_ms(self) -> float:
        """Audio kept back that may still go out."""
        return sum(self.codec.ms(len(frame.payload)) for frame in self._held)

    def reset(self) -> float:
        """Begin anew with what comes next: no voice and no hole goes on over a pause. How much audio was kept
        back, in milliseconds, and is not any more."""
        held_ms, self._position = self.held_ms, None
        self._utterance = _Utterance(self.settings)
        self._window.clear()
        self._held.clear()
        return held_ms

    def feed(self, frames: Sequence[Frame], now_ms: float) -> list[Action]:
        """Take frames in order, then let the clock reach `now_ms` (call time), unless more may be waiting.

        After a stall of the bridge what waited comes in many feeds: until they bring no more, time is what
        the audio says.
        """
        actions: list[Action] = []
        if frames and self.settings.mode is Mode.IMMEDIATE:
            self._pass_on(frames, actions)
        else:
            for frame in frames:
                self._take(frame, actions)
        self._pass_time(self._reach(bool(frames), now_ms), actions)
        return actions

    def finish(self) -> list[Action]:
        """The stream has ended: held audio in which a voice began goes out, the rest is withheld."""
        voice, actions = self._utterance, list[Action]()
        if voice.begun and not voice.open:
            actions.extend(Audio(held.payload, held.at_ms, True) for held in self._held)
        else:
            self._withhold(self._held)
        self._held.clear()
        if voice.begun:
            actions.append(EndOfUtterance(voice.voice_end_ms))
            voice.close()
        return actions

    # Frames.

    def _pass_on(self, frames: Sequence[Frame], actions: list[Action]) -> None:
        """`immediate`: everything, at once, and time is continuous."""
        whole = b"".join([frame.payload for frame in frames])
        marks = self._loud(frames, whole)
        if self._seamless(frames, whole) and len(set(marks)) == 1:
            # One object for the message, not one for each packet: a twentieth of all that a leg costs.
            frames, marks = (Frame(whole, frames[0].at_ms),), marks[:1]
        for frame, voiced in zip(frames, marks, strict=True):
            at_ms, position = frame.at_ms, self._position
            if position is None:
                position = at_ms
            if at_ms - position >= _SEAM_MS:
                actions.append(Silence(position, at_ms - position))
            actions.append(Audio(frame.payload, at_ms, voiced))
            self._position = max(position, at_ms + len(frame.payload) / self._bytes_per_ms)

    def _seamless(self, frames: Sequence[Frame], whole: bytes) -> bool:
        """Whether the frames, whose audio is `whole`, follow on each other and are no more than a message."""
        length_ms, last = len(whole) / self._bytes_per_ms, frames[-1]
        took_ms = last.at_ms - frames[0].at_ms + len(last.payload) / self._bytes_per_ms
        return length_ms <= _MESSAGE_MS and abs(took_ms - length_ms) < _JOIN_MS

    def _loud(self, frames: Sequence[Frame], whole: bytes) -> list[bool]:
        """Whether each frame is voiced, by its energy. None is, if not even the loudest sample is so loud."""
        pcm = g711.to_pcm(whole, self.codec)
        if g711.peak(pcm) < _VOICED_RMS:
            return [False] * len(frames)
        marks, start, growth = [], 0, 2 // self.codec.width
        for frame in frames:
            end = start + growth * len(frame.payload)
            marks.append(g711.rms(pcm[start:end]) >= _VOICED_RMS)
            start = end
        return marks

    def _take(self, frame: Frame, actions: list[Action]) -> None:
        at_ms, position = frame.at_ms, self._position
        if position is None:
            position = at_ms
        elif at_ms - position >= _SEAM_MS:
            self._bridge_hole(position, at_ms, actions)
        voiced = self._listen(frame)
        self._position = position = max(position, at_ms + len(frame.payload) / self._bytes_per_ms)
        if self._withholds(frame):
            self._hold(frame)
        else:
            if self._held:
                self._release(voiced, actions)
            actions.append(Audio(frame.payload, at_ms, voiced))
        self._end_if_over(position, actions)

    def _bridge_hole(self, position: float, at_ms: float, actions: list[Action]) -> None:
        """Audio starts after a hole: inside an utterance time is continuous, so the hole is filled."""
        self._end_if_over(at_ms, actions)
        if at_ms - position >= WINDOW_MS:
            self._utterance.interrupt()
        if self._utterance.open and not self._held:
            actions.append(Silence(position, at_ms - position))
        self._window.clear()

    def _listen(self, frame: Frame) -> bool:
        """Whether the frame is voiced, by the VAD."""
        pcm = g711.to_pcm(frame.payload, self.codec)
        if not self._window:
            self._window_at = frame.at_ms
            if len(pcm) == self._window_size:  # as PBXs send it
                return self._judge(pcm)
        self._window += pcm
        spoken = False
        while len(self._window) >= self._window_size:
            spoken |= self._judge(bytes(self._window[: self._window_size]))
            del self._window[: self._window_size]
        return spoken

    def _judge(self, window: bytes) -> bool:
        """Whether a voice is in the window that comes next."""
        heard = window if self._vad_rate == self.codec.rate else g711.thirds(window)
        speech: bool = self._vad.is_speech(heard, self._vad_rate)
        faint = speech and g711.rms(window) < _FAINT_RMS
        self._utterance.window(speech, faint, self._window_at)
        self._window_at += WINDOW_MS
        return speech and not faint

    # `vad`: hold, send, withhold.

    def _withholds(self, frame: Frame) -> bool:
        if self.settings.mode is not Mode.VAD:
            return False
        voice = self._utterance
        return not voice.open or frame.at_ms > voice.voice_end_ms + self.settings.hangover_ms

    def _hold(self, frame: Frame) -> None:
        """Keep for pre-roll; what is older than that will not be sent."""
        self._held.append(frame)
        horizon = frame.at_ms - self.settings.preroll_ms - self.settings.start_ms
        old = 0
        while self._held[old].at_ms < horizon and not self._utterance.open:
            old += 1
        self._withhold(self._held[:old])
        del self._held[:old]

    def _release(self, voiced: bool, actions: list[Action]) -> None:
        actions.extend(Audio(held.payload, held.at_ms, voiced) for held in self._held)
        self._held.clear()

    def _withhold(self, frames: Sequence[Frame]) -> None:
        self.withheld_ms += sum(self.codec.ms(len(frame.payload)) for frame in frames)

    # The clock.

    def _reach(self, came: bool, now_ms: float) -> float:
        """How far the clock may go in this feed; `came`: it brought frames."""
        fed_ms, self._fed_ms = self._fed_ms, now_ms
        if came:
            self._came_ms = now_ms
        elif now_ms - fed_ms > _LEAP_MS:
            return fed_ms  # the sockets may not have been read since: the next feed tells
        if now_ms - self._came_ms < _LULL_MS:
            return min(now_ms, (self._position or 0.0) + _SLACK_MS)
        return now_ms

    def _pass_time(self, now_ms: float, actions: list[Action]) -> None:
        if self._position is None:
            return
        if self.settings.mode is not Mode.IMMEDIATE:
            self._end_if_over(now_ms, actions)
        elif now_ms - _FILL_LAG_MS - self._position >= WINDOW_MS:
            filled_to = now_ms - _FILL_LAG_MS
            actions.append(Silence(self._position, filled_to - self._position))
            self._position = filled_to

    def _end_if_over(self, now_ms: float, actions: list[Action]) -> None:
        voice = self._utterance
        if not voice.open or not voice.over(now_ms):
            return
        end = EndOfUtterance(voice.voice_end_ms)
        if voice.end(now_ms) or not self._rtzr_hears_on(now_ms):
            actions.append(end)

    def _rtzr_hears_on(self, now_ms: float) -> bool:
        """Whether RTZR still gets audio, and so ends by itself what was too short to count."""
        return self.settings.mode is not Mode.VAD and now_ms - (self._position or now_ms) < _FLOWING_MS
