"""Files of calls as the RTP packets that telephones would send: WAV files, and captures with G.711 in them.

Reading only; who sends the packets is `bridge.simulate.telephone`. A WAV of 16 kHz goes out as the 8 kHz that
a telephone line has.
"""

import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bridge.types import Codec, Role
from bridge.wire import g711, rtp
from bridge.wire.pcap import PcapError, Reader

PACKET_MS = 20
_RATE = 8000
_PER_LINE = {_RATE: 1, 2 * _RATE: 2}
"""Samples of a file for one on a telephone line; a file that was cut may end within one."""
_LEAST_PACKETS = 25
"""Fewer in half a second are no stream that anybody speaks on."""
_MOST_PACKETS = 2_000_000
"""In memory at once, with half a kilobyte each: five hours of a call."""
_SHORTER = "give its beginning: tcpdump -r in.pcap -c 2000000 -w out.pcap"
_PIECE = 1 << 20
_MEND = "convert it: sox in.wav -b 16 -r 8000 out.wav"
_CODECS = {0: Codec.ULAW, 8: Codec.ALAW}

Sent = tuple[float, rtp.Packet]
"""When, in milliseconds of the recording, and what."""


class SimulateError(ValueError):
    """A file that cannot be played; the text names the mend."""


@dataclass(frozen=True, slots=True)
class Track:
    """One party."""

    role: Role
    codec: Codec
    ms: float
    packets: Callable[[], Iterator[Sent]] = field(repr=False)

    def pcm(self) -> bytes:
        """All of its audio by the packets' own clock, 16 bit, 8 kHz; what was not sent is silence."""
        decode = g711.ulaw_to_pcm if self.codec is Codec.ULAW else g711.alaw_to_pcm
        whole, source, first = bytearray(), None, 0
        for at_ms, packet in self.packets():
            if packet.ssrc != source:  # another one has a clock of its own: it goes on where it was heard
                source, first = packet.ssrc, packet.timestamp - round(at_ms * _RATE / 1000)
            start = 2 * ((packet.timestamp - first) & 0xFFFFFFFF)
            if packet.payload_type not in _CODECS or start > 2 * _RATE * (self.ms / 1000 + 60):
                continue
            audio = decode(packet.payload)
            whole.extend(bytes(max(0, start + len(audio) - len(whole))))
            whole[start : start + len(audio)] = audio
        return bytes(whole)


@dataclass(frozen=True, slots=True)
class Recording:
    """One call."""

    name: str
    tracks: tuple[Track, ...]

    @property
    def ms(self) -> float:
        return max(track.ms for track in self.tracks)


def read(path: Path) -> list[Recording]:
    """The calls in a file: of a WAV, one. Raises SimulateError."""
    try:
        with path.open("rb") as file:
            riff = file.read(4) == b"RIFF"
        return [_of_wav(path)] if riff else _of_pcap(path)
    except OSError as error:
        raise SimulateError(f"{path}: cannot be read ({error.strerror}); give a WAV or pcap file") from None
    except PcapError as error:
        raise SimulateError(f"{path}: {error}") from None


def _of_wav(path: Path) -> Recording:
    """Mono: the caller alone; stereo: the caller on the left, the callee on the right."""
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            if rate not in _PER_LINE or width != 2 or channels not in (1, 2):
                kind = f"{rate} Hz, {8 * width} bit, {channels} channels"
                raise SimulateError(f"{path}: is {kind}; {_MEND}")
            pcm = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        why = str(error) or "it is cut short"
        raise SimulateError(f"{path}: is not a WAV file of PCM ({why}); {_MEND}") from None
    pcm = pcm[: len(pcm) // (2 * channels * _PER_LINE[rate]) * 2 * channels * _PER_LINE[rate]]
    if not pcm:
        raise SimulateError(f"{path}: holds no audio; record it again")
    roles = (Role.CALLER, Role.CALLEE)[:channels]
    sides = [pcm] if channels == 1 else list(g711.split(pcm))
    if rate != _RATE:
        sides = [g711.halves(side) for side in sides]
    return Recording(path.name, tuple(_spoken(role, side) for role, side in zip(roles, sides, strict=True)))


def _spoken(role: Role, pcm: bytes) -> Track:
    """A telephone's packets of 8 kHz PCM: mu-law, 20 ms each, the last one filled up with silence."""
    size = PACKET_MS * Codec.ULAW.bytes_per_ms
    payload = g711.pcm_to_ulaw(pcm)
    payload += Codec.ULAW.silent * (-len(payload) % size)

    def packets() -> Iterator[Sent]:
        for number in range(len(payload) // size):
            at = number * size
            yield number * PACKET_MS, rtp.Packet(0, number & 0xFFFF, at, 1, payload[at : at + size])

    return Track(role, Codec.ULAW, len(payload) / Codec.ULAW.bytes_per_ms, packets)


_Way = tuple[tuple[str, int], tuple[str, int]]


def _of_pcap(path: Path) -> list[Recording]:
    """A call for each pair of streams between the same two ports, and for each stream that has no other."""
    reader, streams, left = Reader(), dict[_Way, list[tuple[float, rtp.Packet]]](), _MOST_PACKETS
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            for one in reader.feed(piece):
                try:
                    packet = rtp.parse(one.payload)
                except rtp.RtpError:
                    continue
                streams.setdefault((one.source, one.target), []).append((one.at_s, packet))
                if (left := left - 1) < 0:
                    raise SimulateError(f"{path}: holds more than {_MOST_PACKETS} RTP packets; {_SHORTER}")
    spoken = {way: sent for way, sent in streams.items() if _is_speech(sent)}
    if not spoken:
        raise SimulateError(f"{path}: holds no RTP with G.711; {_why_none(reader)}")
    return _paired(path.name, spoken)


def _why_none(reader: Reader) -> str:
    if reader.cut:
        return "its packets are cut; capture with tcpdump -s 0"
    return "capture where the telephones' audio passes unencrypted, such as tcpdump -w calls.pcap udp"


def _is_speech(sent: list[tuple[float, rtp.Packet]]) -> bool:
    """Whether it is a stream of G.711, and not something else whose bytes look like RTP."""
    return sum(packet.payload_type in _CODECS for _, packet in sent) >= _LEAST_PACKETS


def _paired(name: str, spoken: dict[_Way, list[tuple[float, rtp.Packet]]]) -> list[Recording]:
    recordings, numbers = [], count(1)
    left = dict(sorted(spoken.items(), key=lambda item: item[1][0][0]))  # who speaks first is the caller
    while left:
        way = next(iter(left))
        ours, theirs = left.pop(way), left.pop((way[1], way[0]), None)
        tracks = [(Role.CALLER, ours)] + ([(Role.CALLEE, theirs)] if theirs else [])
        begin_s = ours[0][0]
        made = tuple(_captured(role, sent, begin_s) for role, sent in tracks)
        recordings.append(Recording(f"{name}#{next(numbers)}", made))
    return recordings


def _captured(role: Role, sent: list[tuple[float, rtp.Packet]], begin_s: float) -> Track:
    """As it was captured, with its losses and its jitter."""
    first = next(packet.payload_type for _, packet in sent if packet.payload_type in _CODECS)
    timed = [(max(0.0, (at_s - begin_s) * 1000), packet) for at_s, packet in sent]
    return Track(role, _CODECS[first], timed[-1][0] + PACKET_MS, lambda: iter(timed))
