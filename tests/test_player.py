"""bridge/player.py: the packets that a telephone would send, at its pace."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from bridge.emulator.codebook import say
from bridge.player import PACKET_MS, Player, Spoken
from bridge.wire import rtp
from bridge.wire.g711 import pcm_to_ulaw


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def heard(ear: socket.socket) -> list[rtp.Packet]:
    packets = []
    while True:
        try:
            packets.append(rtp.parse(ear.recv(2000)))
        except BlockingIOError:
            return packets


async def test_a_word_goes_out_whole_among_silence_at_a_telephones_pace(ear: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    player = Player(*ear.getsockname())
    begun_s = loop.time()
    word = say("일")
    await player.play([Spoken(word, begun_s + 0.1)], begun_s + 0.5)
    took_s = loop.time() - begun_s
    player.close()
    packets = heard(ear)
    assert len(packets) == 500 // PACKET_MS
    assert took_s >= 0.5 - 2 * PACKET_MS / 1000
    assert [p.sequence for p in packets] == list(range(len(packets)))
    assert [p.timestamp for p in packets] == [160 * number for number in range(len(packets))]
    assert len({p.ssrc for p in packets}) == 1
    assert pcm_to_ulaw(word) in b"".join(p.payload for p in packets)
    assert len(player.ended_s) == 1
    assert player.ended_s[0] - begun_s >= 0.3 - PACKET_MS / 1000


async def test_its_address_is_where_packets_come_from(ear: socket.socket) -> None:
    player = Player(*ear.getsockname())
    await player.play([], asyncio.get_running_loop().time() + 0.03)
    address = player.address
    player.close()
    assert ear.recvfrom(2000)[1] == address
