"""Plays PCM as a telephone would: 20 ms mu-law RTP packets from one socket, in real time.

For the demonstration and for tests of the media path. The pace is kept against one origin, so that it does
not drift, and the time at which each utterance's last voiced packet left is kept.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from random import randrange

from bridge.types import Codec
from bridge.wire import g711, rtp

PACKET_MS = 20
_ULAW_PAYLOAD_TYPE = 0
_MASK_16, _MASK_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance and when, in seconds of the loop's clock, it is to start."""

    pcm: bytes
    """8 kHz, 16-bit, little-endian."""
    at_s: float


class Player:
    """One party's telephone: silence, but for its utterances."""

    def __init__(self, host: str, port: int, *, bind: str = "") -> None:
        """Sends to `host`:`port`, from the address `bind` if that is another."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((bind or host, 0))
        self._socket.connect((host, port))
        self._ssrc = randrange(_MASK_32)  # noqa: S311 - RFC 3550 asks for unlikely, not for secret
        self.ended_s: list[float] = []
        """When the last packet of each utterance was sent, on the loop's clock."""

    @property
    def address(self) -> tuple[str, int]:
        """Where the packets come from."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def play(self, utterances: Sequence[Spoken], until_s: float) -> None:
        """Send packets until `until_s`; utterances in order, not overlapping."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        waiting = [(spoken.at_s, _packets(spoken.pcm)) for spoken in utterances]
        saying: list[bytes] = []
        number = 0
        while (due_s := start_s + number * PACKET_MS / 1000) < until_s:
            if not saying and waiting and due_s >= waiting[0][0]:
                saying = waiting.pop(0)[1]
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self._send(number, saying.pop(0) if saying else Codec.ULAW.silence(PACKET_MS))
            if len(self.ended_s) + len(waiting) + bool(saying) < len(utterances):
                self.ended_s.append(loop.time())
            number += 1

    def _send(self, number: int, payload: bytes) -> None:
        timestamp = number * len(payload) & _MASK_32
        packet = rtp.Packet(_ULAW_PAYLOAD_TYPE, number & _MASK_16, timestamp, self._ssrc, payload)
        self._socket.send(rtp.build(packet))

    def close(self) -> None:
        self._socket.close()


def _packets(pcm: bytes) -> list[bytes]:
    """mu-law payloads of 20 ms, the last one filled up with silence."""
    payload, size = g711.pcm_to_ulaw(pcm), PACKET_MS * Codec.ULAW.bytes_per_ms
    whole = payload + Codec.ULAW.silent * (-len(payload) % size)
    return [whole[i : i + size] for i in range(0, len(whole), size)]
