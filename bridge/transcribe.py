"""`rtzr-bridge transcribe`: one WAV file through the gate and session that calls use.

Reading the file, pacing it and collecting the finals; the command line prints.
"""

import asyncio
import wave
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.call import Leg, LegReport
from bridge.config import Config, Secrets
from bridge.daemon import build_rtzr, leg_settings
from bridge.emulator.server import Emulator, Knobs
from bridge.ring import Ring
from bridge.sinks.console import ConsoleSink
from bridge.types import Codec, Event, Frame, LegId, Party, Role

_STEP_MS = 20
_FAST = 8.0
"""Times real time; the emulator works off 5 and makes the rest wait its turn."""
_RING_MS = 60_000
_CODECS = {8000: Codec.SLIN, 16_000: Codec.SLIN16}


class RecordingError(ValueError):
    """A file that cannot be sent; the text names the mend."""


@dataclass(frozen=True, slots=True)
class Recording:
    codec: Codec
    pcm: bytes = field(repr=False)

    @property
    def ms(self) -> float:
        return self.codec.ms(len(self.pcm))


@dataclass(slots=True)
class Outcome:
    """The finals of the file, and the reasons if there could be more."""

    finals: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": "partial" if self.reasons else "complete",
            "reasons": self.reasons,
            "finals": self.finals,
            "audio": self.ledger,
        }


def read(path: Path) -> Recording:
    """A mono 16-bit WAV of 8 or 16 kHz. Raises RecordingError."""
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            pcm = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is cut short"
        raise RecordingError(f"{path}: not a WAV file that can be read ({reason})") from None
    if rate not in _CODECS or width != 2 or channels != 1:
        raise RecordingError(
            f"{path}: {rate} Hz, {8 * width} bit, {channels} channels; convert it to mono, 16 bit, 8 kHz: "
            f"sox {path} -c 1 -b 16 -r 8000 out.wav"
        )
    return Recording(_CODECS[rate], pcm)


async def run(recording: Recording, config: Config, *, fast: bool, emulated: bool, show: bool) -> Outcome:
    """Send the recording; with `show` its text appears on the terminal as it comes."""
    outcome, sink = Outcome(), ConsoleSink()

    def keep(event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            names = ("text", "start_ms", "end_ms", "latency_ms", "words")
            outcome.finals.append({name: event.data[name] for name in names})
        if show:
            sink.deliver(event)

    async with AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run())
        if emulated:
            config = with_emulator(config, await opened.enter_async_context(Emulator()))
        tokens, speech = build_rtzr(config)
        await opened.enter_async_context(tokens)
        player = _FilePlayer(recording, _FAST if fast else 1.0)
        leg = Leg(
            LegId(f"file-{recording.codec.label}", "file"),
            Party(Role.CALLER),
            recording.codec,
            player.ring,
            speech,
            leg_settings(config),
            clock=player.now_ms,
            publish=keep,
        )
        running: asyncio.Task[LegReport] = tasks.create_task(leg.run(lambda: "end of file"))
        await player.play()
        report = await running
        sink.close()
    outcome.reasons, outcome.ledger = report.reasons, report.ledger.as_json()
    return outcome


def with_emulator(config: Config, emulator: Emulator) -> Config:
    """The same configuration, pointed at an emulated RTZR."""
    urls = {"auth_url": emulator.auth_url, "stream_url": emulator.stream_url}
    pointed = config.model_copy(update={"rtzr": config.rtzr.model_copy(update=urls)})
    knobs = Knobs()
    return pointed.with_secrets(Secrets(knobs.client_id, knobs.client_secret))


class _FilePlayer:
    """Puts the file into a ring at a pace; its clock is the file's position."""

    def __init__(self, recording: Recording, speed: float) -> None:
        self._recording = recording
        self._speed = speed
        self._started_s = asyncio.get_running_loop().time()
        self.ring = Ring(recording.codec, _RING_MS)

    def now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._started_s) * 1000 * self._speed

    async def play(self) -> None:
        self.ring.answer(0.0)
        codec, pcm = self._recording.codec, self._recording.pcm
        size = _STEP_MS * codec.bytes_per_ms
        for start in range(0, len(pcm), size):
            at_ms = codec.ms(start)
            await asyncio.sleep((at_ms + _STEP_MS - self.now_ms()) / 1000 / self._speed)
            self.ring.push([Frame(pcm[start : start + size], at_ms)])
        self.ring.end()
