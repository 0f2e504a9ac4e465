"""bridge/net/audiosocket.py on the loopback: whose connection is whose, silence, bounds, and gentle ends."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from bridge.net import audiosocket
from bridge.net.audiosocket import AudioSocketInlet, AudioSocketServer
from bridge.types import Codec, Frame
from bridge.wire.audiosocket import frame
from bridge.wire.intake import FATES, KEPT_MESSAGES
from tests.net.audiopbx import AudioPbx, hello, until, voice
from tests.scale import scaled


class Leg:
    """An inlet, what it delivered, and how often its connection ended."""

    def __init__(self, server: AudioSocketServer, codec: Codec = Codec.SLIN, key: UUID | None = None) -> None:
        self.key = key or uuid4()
        self.now_ms = 1000.0
        self.batches: list[list[Frame]] = []
        self.ends = 0
        self.inlet: AudioSocketInlet = server.expect(
            self.key, codec, lambda: self.now_ms, self.batches.append, self._ended
        )

    def _ended(self) -> None:
        self.ends += 1

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch]

    @property
    def numbers(self) -> list[int]:
        return [frame.payload[0] for frame in self.frames]


@pytest.fixture(autouse=True)
async def no_callback_fails() -> AsyncIterator[None]:
    """A reader's exception only reaches the loop's handler, where no test would see it."""
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert not failures


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that a test can await. To be asked for before `server`."""
    for name in ("IDENTIFY_S", "KNOCK_S", "FAREWELL_S"):
        monkeypatch.setattr(audiosocket, name, 0.1)


@pytest.fixture
async def server() -> AsyncIterator[AudioSocketServer]:
    async with AudioSocketServer("127.0.0.1") as one:
        yield one
        for peer in list(one._peers):  # what a test left open would be waited for
            one._close(peer)


@contextmanager
def dialled(server: AudioSocketServer, key: UUID | None = None) -> Iterator[AudioPbx]:
    pbx = AudioPbx.connect(server.port, key)
    try:
        yield pbx
    finally:
        pbx.close()


async def gone(pbx: AudioPbx) -> None:
    """Waits until the server has closed its side."""
    await until(lambda: not pbx.listen())


def open_files() -> int:
    with socket.socket() as probe:
        return probe.fileno()


async def test_each_connection_reaches_the_leg_of_its_uuid(server: AudioSocketServer) -> None:
    one, other = Leg(server), Leg(server, Codec.SLIN16)
    with dialled(server, other.key) as second, dialled(server, one.key) as first:
        for number in range(3):
            first.send(voice(number))
            second.send(voice(10 + number, Codec.SLIN16))
            await until(lambda number=number: len(one.frames) == len(other.frames) == number + 1)  # type: ignore[misc]
            one.now_ms = other.now_ms = 1020.0 + 20 * number
    assert one.numbers == [0, 1, 2]
    assert other.numbers == [10, 11, 12]
    assert [frame.at_ms for frame in one.frames] == pytest.approx([980, 1000, 1020], abs=5)
    assert server.counters.connections == 2


async def test_however_the_bytes_are_cut(server: AudioSocketServer) -> None:
    leg = Leg(server)
    stream = hello(leg.key) + b"".join(map(voice, range(20)))
    with dialled(server) as pbx:
        for start in range(0, len(stream), 97):
            pbx.send(stream[start : start + 97])
            await asyncio.sleep(0)
        await until(lambda: len(leg.frames) == 20)
    assert leg.numbers == list(range(20))


async def test_silence_is_sent_every_20_ms_from_the_uuid_on(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server) as pbx:
        await until(lambda: server.counters.connections)
        pbx.send(hello(leg.key))
        began_s = asyncio.get_running_loop().time()
        await until(lambda: pbx.listen() and len(pbx.silence) >= 10)
        took_s = asyncio.get_running_loop().time() - began_s
        assert took_s > 0.16
        assert {audio.payload for audio in pbx.silence} == {bytes(320)}
    assert server.counters.silence_skipped == 0


async def test_no_silence_before_the_uuid_and_no_timer_without_a_connection(
    server: AudioSocketServer,
) -> None:
    assert server._timer is None
    with dialled(server) as nameless, dialled(server, Leg(server).key) as named:
        await until(lambda: named.listen() and len(named.silence) >= 3)
        nameless.listen()
        assert nameless.heard == []
    await until(lambda: not server._peers and server._timer is None)


async def test_a_pbx_that_never_reads_is_heard_all_the_same(server: AudioSocketServer) -> None:
    leg = Leg(server)
    pbx = AudioPbx.connect(server.port, leg.key, room=4096)
    await until(lambda: leg.inlet.peer)
    while not server.counters.silence_skipped:  # in no time
        server._speak()
    for number in range(100):
        pbx.send(voice(number))
        server._speak()
        await until(lambda number=number: len(leg.frames) == number + 1)  # type: ignore[misc]
    assert server.counters.silence_skipped > 50
    assert (leg.numbers, leg.ends) == (list(range(100)), 0)
    pbx.close()
    await until(lambda: leg.ends)


async def test_a_half_closed_connection_is_closed_at_once(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server, leg.key) as pbx:
        pbx.send(voice(1))
        pbx.sock.shutdown(socket.SHUT_WR)
        await gone(pbx)
        assert (leg.numbers, leg.ends, leg.inlet.counters.lost) == ([1], 1, 1)
        assert not server._peers


async def test_a_reset_ends_a_connection_and_not_its_leg(server: AudioSocketServer) -> None:
    leg = Leg(server)
    pbx = AudioPbx.connect(server.port, leg.key)
    pbx.send(voice(1))
    await until(lambda: leg.frames)
    pbx.reset()
    await until(lambda: leg.ends)
    with dialled(server, leg.key) as again:
        again.send(voice(2))
        await until(lambda: len(leg.frames) == 2)
    assert server.counters.replaced == server.counters.rivals == 0


async def test_the_words_before_a_reset_are_heard_though_silence_finds_it_first(
    server: AudioSocketServer,
) -> None:
    leg = Leg(server)
    pbx = AudioPbx.connect(server.port, leg.key)
    await until(lambda: leg.inlet.peer)
    peer = leg.inlet.peer
    assert peer is not None
    pbx.send(b"".join(map(voice, range(50))))
    pbx.reset()
    peer.speak()
    assert leg.numbers == list(range(50))
    assert leg.ends == 1


async def test_a_leg_that_ends_has_all_that_the_kernel_holds(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server, leg.key) as pbx:
        await until(lambda: leg.inlet.peer)
        pbx.send(b"".join(map(voice, range(100))))
        leg.inlet.close()
        leg.inlet.close()
        assert leg.numbers == list(range(100))
        assert dict(zip(FATES, leg.inlet.tally(), strict=True))["accepted"] == 100
        pbx.send(voice(200))  # no failure to whoever still sends
        await gone(pbx)
        assert pbx.told_to_go
        pbx.close()
        await until(lambda: not server._peers)
    assert (leg.ends, len(leg.frames), server.counters.connections) == (0, 100, 1)


async def test_a_pbx_that_does_not_close_its_side_is_closed(short: None, server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server, leg.key) as pbx:
        await until(lambda: leg.inlet.peer)
        leg.inlet.close()
        pbx.send(voice(1))
        await until(lambda: not server._peers)


async def test_a_uuid_that_nobody_expects_is_foreign(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server, uuid4()) as pbx:
        pbx.send(voice(1))
        await gone(pbx)
    with dialled(server, leg.key) as own:
        leg.inlet.close()
        await gone(own)
    assert server.counters.foreign == 2
    assert leg.frames == []


async def test_who_knocks_is_taken_over_with_what_he_has_said() -> None:
    knocked: list[UUID] = []
    async with AudioSocketServer("127.0.0.1", knock=knocked.append) as server:
        with dialled(server, key := uuid4()) as pbx:
            pbx.send(voice(1) + voice(2))
            await until(lambda: pbx.listen() and pbx.silence)
            await asyncio.sleep(0.05)  # of call time, between what was said and its being expected
            leg = Leg(server, key=key)
            assert leg.numbers == [1, 2]
            assert leg.frames[0].at_ms < 960
            pbx.send(voice(3))
            await until(lambda: len(leg.frames) == 3)
        leg.inlet.close()
    assert knocked == [key]
    assert server.counters.foreign == 0


async def test_who_knocks_may_be_expected_by_the_hook_itself() -> None:
    legs: list[Leg] = []
    async with AudioSocketServer("127.0.0.1", knock=lambda key: legs.append(Leg(one, key=key))) as one:
        with dialled(one) as pbx:
            pbx.send(hello(uuid4()) + voice(1) + voice(2))
            await until(lambda: legs and legs[0].frames)
            assert legs[0].numbers == [1, 2]
        legs[0].inlet.close()


async def test_of_who_knocks_too_long_the_last_is_kept_and_the_rest_counted() -> None:
    knocked: list[UUID] = []
    async with AudioSocketServer("127.0.0.1", knock=knocked.append) as server:
        with dialled(server, key := uuid4()) as pbx:
            for number in range(250):
                pbx.send(voice(number))
                await asyncio.sleep(0)
            await until(lambda: server._knocks and server._knocks[key][1].overrun == 250 - KEPT_MESSAGES)
            leg = Leg(server, key=key)
        assert leg.numbers == list(range(50, 250))
        leg.inlet.close()
    assert server.counters.overrun == 50


async def test_who_knocks_in_vain_is_foreign(short: None) -> None:
    async with AudioSocketServer("127.0.0.1", knock=lambda _: None) as server:
        with dialled(server, key := uuid4()) as pbx:
            await gone(pbx)
            assert pbx.told_to_go
        with dialled(server, key) as leaves:
            await until(lambda: server._knocks)
            leaves.close()
            await until(lambda: not server._knocks)
        assert server.counters.foreign == 2


async def test_who_knocks_twice_is_known_by_the_second() -> None:
    knocked: list[UUID] = []
    async with AudioSocketServer("127.0.0.1", knock=knocked.append) as server:
        with dialled(server, key := uuid4()) as first:
            await until(lambda: knocked)
            with dialled(server, key) as second:
                second.send(voice(2))
                await gone(first)
                leg = Leg(server, key=key)
                await until(lambda: leg.frames)
                assert leg.numbers == [2]
        leg.inlet.close()
    assert server.counters.foreign == 1


async def test_who_is_refused_need_not_wait() -> None:
    async with AudioSocketServer("127.0.0.1", knock=lambda _: None) as server:
        with dialled(server, key := uuid4()) as pbx:
            await until(lambda: server._knocks)
            server.refuse(key)
            server.refuse(key)
            await gone(pbx)
            assert pbx.told_to_go
        assert (server.counters.foreign, len(server._knocks)) == (1, 0)


async def test_nobody_takes_the_place_of_a_lone_one_however_silent_it_is(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "STALE_S", 0)
    leg = Leg(server)
    leg.inlet.lone = True
    with dialled(server, leg.key) as first, dialled(server, leg.key) as second:
        with capture_logs() as logs:
            await gone(second)
        first.send(voice(1))
        await until(lambda: leg.frames)
    assert (leg.numbers, server.counters.rivals, server.counters.replaced) == ([1], 1, 0)
    assert [log["event"] for log in logs] == ["audiosocket refused"]
    assert str(leg.key) not in str(logs)


async def test_a_second_connection_replaces_one_that_is_silent(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "STALE_S", 0.05)
    leg = Leg(server)
    with dialled(server, leg.key) as first:
        first.send(voice(1))
        await until(lambda: leg.frames)
        await asyncio.sleep(0.06)  # the silence that this is about
        with dialled(server, leg.key) as second:
            second.send(voice(2))
            await until(lambda: len(leg.frames) == 2)
            await gone(first)
    assert (leg.numbers, leg.ends, server.counters.replaced) == ([1, 2], 0, 1)


async def test_a_second_connection_while_the_first_speaks_is_refused(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "STALE_S", 60)
    leg = Leg(server)
    with dialled(server, leg.key) as first:
        first.send(voice(1))
        await until(lambda: leg.frames)
        with dialled(server, leg.key) as second:
            second.send(voice(99))
            await gone(second)
        first.send(voice(2))
        await until(lambda: len(leg.frames) == 2)
    assert (leg.numbers, server.counters.rivals, server.counters.replaced) == ([1, 2], 1, 0)


async def test_a_second_connection_follows_one_whose_end_was_not_read_yet(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "STALE_S", 60)
    leg = Leg(server)
    with dialled(server, leg.key) as first:
        first.send(voice(1))
        await until(lambda: leg.frames)
        first.send(voice(2))
    with dialled(server, leg.key) as second:
        second.send(voice(3))
        await until(lambda: len(leg.frames) == 3)
    assert leg.numbers == [1, 2, 3]
    assert server.counters.rivals == 0


async def test_a_leg_that_is_closed_by_the_end_of_its_connection(server: AudioSocketServer) -> None:
    key = uuid4()
    inlet = server.expect(key, Codec.SLIN, lambda: 0.0, lambda _: None, lambda: inlet.close())
    with dialled(server, key):
        await until(lambda: inlet.peer)
    with dialled(server, key) as late:
        await gone(late)
    assert server.counters.foreign == 1


async def test_who_names_no_uuid_is_closed(short: None, server: AudioSocketServer) -> None:
    with dialled(server) as pbx:
        pbx.send(hello(uuid4())[:18])
        await gone(pbx)
    with dialled(server):
        await until(lambda: server.counters.connections == 2)
    await until(lambda: not server._peers)
    assert server.counters.unidentified == 2


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", voice(1), b"\x01\x00\x24"])
async def test_a_stranger_of_another_protocol_is_closed(server: AudioSocketServer, garbage: bytes) -> None:
    with dialled(server) as pbx:
        pbx.send(garbage)
        await gone(pbx)
    counters = server.counters
    assert (counters.garbage, counters.unidentified, counters.foreign) == (1, 0, 0)


async def test_a_pbx_out_of_step_is_told_by_its_fault_and_never_by_what_it_said(
    server: AudioSocketServer,
) -> None:
    leg = Leg(server)
    with capture_logs() as logs, dialled(server, leg.key) as pbx:
        pbx.send(voice(1) + hello(leg.key))
        await gone(pbx)
    assert logs == [{"event": "audiosocket out of step", "log_level": "warning", "reason": "a second UUID"}]
    assert (leg.numbers, leg.ends, server.counters.garbage) == ([1], 1, 1)


async def test_a_rate_that_was_not_asked_for_is_counted(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with dialled(server, leg.key) as pbx:
        pbx.send(voice(1, Codec.SLIN16) + frame(0x03, b"5") + voice(2))
        await until(lambda: leg.frames)
    assert leg.numbers == [2]
    assert dict(zip(FATES, leg.inlet.tally(), strict=True)) == {
        "received": 2, "accepted": 1, "malformed": 1, "empty": 0, "digits": 1, "lost": 0,
    }  # fmt: skip


async def test_a_flood_is_bounded_and_the_pbx_gets_through(server: AudioSocketServer) -> None:
    count = scaled(1500, 400)
    leg = Leg(server)
    before = open_files()
    with ExitStack() as flood:
        for number in range(count):
            flood.enter_context(dialled(server))
            if number % 20 == 0:
                await asyncio.sleep(0)
        with dialled(server, leg.key) as pbx:
            pbx.send(voice(1))
            await until(lambda: leg.frames)
        assert server.counters.unidentified >= count - audiosocket.WAITING - 1
        assert len(server._unnamed) <= audiosocket.WAITING
        assert len(server._leaving) <= audiosocket.WAITING
        assert len(server._peers) <= 2 * audiosocket.WAITING + 1
    await until(lambda: not server._peers)
    assert open_files() == before


async def test_more_connections_than_may_be_are_refused(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "CONNECTIONS", 1)
    with dialled(server, Leg(server).key), dialled(server) as second:
        await gone(second)
    assert (server.counters.connections, server.counters.refused) == (1, 1)


async def test_without_descriptors_it_waits_and_tries_again(
    server: AudioSocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "ACCEPT_AGAIN_S", 0.05)
    leg = Leg(server)
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logs, dialled(server, leg.key) as pbx:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files(), hard))
        try:
            await until(lambda: logs)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        pbx.send(voice(1))
        await until(lambda: leg.frames)
    assert logs[0]["event"] == "audiosocket accepts nothing"


async def test_closing_the_server_takes_leave_of_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiosocket, "FAREWELL_S", 60)
    server = AudioSocketServer("127.0.0.1", knock=lambda _: None)
    server.start()
    leg = Leg(server)
    pbxs = [AudioPbx.connect(server.port, key) for key in (leg.key, uuid4(), None)]
    await until(lambda: leg.inlet.peer and server._knocks and len(server._peers) == 3)
    pbxs[0].send(voice(1))
    closing = asyncio.create_task(server.close())
    for pbx in pbxs:
        await gone(pbx)
        assert pbx.told_to_go
        pbx.close()
    await asyncio.wait_for(closing, 5)  # no longer than the PBX needs
    await server.close()
    leg.inlet.close()
    assert (leg.numbers, leg.inlet.closed) == ([1], True)
    assert (server.counters.foreign, server.counters.unidentified) == (1, 1)
    with pytest.raises(RuntimeError, match="does not listen"):
        _ = server.port


async def test_what_cannot_be_is_refused(server: AudioSocketServer) -> None:
    leg = Leg(server)
    with pytest.raises(ValueError, match="expected already"):
        server.expect(leg.key, Codec.SLIN, lambda: 0.0, lambda _: None)
    with pytest.raises(ValueError, match="not ulaw"):
        server.expect(uuid4(), Codec.ULAW, lambda: 0.0, lambda _: None)
    with pytest.raises(ValueError, match="localhost"):
        AudioSocketServer("localhost")
    with pytest.raises(OSError, match=r"[Aa]ddress") as taken:
        AudioSocketServer("127.0.0.1", server.port).start()
    assert taken.value.errno == errno.EADDRINUSE


async def test_ipv6() -> None:
    try:
        server = AudioSocketServer("::1")
        server.start()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    leg = Leg(server)
    pbx = AudioPbx(socket.create_connection(("::1", server.port)))
    pbx.send(hello(leg.key) + voice(1))
    await until(lambda: leg.frames)
    pbx.close()
    await server.close()


async def test_many_legs_at_once_hear_their_own(server: AudioSocketServer) -> None:
    legs = [Leg(server) for _ in range(scaled(300, 50))]
    with ExitStack() as calls:
        pbxs = [calls.enter_context(dialled(server, leg.key)) for leg in legs]
        for turn in range(10):
            for number, pbx in enumerate(pbxs):
                pbx.send(voice(number + turn))
            await asyncio.sleep(0)
        await until(lambda: all(len(leg.frames) == 10 for leg in legs))
    for number, leg in enumerate(legs):
        assert leg.numbers == [(number + turn) % 256 for turn in range(10)]
