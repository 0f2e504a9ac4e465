"""`rtzr-bridge transcribe`: one WAV file through the gate and session that calls use.

Reading the file, pacing it and collecting the finals; the command line prints.
"""

import asyncio
import shlex
import wave
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bridge import credentials
from bridge.config import DEFAULT_CONFIG, Config, ConfigError, Secrets, load
from bridge.emulator.server import Emulator, Knobs
from bridge.groups import first_of
from bridge.leg.call import Leg, LegReport, LegSettings
from bridge.leg.conversation import Session
from bridge.leg.permit import Ungoverned
from bridge.leg.ring import Ring
from bridge.quota import Opener
from bridge.sinks.console import ConsoleSink
from bridge.types import Codec, Event, Frame, LegId, Party, Role
from bridge.wire.rtzr import Refused, Unreachable, Verdict
from bridge.wiring import build_rtzr, build_tokens, leg_settings

_STEP_MS = 20
_FAST = 8.0
"""Times real time; the emulator works off 5 and makes the rest wait its turn."""
_AHEAD_MS = 1000.0
"""A file, unlike a call, can wait: no more of it than this waits to be sent."""
_RING_MS = 60_000
_PATIENCE_S = 5.0
"""How long RTZR is tried without success: somebody sits and waits for the answer."""
_CODECS = {8000: Codec.SLIN, 16_000: Codec.SLIN16}
_FINAL = ("text", "start_ms", "end_ms", "latency_ms", "words")


class RecordingError(ValueError):
    """A file that cannot be sent; the text names the mend."""


class TranscribeError(Exception):
    """RTZR was not to be had; the text holds its words and the mend, and no secret."""


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
            promised = file.getnframes()
            if rate not in _CODECS or width != 2 or channels != 1:
                kind = f"{rate} Hz, {8 * width} bit, {channels} channel{'s' * (channels > 1)}"
                raise RecordingError(f"{path}: is {kind}; {_convert(path, rate)}")
            pcm = file.readframes(promised)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}); give a WAV file") from None
    except EOFError:
        raise RecordingError(f"{path}: ends before any audio; record it or copy it again") from None
    except wave.Error as error:
        raise RecordingError(f"{path}: is not a WAV file of PCM ({error}); {_convert(path, 8000)}") from None
    return _whole(path, Recording(_CODECS[rate], pcm), promised / rate)


def _whole(path: Path, recording: Recording, promised_s: float) -> Recording:
    """The recording, unless the file says that it is longer, or has none."""
    if not recording.pcm:
        raise RecordingError(f"{path}: holds no audio; record it again")
    if recording.ms < promised_s * 1000 - 1:
        raise RecordingError(
            f"{path}: is cut short: {recording.ms / 1000:.1f} s of the {promised_s:.1f} s that it promises; "
            "copy it again, or let sox write a header for what there is: "
            f"sox --ignore-length {shlex.quote(str(path))} whole.wav"
        )
    return recording


def _convert(path: Path, rate: int) -> str:
    wanted = 16_000 if rate >= 16_000 else 8000
    name = shlex.quote(str(path))
    return (
        f"convert it to mono, 16 bit, {wanted // 1000} kHz: sox {name} -c 1 -b 16 -r {wanted} converted.wav"
    )


def defaults(environ: Mapping[str, str]) -> Config:
    """Every default, and the RTZR credentials of `environ`. Raises ConfigError."""
    secrets, missing = credentials.read(environ, ("client_id", "client_secret"))
    if missing:
        raise ConfigError([*(f"environment: {line}" for line in missing), "or try it with --emulator"])
    return Config().with_secrets(secrets)


def configured(file: Path | None, environ: Mapping[str, str], *, emulated: bool) -> Config:
    """What the YAML says; all defaults where none was named and none is there. An emulated RTZR is not the
    one of the YAML at the usual place, and asks for no credentials. Raises ConfigError."""
    if file is None and emulated:
        return Config()
    if file is None and not DEFAULT_CONFIG.exists():
        return defaults(environ)
    return load(file or DEFAULT_CONFIG, environ, pbx=False, rtzr=not emulated)


async def run(
    recording: Recording, config: Config, *, fast: bool, emulated: bool, console: Console | None
) -> Outcome:
    """Send the recording; its text appears on `console` as it comes. Raises TranscribeError."""
    try:
        return await _run(recording, config, fast, emulated, console)
    except ExceptionGroup as group:
        expected, unexpected = group.split(TranscribeError)
        if expected is None or unexpected is not None:
            raise
        raise first_of(expected) from None


async def _run(
    recording: Recording, config: Config, fast: bool, emulated: bool, console: Console | None
) -> Outcome:
    outcome, bar = Outcome(), _Bar(recording.ms)
    sink = ConsoleSink(console=console, below=[] if console is None else [bar.progress])

    def keep(event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            # Faster than real time, a latency in the file's own time would mean nothing.
            outcome.finals.append({k: event.data[k] for k in _FINAL if not (fast and k == "latency_ms")})
        if console is not None:
            sink.deliver(event)

    async with AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run())
        if emulated:
            config = with_emulator(config, await opened.enter_async_context(Emulator()))
        tokens = build_tokens(config)
        speech = build_rtzr(config, tokens)
        await opened.enter_async_context(tokens)
        player = _FilePlayer(recording, _FAST if fast else 1.0, bar.played)
        leg = Leg(
            LegId("file", recording.codec.label),
            Party(Role.CALLER),
            recording.codec,
            player.ring,
            Ungoverned(_Bounded(speech, config)),
            _leg_settings(config, recording, fast),
            clock=player.now_ms,
            publish=keep,
        )
        running: asyncio.Task[LegReport] = tasks.create_task(leg.run(lambda: "end of file"))
        await player.play(leg)
        bar.waits()
        report = await running
        sink.close()
    outcome.reasons, outcome.ledger = report.reasons, report.ledger.as_json()
    return outcome


def _leg_settings(config: Config, recording: Recording, fast: bool) -> LegSettings:
    """As for a call; an RTZR that is slower than `--fast` gets the file's length to catch up."""
    settings = leg_settings(config)
    if not fast:
        return settings
    drain_ms = max(settings.session.drain_ms, recording.ms)
    return replace(settings, session=replace(settings.session, drain_ms=drain_ms, catch_up=2 * _FAST))


def with_emulator(config: Config, emulator: Emulator) -> Config:
    """The same configuration, pointed at an emulated RTZR."""
    urls = {"auth_url": emulator.auth_url, "stream_url": emulator.stream_url, "proxy": None}
    pointed = config.model_copy(update={"rtzr": config.rtzr.model_copy(update=urls)})
    knobs = Knobs()
    return pointed.with_secrets(Secrets(knobs.client_id, knobs.client_secret))


class _Bounded:
    """Opens sessions as for a call, but gives up in a person's time, and says what to do."""

    def __init__(self, speech: Opener[Session], config: Config) -> None:
        self._speech = speech
        self._config = config
        self._failing_since_s: float | None = None

    async def open(self, codec: Codec, options: Mapping[str, str] | None = None) -> Session:
        """As `Rtzr.open`. Raises TranscribeError where another try would not help or took too long."""
        try:
            session = await self._speech.open(codec, options)
        except (Refused, Unreachable) as error:
            if self._over(error):
                raise TranscribeError(f"{error}; {_mend(error, self._config)}") from None
            raise
        self._failing_since_s = None
        return session

    def _over(self, error: Refused | Unreachable) -> bool:
        if isinstance(error, Refused) and error.verdict is not Verdict.WAIT:
            return True
        now_s = asyncio.get_running_loop().time()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        return now_s - self._failing_since_s >= _PATIENCE_S


def _mend(error: Refused | Unreachable, config: Config) -> str:
    if isinstance(error, Unreachable):
        addresses = f"{config.rtzr.auth_url} and {config.rtzr.stream_url}"
        return f"check that this machine reaches {addresses}, and rtzr.proxy and rtzr.ca_file"
    match error.status:
        case 401:
            return "check RTZR_CLIENT_ID and RTZR_CLIENT_SECRET"
        case 400:
            return "check the section rtzr of the configuration"
        case 403 | 404:
            return "check rtzr.auth_url and rtzr.stream_url, and what the account may do"
        case 429:
            return "the account's channels are all in use, or what it may use is used up"
    return "try again later"


class _Bar:
    """How far the file was played, for a person who waits for its end."""

    def __init__(self, ms: float) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        self.progress = Progress(*columns)
        self._task = self.progress.add_task("sent", total=ms)

    def played(self, ms: float) -> None:
        self.progress.update(self._task, completed=ms)

    def waits(self) -> None:
        """All is sent."""
        self.progress.update(self._task, description="all is sent; the last text is waited for")


class _FilePlayer:
    """Puts the file into a ring at a pace; its clock is the file's position."""

    def __init__(self, recording: Recording, speed: float, played: Callable[[float], None]) -> None:
        self._played = played
        self._recording = recording
        self._speed = speed
        self._pushed_ms = 0.0
        self._pushed_s = asyncio.get_running_loop().time()
        self.ring = Ring(recording.codec, _RING_MS)

    def now_ms(self) -> float:
        """How far the file was played; it stands while the file waits, and goes on after its end."""
        since_ms = (asyncio.get_running_loop().time() - self._pushed_s) * 1000 * self._speed
        return self._pushed_ms + (since_ms if self.ring.ended else min(since_ms, _STEP_MS))

    async def play(self, leg: Leg) -> None:
        """Until the end of the file; waits where the leg is behind, as while it connects."""
        self.ring.answer(0.0)
        loop = asyncio.get_running_loop()
        codec, pcm = self._recording.codec, self._recording.pcm
        size, step_s = _STEP_MS * codec.bytes_per_ms, _STEP_MS / 1000 / self._speed
        due_s = loop.time()
        for start in range(0, len(pcm), size):
            due_s = max(due_s + step_s, loop.time() - step_s)
            await asyncio.sleep(due_s - loop.time())
            while leg.backlog_ms >= _AHEAD_MS:  # noqa: ASYNC110 - a leg tells its pusher nothing
                await asyncio.sleep(step_s)
            self.ring.push([Frame(pcm[start : start + size], codec.ms(start))])
            self._pushed_ms, self._pushed_s = codec.ms(start) + _STEP_MS, loop.time()
            self._played(self._pushed_ms)
        self.ring.end()
