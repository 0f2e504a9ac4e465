"""bridge/simulate/recording.py: WAV files and captures become the packets of telephones."""

import struct
import wave
from pathlib import Path

import pytest

from bridge.emulator.codebook import SENTENCES
from bridge.simulate.recording import SimulateError, read
from bridge.simulate.simulation import words_of
from bridge.types import Codec, Role
from bridge.wire import g711, rtp
from bridge.wire.pcap import ETHERNET
from tests.simulate.files import datagram, spoken, write_pcap, write_wav
from tests.wire.test_pcap import header, record


def words(*sentences: int) -> list[str]:
    return [word for number in sentences for word in SENTENCES[number].split()]


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_the_left_side_is_the_caller_and_the_right_one_the_callee(tmp_path: Path, rate: int) -> None:
    file = write_wav(tmp_path / "x.wav", spoken(0, 2, rate=rate), spoken(1, rate=rate), rate=rate)
    (recording,) = read(file)
    caller, callee = recording.tracks
    assert (caller.role, callee.role) == (Role.CALLER, Role.CALLEE)
    assert (words_of(caller), words_of(callee)) == (words(0, 2), words(1))
    sent = list(caller.packets())
    assert [at_ms for at_ms, _ in sent[:3]] == [0, 20, 40]
    assert {len(packet.payload) for _, packet in sent} == {160}
    assert recording.ms == caller.ms == 20 * len(sent)


def test_mono_is_the_caller_alone(tmp_path: Path) -> None:
    (recording,) = read(write_wav(tmp_path / "x.wav", spoken(3)))
    assert [(track.role, words_of(track)) for track in recording.tracks] == [(Role.CALLER, words(3))]


@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.ALAW])
def test_a_capture_is_calls_by_the_ports_they_went_between(tmp_path: Path, codec: Codec) -> None:
    streams = {(10, 20): spoken(0), (20, 10): spoken(1), (30, 40): spoken(2)}
    one, other = read(write_pcap(tmp_path / "x.pcap", streams, codec))
    assert (one.name, other.name) == ("x.pcap#1", "x.pcap#2")
    assert [(track.role, track.codec, words_of(track)) for track in one.tracks] == [
        (Role.CALLER, codec, words(0)),
        (Role.CALLEE, codec, words(1)),
    ]
    assert [words_of(track) for track in other.tracks] == [words(2)]


def test_what_was_lost_before_the_capture_is_silence_in_its_place(tmp_path: Path) -> None:
    (recording,) = read(write_pcap(tmp_path / "x.pcap", {(10, 20): spoken(0)}, skip=range(12, 24)))
    (track,) = recording.tracks
    assert len(track.pcm()) == len(spoken(0)) // 320 * 320
    assert words_of(track) == words(0)[1:]


def test_another_source_on_the_same_ports_goes_on_where_it_was_heard(tmp_path: Path) -> None:
    payload = g711.from_pcm(spoken(0, 1), Codec.ULAW)
    data = header(ETHERNET)
    for number in range(len(payload) // 160):
        other = number >= 70
        audio = payload[160 * number : 160 * (number + 1)]
        stamp = 160 * number + (3_000_000_000 if other else 0)
        packet = rtp.Packet(0, number, stamp, 2 if other else 1, audio)
        at_s, micros = divmod(20_000 * number, 1_000_000)
        frame = datagram((10, 20), rtp.build(packet))
        data += struct.pack("<4I", at_s, micros, len(frame), len(frame)) + frame
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    ((track,),) = (recording.tracks for recording in read(path))
    assert words_of(track) == words(0, 1)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("sides", [1, 2])
def test_a_wav_that_was_cut_anywhere_is_played_as_far_as_it_goes(
    tmp_path: Path, sides: int, rate: int
) -> None:
    path = write_wav(tmp_path / "x.wav", *[spoken(0, rate=rate)] * sides, rate=rate)
    whole = path.read_bytes()
    for cut in range(1, 9):
        path.write_bytes(whole[:-cut])
        (recording,) = read(path)
        assert {words_of(track)[0] for track in recording.tracks} == {words(0)[0]}
    path.write_bytes(whole[:30])
    with pytest.raises(SimulateError, match="it is cut short"):
        read(path)


@pytest.mark.parametrize(
    ("rate", "width", "channels", "why"),
    [
        (44_100, 2, 1, "is 44100 Hz"),
        (8000, 1, 1, "8 bit"),
        (8000, 2, 3, "3 channels"),
        (8000, 2, 1, "no audio"),
    ],
)
def test_wavs_that_cannot_be_played_are_told_with_the_mend(
    tmp_path: Path, rate: int, width: int, channels: int, why: str
) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(b"" if why == "no audio" else bytes(600))
    with pytest.raises(SimulateError, match=why):
        read(path)


def test_no_capture_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_pcap(tmp_path / "x.pcap", {(10, 20): spoken(0)})
    count = len(spoken(0)) // 320
    monkeypatch.setattr("bridge.simulate.recording._MOST_PACKETS", count)
    assert len(read(file)) == 1
    monkeypatch.setattr("bridge.simulate.recording._MOST_PACKETS", count - 1)
    with pytest.raises(SimulateError, match="give its beginning"):
        read(file)


def test_other_files_are_told_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "x"
    rtp_elsewhere = rtp.build(rtp.Packet(96, 1, 1, 1, bytes(160)))
    for data, why in (
        (None, "cannot be read"),
        (b"", "holds no RTP with G.711"),
        (b"RIFF", "not a WAV file of PCM"),
        (b"RIFF" + struct.pack("<I", 40) + b"WAVEfmt " + bytes(30), "not a WAV file of PCM"),
        (b"something else altogether", "is no pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(100), "tcpdump -r in.pcapng"),
        (header(ETHERNET), "capture where the telephones' audio passes"),
        (header(ETHERNET) + record(datagram((1, 2), rtp_elsewhere)) * 50, "holds no RTP with G.711"),
        (header(ETHERNET) + record(datagram((1, 2), bytes(200)), kept=60) * 3, "tcpdump -s 0"),
    ):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(SimulateError, match=why):
            read(path)
