"""bridge/transcribe.py: which files it takes, that it loses no audio, what it says without RTZR."""

import asyncio
import wave
from pathlib import Path

import pytest

from bridge import transcribe
from bridge.config import Config, ConfigError, Secrets
from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.server import Emulator, Knobs
from bridge.transcribe import Recording, RecordingError, TranscribeError, read
from bridge.types import Codec
from bridge.wire.rtzr import Refused, Unreachable


def wav(path: Path, pcm: bytes, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm)
    return path


def talk(rate: int, sentences: int) -> bytes:
    pause = bytes(2 * rate)
    return pause + b"".join(say(SENTENCES[index], rate) + pause for index in range(sentences))


@pytest.mark.parametrize(("rate", "codec"), [(8000, Codec.SLIN), (16_000, Codec.SLIN16)])
def test_telephone_and_wide_band_are_read(tmp_path: Path, rate: int, codec: Codec) -> None:
    assert read(wav(tmp_path / "a.wav", b"\1\2" * 800, rate)) == Recording(codec, b"\1\2" * 800)


@pytest.mark.parametrize(
    ("rate", "width", "channels", "words"),
    [
        (8000, 2, 2, "is 8000 Hz, 16 bit, 2 channels; convert it to mono, 16 bit, 8 kHz: sox "),
        (44_100, 2, 1, "is 44100 Hz, 16 bit, 1 channel; convert it to mono, 16 bit, 16 kHz: sox "),
        (8000, 1, 1, "8 bit"),
    ],
)
def test_another_kind_of_wav_is_told_with_its_mend(
    tmp_path: Path, rate: int, width: int, channels: int, words: str
) -> None:
    path = wav(tmp_path / "my call.wav", bytes(800), rate, width, channels)
    with pytest.raises(RecordingError, match=words) as error:
        read(path)
    assert f"sox '{path}' " in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends before any audio"),
        (b"ID3\x04" + bytes(500), "is not a WAV file of PCM"),
        (b"RIFF\x00\x00\x00\x00WAVE", "ends before any audio|is not a WAV file"),
    ],
)
def test_what_is_no_wav_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=words):
        read(path)


def test_a_file_that_was_cut_short_is_told(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", bytes(32_000))
    path.write_bytes(path.read_bytes()[:16_044])
    with pytest.raises(RecordingError, match=r"cut short: 1\.0 s of the 2\.0 s"):
        read(path)


def test_missing_folders_and_no_audio_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        read(tmp_path / "missing.wav")
    with pytest.raises(RecordingError, match="Is a directory"):
        read(tmp_path)
    with pytest.raises(RecordingError, match="holds no audio"):
        read(wav(tmp_path / "a.wav", b""))


def test_the_credentials_alone_are_a_configuration() -> None:
    config = transcribe.defaults({"RTZR_CLIENT_ID": "id", "RTZR_CLIENT_SECRET": "hunter2"})
    assert config.secrets == Secrets("id", "hunter2")
    assert config.rtzr == Config().rtzr
    with pytest.raises(ConfigError, match="RTZR_CLIENT_SECRET: is not set") as error:
        transcribe.defaults({"RTZR_CLIENT_ID": "id"})
    assert "--emulator" in str(error.value)


@pytest.mark.parametrize("codec", [Codec.SLIN, Codec.SLIN16])
async def test_a_file_is_transcribed_word_for_word(codec: Codec) -> None:
    recording = Recording(codec, talk(codec.rate, 3))
    outcome = await transcribe.run(recording, Config(), fast=True, emulated=True, console=None)
    assert [final["text"] for final in outcome.finals] == list(SENTENCES[:3])
    assert outcome.as_json()["verdict"] == "complete"
    assert outcome.ledger["sent_ms"] == outcome.ledger["arrived_ms"] == round(recording.ms)


async def test_in_real_time_each_final_has_its_latency() -> None:
    recording = Recording(Codec.SLIN, talk(8000, 1))
    outcome = await transcribe.run(recording, Config(), fast=False, emulated=True, console=None)
    (final,) = outcome.finals
    assert 0 < final["latency_ms"] < 5000


async def test_a_file_waits_while_rtzr_is_slow_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of a call would let go what is older than a minute; a file has all the time there is."""
    monkeypatch.setattr(transcribe, "_RING_MS", 1500)
    recording = Recording(Codec.SLIN, talk(8000, 2))
    async with Emulator(Knobs(auth_delay_ms=700)) as emulator:
        config = transcribe.with_emulator(Config(), emulator)
        outcome = await transcribe.run(recording, config, fast=True, emulated=False, console=None)
    assert outcome.ledger["lost_ms"] == 0
    assert [final["text"] for final in outcome.finals] == list(SENTENCES[:2])


async def test_wrong_credentials_are_told_in_rtzrs_words_with_the_mend() -> None:
    async with Emulator() as emulator:
        config = transcribe.with_emulator(Config(), emulator).with_secrets(Secrets("me", "hunter2"))
        with pytest.raises(TranscribeError) as error:
            await transcribe.run(
                Recording(Codec.SLIN, bytes(16_000)), config, fast=True, emulated=False, console=None
            )
    assert str(error.value) == (
        "RTZR answered 401 H0002 invalid credential; check RTZR_CLIENT_ID and RTZR_CLIENT_SECRET"
    )


async def test_an_rtzr_that_cannot_be_reached_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "_PATIENCE_S", 0.0)
    async with Emulator() as emulator:
        config = transcribe.with_emulator(Config(), emulator)
    async with asyncio.timeout(10):
        with pytest.raises(TranscribeError, match="check that this machine reaches http://127") as error:
            await transcribe.run(
                Recording(Codec.SLIN, bytes(64_000)), config, fast=False, emulated=False, console=None
            )
    assert "demo-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refused(400, "H0001", "bad"), "section rtzr"),
        (Refused(404, "", ""), "rtzr.auth_url"),
        (Refused(429, "A0002", "Too many"), "in use"),
        (Refused(503, "", ""), "later"),
        (Unreachable("authentication: ConnectTimeout"), "rtzr.proxy"),
    ],
)
def test_each_failure_has_its_mend(error: Refused | Unreachable, words: str) -> None:
    assert words in transcribe._mend(error, Config())
