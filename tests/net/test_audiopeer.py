"""bridge/net/audiopeer.py over a socket pair: reading, silence, farewell; and the lines where peers wait."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from bridge.net.audiopeer import Line, Peer
from bridge.types import Codec
from bridge.wire.audiosocket import Audio, Digit, HungUp, Identified, Message, frame, silence
from tests.net.audiopbx import AudioPbx, hello, old_voice, until, voice

KEY = UUID(int=7)


class Bench:
    """A peer, its PBX, and what it told."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.ours = ours
        self.pbx = AudioPbx(theirs)
        self.messages: list[Message] = []
        self.lots: list[float] = []
        self.ends: list[str | None] = []
        self.peer = Peer(ours, self.take, self.lost)

    def take(self, peer: Peer, messages: Sequence[Message], arrived_s: float) -> None:
        assert peer is self.peer
        self.messages += messages
        self.lots.append(arrived_s)

    def lost(self, peer: Peer, garbage: str | None) -> None:
        self.ends.append(garbage)
        peer.close()


@contextmanager
def bench() -> Iterator[Bench]:
    one = Bench()
    try:
        yield one
    finally:
        one.peer.close()
        one.pbx.close()


async def test_messages_are_taken_with_their_arrival() -> None:
    with bench() as one:
        began_s = asyncio.get_running_loop().time()
        one.pbx.send(hello(KEY) + voice(1)[:100])
        await until(lambda: one.lots)
        assert one.messages == [Identified(KEY)]
        one.pbx.send(voice(1)[100:] + frame(0x03, b"5"))
        await until(lambda: len(one.lots) == 2)
        assert one.messages[1:] == [Audio(voice(1)[3:], 8000), Digit("5")]
        assert began_s <= one.lots[0] <= one.lots[1] == one.peer.heard_s


async def test_drain_hands_on_what_the_loop_has_not_read_even_after_the_end() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY) + voice(1) * 300)
        one.pbx.close()
        one.peer.drain()
        assert len(one.messages) == 301
        assert one.ends == [None]
        one.peer.drain()
        assert one.ends == [None]


async def test_silence_takes_the_label_of_the_pbx() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY))
        await until(lambda: one.messages)
        assert one.peer.speak()
        one.pbx.send(voice(1, Codec.SLIN16))
        await until(lambda: len(one.messages) == 2)
        assert one.peer.speak()
        one.pbx.listen()
        assert one.pbx.heard == [Audio(bytes(320), 8000), Audio(bytes(640), 16000)]


async def test_a_release_that_knows_one_label_only_gets_no_other() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY) + old_voice(1))
        await until(lambda: one.messages)
        assert one.peer.speak()
        one.pbx.listen()
        assert one.pbx.heard == [Audio(bytes(320), 8000)]


async def test_to_who_does_not_read_no_frame_is_cut_and_none_waits() -> None:
    with bench() as one:
        one.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = sum(one.peer.speak() for _ in range(200))
        assert 0 < sent < 200
        assert not one.peer.speak()
        for _ in range(200):
            one.pbx.listen()
            one.peer.speak()
        one.pbx.listen()
        assert {len(audio.payload) for audio in one.pbx.silence} == {320}
        assert one.pbx.heard == one.pbx.silence


async def test_what_a_short_write_left_goes_out_before_anything_else() -> None:
    with bench() as one:
        short = silence()[:100]
        one.peer._unsent = silence()[100:]
        one.ours.send(short)
        one.peer.bid_farewell()
        one.pbx.listen()
        assert one.pbx.heard == [Audio(bytes(320), 8000), HungUp()]


async def test_a_reset_is_an_end_like_any_other() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY) + voice(1))
        one.peer.speak()
        one.pbx.close()  # with silence unread, which makes a reset of it
        one.peer.speak()
        assert len(one.messages) == 2
        assert one.ends == [None]


async def test_garbage_is_named_after_what_was_good() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY) + voice(1) + b"GET / HTTP/1.1")
        await until(lambda: one.ends)
        assert len(one.messages) == 2
        assert one.ends == ["message of unknown kind 0x47"]


async def test_a_hang_up_in_words_is_an_end() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY) + frame(0x00))
        await until(lambda: one.ends)
        assert one.messages == [Identified(KEY), HungUp()]
        assert one.ends == [None]


async def test_after_a_farewell_the_pbx_may_still_speak() -> None:
    with bench() as one:
        one.pbx.send(hello(KEY))
        one.peer.bid_farewell()
        assert not one.pbx.listen()
        assert one.pbx.told_to_go
        one.pbx.send(voice(1))
        await until(lambda: len(one.messages) == 2)
        one.pbx.close()
        await until(lambda: one.ends)


async def test_a_line_gives_up_who_waits_too_long_and_the_first_when_it_is_full() -> None:
    given_up: list[Peer] = []
    line = Line(2.0, 3, given_up.append)
    with bench() as first, bench() as second, bench() as third, bench() as fourth:
        peers = [one.peer for one in (first, second, third, fourth)]
        for peer in peers[:3]:
            line.add(peer)
        assert given_up == []
        assert line.remove(peers[1])
        assert not line.remove(peers[1])
        line.add(peers[3])
        line.add(peers[1])
        assert given_up == [peers[0]]
        line.expire(peers[0].now_s() + 1.9)
        assert len(line) == 3
        line.expire(peers[0].now_s() + 2.1)
        assert given_up == [peers[0], peers[2], peers[3], peers[1]]
        line.add(peers[0])
        line.clear()
        assert len(given_up) == 5
