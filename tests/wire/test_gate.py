"""The gate: what it lets through, where it ends utterances, and that no millisecond is lost or doubled."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.types import Codec, Frame
from bridge.wire import g711, rtp
from bridge.wire.gate import HANGOVER_MS, Action, Audio, EndOfUtterance, Gate, GateSettings, Mode, Silence
from bridge.wire.receiver import Receiver

SENTENCE = SENTENCES[1]
LENGTH = spoken_ms(SENTENCE)
PACKET = 20
DEFAULTS = GateSettings()
NARROW = (Codec.ULAW, Codec.ALAW, Codec.SLIN)


@dataclass
class Line:
    """A leg as the gate sees it: frames come when they are over, and the clock never stops."""

    gate: Gate
    step_ms: int = 10
    now_ms: float = 0.0
    came: list[tuple[float, Action]] = field(default_factory=list)

    def play(self, pcm: bytes, *, at_ms: float | None = None) -> float:
        """Packets of `pcm` from `at_ms` (now) on, in real time; when the last of them ends."""
        at_ms = self.now_ms if at_ms is None else at_ms
        for frame in frames(pcm, at_ms, self.gate.codec):
            self.wait(frame.at_ms + PACKET - self.now_ms)
            self.take(self.gate.feed([frame], self.now_ms))
        return self.now_ms

    def wait(self, ms: float) -> None:
        """No packet for `ms`; the leg looks at the clock now and then."""
        until = self.now_ms + ms
        while self.now_ms < until:
            self.now_ms = min(self.now_ms + self.step_ms, until)
            self.take(self.gate.feed([], self.now_ms))

    def finish(self) -> None:
        self.take(self.gate.finish())

    def take(self, actions: Sequence[Action]) -> None:
        self.came += [(self.now_ms, action) for action in actions]

    @property
    def ends(self) -> list[tuple[float, EndOfUtterance]]:
        return [(at, action) for at, action in self.came if isinstance(action, EndOfUtterance)]

    @property
    def audio(self) -> list[Audio]:
        return [action for _, action in self.came if isinstance(action, Audio)]

    @property
    def filled_ms(self) -> float:
        return sum(action.length_ms for _, action in self.came if isinstance(action, Silence))


def line(mode: Mode = Mode.HYBRID, codec: Codec = Codec.ULAW, **settings: int) -> Line:
    return Line(Gate(replace(DEFAULTS, mode=mode, **settings), codec))


def frames(pcm: bytes, at_ms: float, codec: Codec, ms: int = PACKET) -> list[Frame]:
    payload, size = g711.from_pcm(pcm, codec), ms * codec.bytes_per_ms
    return [Frame(payload[i : i + size], at_ms + codec.ms(i)) for i in range(0, len(payload), size)]


def quiet(ms: int, rate: int = 8000) -> bytes:
    """A line nobody speaks on: a little noise, as telephones have it."""
    noise = np.random.default_rng(ms).normal(scale=8, size=ms * rate // 1000)
    return bytes(noise.astype("<i2").tobytes())


@lru_cache
def word(ms: int, rate: int = 8000, seed: int = 0) -> bytes:
    """Something like a voice: noise in a voice's band, loud, and gone at once when it is over."""
    rng, size = np.random.default_rng(seed), ms * rate // 1000
    band = np.convolve(rng.normal(size=size), np.hanning(9), "same")
    beat = 1 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(size) / rate)
    loud = band * beat * (2500 / np.sqrt(np.mean((band * beat) ** 2)))
    return bytes(loud.clip(-32767, 32767).astype("<i2").tobytes())


def noisy(pcm: bytes, rms: float, seed: int) -> bytes:
    """The same on a line with noise of `rms`."""
    voice = np.frombuffer(pcm, "<i2")
    heard = voice + np.random.default_rng(seed).normal(scale=rms, size=len(voice))
    return bytes(heard.clip(-32767, 32767).astype("<i2").tobytes())


def sent(actions: Sequence[Audio]) -> bytes:
    return b"".join(action.payload for action in actions)


# Where an utterance ends.


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
def test_a_prompt_then_no_packet_then_a_prompt(mode: Mode, codec: Codec) -> None:
    """The first utterance ends by the clock, silence_ms after its voice, long before the second prompt."""
    one = line(mode, codec)
    first = one.play(say(SENTENCE, codec.rate))
    one.wait(4000)
    second = one.play(say(SENTENCE, codec.rate))
    one.wait(1000)
    assert [at for at, _ in one.ends] == [
        pytest.approx(first + DEFAULTS.silence_ms, abs=40),
        pytest.approx(second + DEFAULTS.silence_ms, abs=40),
    ]
    assert one.filled_ms == 0
    assert len(sent(one.audio)) == pytest.approx(2 * LENGTH * codec.bytes_per_ms, rel=0.02)


@pytest.mark.parametrize("silence_ms", [180, 400, 1000])
@pytest.mark.parametrize("aggressiveness", range(4))
@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
@pytest.mark.parametrize("voice", ["code book", "noise"])
@pytest.mark.parametrize("rms", [8, 150])
def test_silence_counts_from_the_voice_and_not_from_the_vads_hangover(
    rms: int, voice: str, mode: Mode, aggressiveness: int, silence_ms: int
) -> None:
    """Packets go on after the voice, on a quiet line and on a noisy one: WebRTC VAD calls 100 to 165 ms of
    them speech still, and so it does with the noise that a line begins with."""
    for lead in (500, 507, 513):
        one = line(mode, silence_ms=silence_ms, aggressiveness=aggressiveness, hangover_ms=180)
        said = say(SENTENCE) if voice == "code book" else word(900, seed=lead)
        over = lead + len(said) / 16
        one.play(noisy(bytes(16 * lead) + said + bytes(16 * 1500), rms, seed=lead))
        ((at, end),) = [came for came in one.ends if came[0] > lead]
        assert at == pytest.approx(over + silence_ms, abs=40)
        assert end.voice_end_ms == pytest.approx(over, abs=40)


@pytest.mark.parametrize("aggressiveness", range(4))
@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.SLIN16, Codec.SLIN24])
def test_the_hangover_that_is_taken_off_is_the_one_webrtc_has(codec: Codec, aggressiveness: int) -> None:
    one = Line(Gate(replace(DEFAULTS, aggressiveness=aggressiveness), codec))
    over = 600 + 900
    for frame in frames(quiet(600, codec.rate) + word(900, codec.rate) + quiet(600, codec.rate), 0, codec):
        one.gate.feed([frame], frame.at_ms)
        if frame.at_ms < over + 200:
            last_ms = one.gate._utterance._speech_ms
    assert last_ms - over == pytest.approx(HANGOVER_MS[aggressiveness], abs=25)


@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
def test_a_pause_within_an_utterance_does_not_end_it(mode: Mode) -> None:
    one = line(mode)
    one.play(quiet(500) + word(600) + quiet(300) + word(600) + quiet(1000))
    assert len(one.ends) == 1


@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
def test_a_hole_shorter_than_silence_does_not_end_an_utterance_and_counts_in_it(mode: Mode) -> None:
    one = line(mode)
    one.play(word(600))
    one.wait(300)
    one.play(word(600, seed=1))
    assert one.ends == []
    assert one.filled_ms == 300, "time goes on inside an utterance"
    one.wait(500)
    assert len(one.ends) == 1


@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
def test_who_never_stops_talking_is_cut_at_max_utterance(mode: Mode) -> None:
    one = line(mode, max_utterance_ms=2000)
    one.play(word(9000))
    ends = [at for at, _ in one.ends]
    assert len(ends) == 4
    assert all(1900 <= later - earlier <= 2100 for earlier, later in pairwise([0.0, *ends]))
    assert len(sent(one.audio)) == 9000 * 8, "the cut costs no audio"


def test_a_tail_after_the_cut_at_max_utterance_is_still_sent() -> None:
    """It is too short to open an utterance of its own, but it is the end of a word."""
    for tail in (20, 40, 60, 200):
        one = line(Mode.VAD, max_utterance_ms=2000)
        one.play(word(2000 + tail) + quiet(1000))
        assert sent(one.audio).startswith(g711.pcm_to_ulaw(word(2000 + tail)))


def test_a_click_is_no_utterance() -> None:
    one = line(Mode.HYBRID, min_speech_ms=200)
    one.play(quiet(500) + word(120) + quiet(1000))
    assert one.ends == [], "RTZR hears the line and ends it by itself"
    assert len(sent(one.audio)) == 1620 * 8


def test_a_click_is_ended_where_rtzr_will_not_hear_the_silence_after_it() -> None:
    one = line(Mode.VAD, min_speech_ms=200)
    one.play(quiet(500) + word(120) + quiet(1000))
    assert len(one.ends) == 1
    other = line(Mode.HYBRID, min_speech_ms=200)
    other.play(word(120))
    other.wait(1000)
    assert len(other.ends) == 1


def test_a_click_before_a_long_hole_is_not_the_beginning_of_what_follows() -> None:
    """Two bits of voice minutes apart, each too short: no utterance, and none minutes long."""
    for mode in (Mode.VAD, Mode.HYBRID):
        one = line(mode)
        one.play(word(40))
        one.wait(60_000)
        one.play(word(40, seed=1))
        one.wait(1000)
        assert [at for at, _ in one.ends if at > 60_000] == []
        assert not one.gate._utterance.open


def test_due_is_when_the_clock_alone_would_end_the_utterance() -> None:
    one = line()
    over = one.play(say(SENTENCE))
    due_ms = one.gate.due_ms
    assert due_ms is not None
    assert due_ms == pytest.approx(over + DEFAULTS.silence_ms, abs=20)
    assert one.gate.feed([], due_ms - 0.5) == []
    assert one.gate.feed([], due_ms) == [EndOfUtterance(due_ms - DEFAULTS.silence_ms)]
    assert one.gate.due_ms is None


# `hybrid` and `immediate`: everything, at once.


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("mode", [Mode.IMMEDIATE, Mode.HYBRID])
def test_everything_goes_out_undecoded_and_at_once(mode: Mode, codec: Codec) -> None:
    one = line(mode, codec)
    pcm = quiet(400, codec.rate) + say(SENTENCE, codec.rate) + quiet(600, codec.rate)
    one.play(pcm)
    assert sent(one.audio) == g711.from_pcm(pcm, codec)
    assert all(at - action.at_ms <= PACKET for at, action in one.came if isinstance(action, Audio))
    assert one.gate.withheld_ms == one.gate.held_ms == one.filled_ms == 0


@pytest.mark.parametrize("codec", Codec)
def test_immediate_marks_voiced_by_energy_and_ends_nothing(codec: Codec) -> None:
    one = line(Mode.IMMEDIATE, codec)
    one.play(quiet(400, codec.rate) + word(600, codec.rate) + quiet(400, codec.rate))
    assert [action.voiced for action in one.audio] == [False] * 20 + [True] * 30 + [False] * 20
    assert one.ends == []


def test_hybrid_marks_voiced_by_the_vad() -> None:
    one = line(Mode.HYBRID)
    one.play(quiet(600) + word(600) + quiet(1000))
    marks = [(action.at_ms, action.voiced) for action in one.audio]
    assert all(voiced for at, voiced in marks if 600 <= at < 1200)
    assert not any(voiced for at, voiced in marks if at < 560 or at > 1200 + DEFAULTS.silence_ms + 40)


def test_immediate_fills_a_hole_so_that_rtzr_hears_time_pass() -> None:
    one = line(Mode.IMMEDIATE)
    one.play(word(400))
    one.wait(4000)
    before = one.filled_ms
    assert 3850 <= before <= 4000, "RTZR finds the utterance's end while the party is silent"
    one.play(word(400))
    assert one.filled_ms == 4000, "exactly the hole, once the next packet tells its length"


def test_immediate_never_fills_more_than_the_time_that_passed() -> None:
    """An hour of packets that stop now and then: what RTZR was sent is as long as the clock says."""
    one, rng = line(Mode.IMMEDIATE), np.random.default_rng(1)
    packet = word(20)
    for _ in range(600):
        for _ in range(int(rng.integers(1, 20))):
            one.play(packet)
        one.wait(float(rng.integers(0, 400)))
    total_ms = one.filled_ms + len(sent(one.audio)) / 8
    assert one.now_ms - 150 <= total_ms <= one.now_ms + 0.01


def test_immediate_does_not_fill_before_the_first_packet() -> None:
    one = line(Mode.IMMEDIATE)
    one.wait(5000)
    assert one.came == []


@pytest.mark.parametrize("late_ms", [20, 40, 60])
def test_immediate_does_not_take_jitter_for_a_hole(late_ms: int) -> None:
    one = line(Mode.IMMEDIATE)
    for number, frame in enumerate(frames(word(4000), 0, Codec.ULAW)):
        one.wait(frame.at_ms + PACKET + (number % 5 == 0) * late_ms - one.now_ms)
        one.take(one.gate.feed([frame], one.now_ms))
    assert one.filled_ms == 0


# `vad`: speech only.


@pytest.mark.parametrize("codec", Codec)
def test_vad_sends_the_speech_with_its_preroll_and_hangover_and_nothing_else(codec: Codec) -> None:
    one = line(Mode.VAD, codec)
    lead, tail = 2000, 3000
    pcm = quiet(lead, codec.rate) + say(SENTENCE, codec.rate) + quiet(tail, codec.rate)
    one.play(pcm)
    one.finish()
    begins, ends = one.audio[0].at_ms, one.audio[-1].at_ms + PACKET
    assert lead - DEFAULTS.preroll_ms - DEFAULTS.start_ms - 40 <= begins <= lead - DEFAULTS.preroll_ms + 40
    assert lead + LENGTH <= ends <= lead + LENGTH + DEFAULTS.hangover_ms + 200
    start, stop = (round(ms * codec.bytes_per_ms) for ms in (begins, ends))
    assert sent(one.audio) == g711.from_pcm(pcm, codec)[start:stop], "whole and in order"
    assert one.gate.withheld_ms == pytest.approx(lead + LENGTH + tail - (ends - begins))


@given(st.integers(0, 19), st.integers(60, 800), st.integers(1, 3), st.integers(0, 3))
def test_vad_loses_no_sample_of_a_voice(shift: int, length: int, count: int, aggressiveness: int) -> None:
    """Wherever the voice begins within a packet, however long it is."""
    one = line(Mode.VAD, aggressiveness=aggressiveness)
    pcm, voiced = quiet(700 + shift), list[tuple[int, int]]()
    for number in range(count):
        voiced.append((len(pcm) // 16, len(pcm) // 16 + length))
        pcm += word(length, seed=number) + quiet(900)
    one.play(pcm)
    one.finish()
    there = {round(action.at_ms + ms) for action in one.audio for ms in range(PACKET)}
    missing = [ms for start, stop in voiced for ms in range(start - 200, stop) if ms not in there]
    assert missing == []


def test_noise_after_digital_silence_is_no_voice() -> None:
    """WebRTC VAD says "speech" for seconds where its picture of the line was made from nothing at all."""
    for lead in (500, 507, 513):
        one = line(Mode.HYBRID)
        one.play(quiet(lead) + say(SENTENCE) + quiet(1500))
        ((at, _),) = one.ends
        assert at == pytest.approx(lead + LENGTH + DEFAULTS.silence_ms, abs=40)


def test_silence_costs_nothing() -> None:
    one = line(Mode.VAD)
    one.play(quiet(10_000))
    one.finish()
    assert one.came == []
    assert one.gate.withheld_ms == 10_000


def test_vad_keeps_only_the_preroll() -> None:
    one = line(Mode.VAD)
    one.play(quiet(10_000))
    assert DEFAULTS.preroll_ms <= one.gate.held_ms <= DEFAULTS.preroll_ms + DEFAULTS.start_ms + PACKET


# Hang-up.


@pytest.mark.parametrize("ms", [20, 40, 60, 100])
def test_at_hang_up_the_beginning_of_a_word_is_let_through(ms: int) -> None:
    one = line(Mode.VAD)
    one.play(quiet(1000) + word(ms))
    one.finish()
    assert sent(one.audio).endswith(g711.pcm_to_ulaw(word(ms)))
    assert one.gate.withheld_ms + len(sent(one.audio)) / 8 == 1000 + ms


@pytest.mark.parametrize("mode", Mode)
def test_finishing_twice_or_before_anything_came_is_nothing(mode: Mode) -> None:
    one = line(mode)
    assert one.gate.finish() == []
    one.play(word(100))
    one.finish()
    assert one.gate.finish() == []


# Nothing lost, nothing doubled, in any mode.


@dataclass(frozen=True)
class Piece:
    """One frame: how long after the one before it, how long, what is in it, how late it comes."""

    hole_ms: int
    ms: int
    loud: bool
    late_ms: int


PIECES = st.lists(
    st.builds(
        Piece,
        st.just(0) | st.just(0) | st.integers(2, 900),
        st.sampled_from([10, 20, 30, 60]) | st.integers(10, 60),
        st.booleans(),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=60,
).map(lambda pieces: [piece for piece in pieces for _ in range(4 if piece.loud else 1)])
SETTINGS = st.builds(
    GateSettings,
    mode=st.sampled_from(Mode),
    start_ms=st.sampled_from([10, 60, 200]),
    silence_ms=st.sampled_from([180, 400]),
    preroll_ms=st.sampled_from([0, 100, 300]),
    hangover_ms=st.sampled_from([0, 100, 200]),
    min_speech_ms=st.sampled_from([0, 100, 300]),
    max_utterance_ms=st.sampled_from([1000, 12_000]),
    aggressiveness=st.integers(0, 3),
)


def made(pieces: Sequence[Piece], codec: Codec) -> list[tuple[Frame, float]]:
    """Frames and when each comes: in order, none before its own end."""
    at, came, found = 500.0, 0.0, list[tuple[Frame, float]]()
    for number, piece in enumerate(pieces):
        at += piece.hole_ms
        pcm = word(60, codec.rate, number % 7) if piece.loud else quiet(60, codec.rate)
        payload = g711.from_pcm(pcm, codec)[: piece.ms * codec.bytes_per_ms]
        came = max(came, at + piece.ms + piece.late_ms)
        found.append((Frame(payload, at), came))
        at += piece.ms
    return found


def actions_of(gate: Gate, arrivals: Sequence[tuple[Frame, float]], step_ms: float) -> list[Action]:
    """Feed as a leg does: look every `step_ms`, take what is there, then let the clock pass."""
    actions, waiting, now = list[Action](), list(arrivals), 0.0
    while waiting:
        now += step_ms
        ready = [frame for frame, came in waiting if came <= now]
        del waiting[: len(ready)]
        actions += gate.feed(ready, now)
    return actions


@given(PIECES, SETTINGS, st.sampled_from(Codec), st.sampled_from([5, 20, 40]))
def test_every_frame_is_sent_once_or_withheld(
    pieces: list[Piece], settings: GateSettings, codec: Codec, step_ms: float
) -> None:
    arrivals, gate = made(pieces, codec), Gate(settings, codec)
    actions = actions_of(gate, arrivals, step_ms)
    fed_ms = sum(codec.ms(len(frame.payload)) for frame, _ in arrivals)
    audio = [action for action in actions if isinstance(action, Audio)]
    assert codec.ms(len(sent(audio))) + gate.withheld_ms + gate.held_ms == pytest.approx(fed_ms)
    actions += gate.finish()
    audio = [action for action in actions if isinstance(action, Audio)]
    assert gate.held_ms == 0
    assert codec.ms(len(sent(audio))) + gate.withheld_ms == pytest.approx(fed_ms)
    # What is sent is what came, in order, nothing twice; joined, where nothing is between.
    offered = iter([part for frame, _ in arrivals for part in by_ms(frame, codec)])
    assert all(part in offered for action in audio for part in by_ms(action, codec))


def by_ms(one: Frame | Action, codec: Codec) -> list[object]:
    """Audio as its milliseconds, each with its time; what is none as it is."""
    if not isinstance(one, Frame | Audio):
        return [one]
    size = codec.bytes_per_ms
    starts = range(0, len(one.payload), size)
    return [(round(one.at_ms + at / size, 1), one.payload[at : at + size]) for at in starts]


@given(PIECES, SETTINGS, st.sampled_from(Codec), st.sampled_from([5, 20]))
def test_what_is_sent_never_goes_back_in_time(
    pieces: list[Piece], settings: GateSettings, codec: Codec, step_ms: float
) -> None:
    """No silence where audio is, none twice, and every length more than nothing."""
    gate = Gate(settings, codec)
    actions = actions_of(gate, made(pieces, codec), step_ms) + gate.finish()
    reached = 0.0
    for action in actions:
        if isinstance(action, EndOfUtterance):
            continue
        length = codec.ms(len(action.payload)) if isinstance(action, Audio) else action.length_ms
        assert action.at_ms >= reached - 0.01
        assert length > 0
        reached = action.at_ms + length


@given(PIECES, SETTINGS, st.sampled_from(Codec), st.integers(1, 12))
def test_how_frames_are_handed_over_does_not_change_what_is_sent(
    pieces: list[Piece], settings: GateSettings, codec: Codec, chunk: int
) -> None:
    """The clock stands at the end of the last frame each time, as where packets come in bursts."""
    fed = [frame for frame, _ in made(pieces, codec)]
    said: list[list[object]] = []
    for size in (1, chunk, len(fed)):
        gate, actions = Gate(settings, codec), list[Action]()
        for start in range(0, len(fed), size):
            part = fed[start : start + size]
            actions += gate.feed(part, part[-1].at_ms + codec.ms(len(part[-1].payload)))
        actions += gate.finish()
        said.append([part for action in actions for part in by_ms(action, codec)])
    assert said[0] == said[1] == said[2]


@given(PIECES, SETTINGS, st.sampled_from(NARROW))
def test_an_utterance_ends_once_and_never_before_its_silence(
    pieces: list[Piece], settings: GateSettings, codec: Codec
) -> None:
    one = Line(Gate(settings, codec), step_ms=10)
    for frame, came in made(pieces, codec):
        one.wait(came - one.now_ms)
        one.take(one.gate.feed([frame], one.now_ms))
    one.wait(2000)
    assert settings.mode is not Mode.IMMEDIATE or not one.ends
    assert one.gate.due_ms is None, "with nobody speaking nothing stays open"
    for earlier, later in pairwise(one.ends):
        assert earlier[1].voice_end_ms <= later[1].voice_end_ms
    for at, end in one.ends:
        assert end.voice_end_ms <= at + 0.01


def test_immediate_does_not_fill_the_place_of_a_packet_that_the_reorder_buffer_waits_for() -> None:
    """A lost packet holds back what follows it; silence in its place comes once, and not before its time."""
    one, receiver = line(Mode.IMMEDIATE), Receiver(Codec.ULAW, 60)
    for number, frame in enumerate(frames(word(4000), 0, Codec.ULAW)):
        for _ in range(PACKET // 5):
            one.now_ms += 5
            one.take(one.gate.feed(receiver.release(one.now_ms), one.now_ms))
        if number % 10 != 5:
            packet = rtp.Packet(0, number, number * 160, 7, frame.payload)
            one.take(one.gate.feed(receiver.push(rtp.build(packet), one.now_ms), one.now_ms))
    assert one.filled_ms == 20 * PACKET
    assert len(sent(one.audio)) == 180 * 160


# The bridge itself stood still.


def stall(
    one: Line, spoken: Sequence[Frame], since_ms: float, until_ms: float, wake_ms: float, *, blind: bool
) -> None:
    """Datagrams to gate as the shells do it, but nothing is read from `since_ms` to `until_ms`; then what
    waited is, 32 datagrams every `wake_ms`. `blind`: the leg looks at the clock before the socket is read."""
    receiver, waiting = Receiver(one.gate.codec), list(spoken)
    done_ms = max(spoken[-1].at_ms, until_ms) + 1000
    while one.now_ms < done_ms:
        one.now_ms += 10 if one.now_ms < until_ms or not waiting else wake_ms
        if since_ms <= one.now_ms < until_ms:
            one.now_ms = until_ms
            if blind:
                one.take(one.gate.feed([], one.now_ms))
        heard, batch = list[Frame](), 0
        while waiting and waiting[0].at_ms + PACKET <= one.now_ms and batch < 32:
            frame = waiting.pop(0)
            batch += 1
            index = round(frame.at_ms / PACKET)
            marker = frame.at_ms in STARTS
            packet = rtp.Packet(0, len(spoken) - len(waiting), index * 160, 7, frame.payload, marker)
            heard += receiver.push(rtp.build(packet), one.now_ms)
        one.take(one.gate.feed(heard, one.now_ms))


STARTS = (500.0, 9000.0, 16_000.0)
TALK_MS = 6000
"""Three talks of many words; no packet comes between them, and each begins with a marker."""


def words(ms: int) -> bytes:
    """Words with the short breaths between them that speech has."""
    pcm = b""
    while len(pcm) < ms * 16:
        pcm += word(440, seed=len(pcm) % 11) + quiet(260)
    return pcm[: ms * 16]


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("wake_ms", [1, 8, 50])
@pytest.mark.parametrize(
    ("since_ms", "stall_ms"), [(2000, 1000), (2000, 8000), (5000, 8000), (8900, 1000), (9500, 8000)]
)
@pytest.mark.parametrize("mode", [Mode.VAD, Mode.HYBRID])
def test_a_bridge_that_stood_still_tears_no_sentence(
    mode: Mode, since_ms: int, stall_ms: int, wake_ms: int, blind: bool
) -> None:
    one = line(mode)
    spoken = [frame for at_ms in STARTS for frame in frames(words(TALK_MS), at_ms, Codec.ULAW)]
    stall(one, spoken, since_ms, since_ms + stall_ms, wake_ms, blind=blind)
    voice_ends = [end.voice_end_ms for _, end in one.ends]
    # The last 260 ms of a talk, as far as they go, are a breath.
    last_voice = TALK_MS - max(0, TALK_MS % 700 - 440)
    assert voice_ends == pytest.approx([at_ms + PACKET + last_voice for at_ms in STARTS], abs=100)
    assert len(sent(one.audio)) == pytest.approx(3 * TALK_MS * 8, rel=0.05)
    # Every frame is where it was spoken, the stall's too: a frame arrives when it is over.
    said = iter(spoken)
    for action in one.audio:
        frame = next(frame for frame in said if frame.payload == action.payload)
        assert action.at_ms == pytest.approx(frame.at_ms + PACKET, abs=100)


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("stall_ms", [1000, 8000])
def test_immediate_fills_nothing_where_audio_waits_to_be_read(stall_ms: int, blind: bool) -> None:
    one = line(Mode.IMMEDIATE)
    stall(one, frames(words(TALK_MS), 500, Codec.ULAW), 2000, 2000 + stall_ms, 8, blind=blind)
    assert len(sent(one.audio)) == TALK_MS * 8
    reached = 0.0
    for _, action in one.came:
        assert not isinstance(action, EndOfUtterance)
        assert action.at_ms >= reached - 0.01
        assert isinstance(action, Audio) or action.at_ms >= 500 + TALK_MS, "only after the talk"
        reached = action.at_ms


def test_after_a_stall_with_nothing_to_read_the_clock_ends_the_utterance_soon() -> None:
    one = line()
    over = one.play(say(SENTENCE))
    one.now_ms += 8000
    one.wait(60)
    ((at, end),) = one.ends
    assert at <= over + 8060
    assert end.voice_end_ms == pytest.approx(over, abs=40)


@pytest.mark.parametrize("mode", Mode)
def test_audio_that_draws_back_is_audio_like_any_other(mode: Mode) -> None:
    """After a stall each frame begins before the last has ended (`wire.arrival`): nothing is filled for it,
    nothing falls, and the utterance ends where it ends."""
    spoken, gate = say(SENTENCE) + quiet(1000), Gate(replace(DEFAULTS, mode=mode), Codec.SLIN)
    whole = frames(spoken, 0, Codec.SLIN)
    back = [Frame(frame.payload, 1000 + 18.0 * number) for number, frame in enumerate(whole)]
    actions = [action for frame in back for action in gate.feed([frame], frame.at_ms)] + gate.finish()
    assert not [action for action in actions if isinstance(action, Silence)]
    heard = [action for action in actions if isinstance(action, Audio)]
    assert Codec.SLIN.ms(len(sent(heard))) + gate.withheld_ms == pytest.approx(Codec.SLIN.ms(len(spoken)))
    assert all(after.at_ms > before.at_ms for before, after in pairwise(heard))
    ends = [action.voice_end_ms for action in actions if isinstance(action, EndOfUtterance)]
    assert len(ends) == (mode is not Mode.IMMEDIATE)
    assert ends == pytest.approx([1000 + LENGTH * 0.9] * len(ends), abs=HANGOVER_MS[2] + 80)
