"""Recordings for the tests: a WAV file, and a capture of its packets, both of sentences of the code book."""

import struct
import wave
from collections.abc import Sequence
from pathlib import Path

from bridge.emulator.codebook import SENTENCES, say
from bridge.types import Codec
from bridge.wire import g711, rtp
from bridge.wire.pcap import ETHERNET
from tests.wire.test_pcap import ethernet, header

LEAD_MS = 200


def spoken(*sentences: int, rate: int = 8000) -> bytes:
    """PCM: silence, the sentences, silence."""
    silence = bytes(2 * rate * LEAD_MS // 1000)
    return silence + silence.join(say(SENTENCES[number], rate) for number in sentences) + silence


def write_wav(path: Path, *sides: bytes, rate: int = 8000) -> Path:
    """Mono or stereo; the shorter side is filled up."""
    size = max(map(len, sides))
    samples = [memoryview(side.ljust(size, b"\0")).cast("h") for side in sides]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(sides))
        file.setsampwidth(2)
        file.setframerate(rate)
        frames = b"".join(struct.pack(f"<{len(sides)}h", *frame) for frame in zip(*samples, strict=True))
        file.writeframes(frames)
    return path


Way = tuple[int, int]


def datagram(way: Way, payload: bytes) -> bytes:
    """A frame of UDP between 192.0.2.1 and 198.51.100.7, the other way round where `way` falls."""
    source, target = way
    body = struct.pack("!4H", source, target, 8 + len(payload), 0) + payload
    ends = [bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7])]
    if source > target:
        ends.reverse()
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0)
    return ethernet(head + b"".join(ends) + body)


def write_pcap(
    path: Path, streams: dict[Way, bytes], codec: Codec = Codec.ULAW, skip: Sequence[int] = ()
) -> Path:
    """A capture of 20 ms packets of each stream's PCM, in time; packets of the numbers in `skip` are lost."""
    records: list[tuple[float, bytes]] = []
    for order, (way, pcm) in enumerate(streams.items()):
        payload = g711.from_pcm(pcm, codec)
        for number in range(len(payload) // 160):
            if number in skip:
                continue
            audio = payload[160 * number : 160 * (number + 1)]
            kind = {Codec.ULAW: 0, Codec.ALAW: 8}[codec]
            packet = rtp.Packet(kind, (65_500 + number) & 0xFFFF, 160 * number, 7 + order, audio)
            records.append((number * 0.02 + order * 0.003, datagram(way, rtp.build(packet))))
    records.sort()
    with path.open("wb") as file:
        file.write(header(ETHERNET))
        for at_s, frame in records:
            file.write(
                struct.pack("<4I", 1000 + int(at_s), round(at_s % 1 * 1e6), len(frame), len(frame)) + frame
            )
    return path
