"""FreeSWITCH's media streams on real sockets: each module's bytes, lost and doubled connections, attacks."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect as dial
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from bridge.net import audiostream
from bridge.net.audiostream import MOST_CONNECTIONS, AudioStreamServer
from bridge.net.mediainlet import CLOSE_S
from bridge.types import Codec, Frame
from bridge.wire.audiostream import LONGEST, MOST_TEXTS
from tests.net.media import Heard, closed, living, until, without_collector
from tests.net.switch import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    TEXT,
    connected,
    expected,
    framed,
    recorded_request,
    request,
    streaming,
)
from tests.scale import scaled

RECORDINGS = [
    "mas-01", "mas-06", "mas-41", "mas102-01", "mas102-03",
    "fork-jambonz-01", "fork-jambonz-02", "fork-drachtio-01", "fork-drachtio-02",
]  # fmt: skip
TONE = bytes(range(160)) * 2


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(autouse=True)
async def no_callback_fails() -> AsyncIterator[None]:
    """A protocol's exception only reaches the loop's handler, where no test would see it."""
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert not failures


@pytest.fixture
async def listening() -> AsyncIterator[AudioStreamServer]:
    async with AudioStreamServer("127.0.0.1", 0) as one:
        yield one


# Who is let in.


@pytest.mark.parametrize("recording", RECORDINGS)
async def test_every_module_is_let_in_with_its_own_bytes(
    listening: AudioStreamServer, heard: Heard, recording: str
) -> None:
    inlet = expected(listening, heard)
    async with streaming(listening.port, recording) as switch:
        switch.speak(TONE, TONE)
        await until(lambda: heard.audio == TONE * 2)
        switch.send(framed(CLOSE, b"\x03\xe8Normal closure"))
        assert await switch.rest() == b"\x88\x10\x03\xe8Normal closure"
    await until(lambda: not inlet.connected)
    assert inlet.close_code == 1000
    assert inlet.agent.startswith("ixwebsocket/11.4.3") == recording.startswith("mas102")
    assert listening.counters.admitted == 1
    await inlet.close()


def test_the_recorded_handshakes_are_as_odd_as_they_are_said_to_be() -> None:
    assert "\r\nHost:127.0.0.1:18765\r\n" in recorded_request("mas-01")
    assert "\r\nAuthorization:Bearer test-token\r\n" in recorded_request("mas-06")
    assert "\r\nOrigin:http://localhost:18765\r\n" in recorded_request("mas-41")  # over TLS
    assert "\r\nSec-WebSocket-Protocol: audio.drachtio.org\r\n" in recorded_request("fork-drachtio-02")


@pytest.mark.parametrize(
    "more",
    [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\r\n",
        "Sec-WebSocket-Protocol:audio.jambonz.org\r\n",
        "User-Agent:\r\nUser-Agent: twice\r\nX-Odd:\xe9\r\n",
    ],
)
async def test_what_is_offered_is_declined_and_what_is_odd_is_borne(
    listening: AudioStreamServer, heard: Heard, more: str
) -> None:
    inlet = expected(listening, heard)
    async with connected(listening.port) as switch:
        switch.send(request("mas-01", more=more))
        answer = await switch.answer()
        assert answer.startswith("HTTP/1.1 101 ")
        assert not re.search(r"(?i)extensions|subprotocol|websocket-protocol", answer)
        switch.speak(TONE)
        await until(lambda: heard.audio == TONE)
    await inlet.close()


async def test_a_library_that_wants_compression_does_without(
    listening: AudioStreamServer, heard: Heard
) -> None:
    inlet = expected(listening, heard)
    offered = [Subprotocol("audio.drachtio.org")]
    url = f"ws://127.0.0.1:{listening.port}/{KEY}"
    async with dial(url, compression="deflate", subprotocols=offered, proxy=None) as switch:
        assert (switch.subprotocol, switch.protocol.extensions) == (None, [])
        await switch.send('{"callId":"abc"}')
        await switch.send(TONE)
        await (await switch.ping())
        await until(lambda: heard.audio == TONE)
        await inlet.close()
        assert await closed(switch) == 1000
    with pytest.raises(InvalidStatus) as refused:
        await dial(url, proxy=None)
    assert refused.value.response.status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "asked", ["/", "/media", f"/{KEY}x", f"/media/{KEY}", f"//{KEY}", f"/?leg={KEY}", f"/{KEY.upper()}", "*"]
)
async def test_an_unknown_key_is_told_404_and_stays_out_of_the_log(
    listening: AudioStreamServer, heard: Heard, asked: str
) -> None:
    expected(listening, heard)
    with capture_logs() as logs:
        async with connected(listening.port) as switch:
            switch.send(request().replace(f"/{KEY} ".encode(), f"{asked} ".encode()))
            assert (await switch.rest()).startswith(b"HTTP/1.1 404 ")
    assert listening.counters.foreign == 1
    assert [log["reason"] for log in logs] == ["foreign"]
    assert KEY not in str(logs)


@pytest.mark.parametrize("key", ["k" * 31, "k" * 129, "k" * 32 + ".", "k" * 32 + "/"])
async def test_a_key_that_will_not_do_is_told(listening: AudioStreamServer, heard: Heard, key: str) -> None:
    with pytest.raises(ValueError, match=f"key of {len(key)} characters") as told:
        expected(listening, heard, key)
    assert key not in str(told.value)


# What a stream says.


async def test_texts_may_come_any_time_and_say_nothing(listening: AudioStreamServer, heard: Heard) -> None:
    inlet = expected(listening, heard)
    async with streaming(listening.port) as switch:
        switch.speak(TONE)
        switch.send(framed(TEXT, b'{"callId":"abc"}'), framed(TEXT, b'{"type":'), framed(TEXT, b"\xff"))
        switch.speak(TONE)
        await until(lambda: heard.audio == TONE * 2)
    assert inlet.stream.counters.texts == 3


async def test_a_sample_cut_in_two_is_one_and_what_piled_up_passes(
    listening: AudioStreamServer, heard: Heard
) -> None:
    expected(listening, heard)
    piled = bytes(range(250)) * 640
    async with streaming(listening.port) as switch:
        switch.speak(TONE[:7], TONE[7:10], piled, TONE[10:])
        await until(lambda: len(heard.audio) == 160_320)
    assert heard.audio == TONE[:10] + piled + TONE[10:]
    assert all(len(frame.payload) <= 320 for frame in heard.frames)


async def test_stereo_goes_to_both(listening: AudioStreamServer, heard: Heard) -> None:
    others = list[Frame]()

    def other(frames: list[Frame]) -> bool:
        others.extend(frames)
        return len(others) < 100

    inlet = listening.expect(KEY, Codec.SLIN24, heard.clock, heard.batches.append, channels=2, other=other)
    async with streaming(listening.port) as switch:
        for _ in range(100):
            switch.speak(b"abcd" * 480)
            await asyncio.sleep(0)
        await until(lambda: len(heard.frames) == 100 == len(others))
    assert heard.audio == b"ab" * 48_000
    assert b"".join(frame.payload for frame in others) == b"cd" * 48_000
    assert inlet.stream.counters.unpaired > 0


async def test_the_other_party_that_nobody_wants_is_counted(
    listening: AudioStreamServer, heard: Heard
) -> None:
    inlet = listening.expect(KEY, Codec.SLIN, heard.clock, heard.batches.append, channels=2)
    async with streaming(listening.port) as switch:
        switch.speak(b"abcd" * 160)
        await until(lambda: len(heard.frames) == 1)
    assert inlet.stream.counters.unpaired == 1


async def test_after_graceful_shutdown_we_close(listening: AudioStreamServer, heard: Heard) -> None:
    inlet = expected(listening, heard)
    async with streaming(listening.port, "fork-jambonz-01") as switch:
        switch.speak(TONE, b"")
        assert await switch.rest() == b"\x88\x02\x03\xe8"
    assert heard.audio == TONE
    assert inlet.stream.counters.finished == 1
    async with streaming(listening.port) as switch:
        switch.speak(TONE)
        await until(lambda: heard.audio == TONE * 2)


async def test_pings_are_answered(listening: AudioStreamServer, heard: Heard) -> None:
    expected(listening, heard)
    async with streaming(listening.port) as switch:
        switch.send(framed(PING, b"ixwebsocket::heartbeat"))
        assert await switch.reader.readexactly(24) == b"\x8a\x16ixwebsocket::heartbeat"


async def test_another_rate_is_told_once(listening: AudioStreamServer, heard: Heard) -> None:
    inlet = expected(listening, heard)
    with capture_logs() as logs:
        async with streaming(listening.port) as switch:
            for number in range(200):
                heard.now_ms += 20
                switch.speak(TONE * 2)
                await until(lambda number=number: len(heard.batches) == number + 1)  # type: ignore[misc]
    assert inlet.flaw == "rate mismatch"
    (log,) = logs
    assert (log["expected"], log["measured"]) == (16_000, 32_000)
    assert "stereo" in log["mend"]


# The end of a stream, by what its connection says of it.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiostream, "ENDED_S", 0.02)
    monkeypatch.setattr(audiostream, "AGAIN_S", 0.1)
    monkeypatch.setattr(audiostream, "SILENT_S", 0.05)


CLOSED = framed(CLOSE, b"\x03\xe8Normal closure")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("last", "flaw"), [(CLOSED, ""), (b"", "stream lost")])
async def test_a_stream_that_has_ended_is_told_once_and_says_if_it_was_lost(
    listening: AudioStreamServer, heard: Heard, last: bytes, flaw: str
) -> None:
    ended = asyncio.Event()
    inlet = listening.expect(KEY, Codec.SLIN, heard.clock, heard.batches.append, over=lambda _: ended.set())
    async with streaming(listening.port) as switch:
        switch.speak(TONE)
        await until(lambda: bool(heard.batches))
        switch.send(last)
    async with asyncio.timeout(2):
        await ended.wait()
    assert inlet.flaw == flaw


@pytest.mark.usefixtures("quick")
async def test_a_stream_that_comes_again_has_not_ended_nor_has_one_that_is_closed_here(
    listening: AudioStreamServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiostream, "ENDED_S", 0.05)
    ends: list[str] = []
    inlet = listening.expect(
        KEY, Codec.SLIN, heard.clock, heard.batches.append, over=lambda _: ends.append("x")
    )
    async with streaming(listening.port) as switch:
        switch.send(CLOSED)
        await switch.rest()
    async with streaming(listening.port) as switch:
        switch.speak(TONE)
        await until(lambda: bool(heard.batches))
        await asyncio.sleep(0.1)
        assert ends == []
        await inlet.close()
    await asyncio.sleep(0.1)
    assert ends == []
    assert inlet.flaw == ""


@pytest.mark.usefixtures("quick")
async def test_a_stream_without_audio_is_told_with_the_mend_and_is_a_flaw(
    listening: AudioStreamServer, heard: Heard
) -> None:
    inlet = expected(listening, heard)
    with capture_logs() as logs:
        async with streaming(listening.port) as switch:
            await until(lambda: bool(logs))
            switch.send(CLOSED)
            await switch.rest()
    assert "STREAM_BUFFER_SIZE" in logs[0]["mend"]
    await until(lambda: inlet.flaw == "no audio")


# Connections that are lost, doubled, closed.


async def test_a_lost_connection_ends_nothing(listening: AudioStreamServer, heard: Heard) -> None:
    inlet = expected(listening, heard)
    for number in range(3):
        async with streaming(listening.port, "mas102-01") as switch:
            switch.speak(bytes([number]) * 320)
            await until(lambda number=number: len(heard.frames) == number + 1)  # type: ignore[misc]
            switch.writer.transport.abort()
        await until(lambda: not inlet.connected)
        assert inlet.close_code == 1006
    assert [frame.payload[0] for frame in heard.frames] == [0, 1, 2]
    assert inlet.stream.counters.replaced == inlet.stream.counters.broken == 0
    await inlet.close()


async def test_a_second_connection_replaces_the_first(listening: AudioStreamServer, heard: Heard) -> None:
    """mod_audio_stream up to 1.0.2 is back before its end is seen."""
    inlet = expected(listening, heard)
    async with streaming(listening.port, "mas102-01") as first:
        first.speak(TONE)
        await until(lambda: heard.audio == TONE)
        async with streaming(listening.port, "mas102-01") as second:
            assert await first.rest() == b"\x88\x02\x03\xe8"
            first.speak(bytes(320))
            second.speak(TONE)
            await until(lambda: heard.audio == TONE * 2)
            assert inlet.connected
    assert inlet.stream.counters.replaced == 1


async def test_two_streams_with_one_key_do_not_drive_each_other_out_for_ever(
    listening: AudioStreamServer, heard: Heard
) -> None:
    inlet = expected(listening, heard)
    async with AsyncExitStack() as streams:
        for _ in range(MOST_CONNECTIONS):
            switch = await streams.enter_async_context(streaming(listening.port, "mas102-01"))
        async with connected(listening.port) as late:
            late.send(request())
            assert (await late.answer()).startswith("HTTP/1.1 429 ")
        switch.speak(TONE)
        await until(lambda: heard.audio == TONE)
        heard.now_ms += 2000
        async with streaming(listening.port):
            assert inlet.stream.counters.replaced == MOST_CONNECTIONS
    assert listening.counters.refused == 1


async def test_closing_delivers_what_is_on_its_way_and_then_the_key_is_void(
    listening: AudioStreamServer, heard: Heard
) -> None:
    inlet = expected(listening, heard)
    async with streaming(listening.port) as switch:
        closing = asyncio.create_task(inlet.close())
        assert await switch.reader.readexactly(4) == b"\x88\x02\x03\xe8"
        switch.speak(TONE)
        switch.send(framed(CLOSE, b"\x03\xe8"))
        await closing
    assert heard.audio == TONE
    async with connected(listening.port) as again:
        again.send(request("mas102-01"))
        assert (await again.answer()).startswith("HTTP/1.1 404 ")


async def test_closing_never_waits_long(listening: AudioStreamServer, heard: Heard) -> None:
    inlet, loop = expected(listening, heard), asyncio.get_running_loop()
    async with streaming(listening.port):
        began = loop.time()
        await inlet.close()
        assert loop.time() - began < CLOSE_S + 2
    assert inlet.close_code == 1006 or inlet.close_code == 1000
    await inlet.close()


async def test_connections_leave_nothing_to_the_collector(listening: AudioStreamServer, heard: Heard) -> None:
    with without_collector():
        inlet = expected(listening, heard)
        for _ in range(3):
            async with streaming(listening.port, "mas102-01") as switch:
                switch.speak(TONE)
        await inlet.close()
        del inlet, switch
        await until(lambda: living("_Accepted", "ServerProtocol", "AudioStreamInlet", "AudioStream") == [])


# TLS.


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media-tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *key, "-out", "cert.pem", "-days", "2", *name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


async def test_over_tls(heard: Heard, certificate: Path) -> None:
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    asyncio.get_running_loop().set_debug(False)  # in debug mode the loop itself tells of who speaks in clear
    async with AudioStreamServer("127.0.0.1", 0, tls=own) as one:
        expected(one, heard)
        async with streaming(one.port, "mas-41", tls=trusted) as switch:
            switch.speak(TONE, TONE)
            await until(lambda: heard.audio == TONE * 2)
            switch.send(framed(CLOSE, b"\x03\xe8Normal closure"))
            assert await switch.rest() == b"\x88\x10\x03\xe8Normal closure"
        async with connected(one.port) as clear:
            clear.send(request())
            assert b"101" not in await clear.rest()
        assert one.counters.admitted == 1


# Attacks, while an honest stream goes on.


class Honest:
    """A stream whose audio has to come whole whatever others do."""

    def __init__(self, port: int, heard: Heard) -> None:
        self._port = port
        self._heard = heard
        self._sent = 0
        self._over = asyncio.Event()

    async def run(self) -> None:
        async with streaming(self._port) as switch:
            while not self._over.is_set():
                switch.speak(self._sent.to_bytes(2, "little") * 160)
                self._sent += 1
                await asyncio.sleep(0.005)
            await until(lambda: len(self._heard.audio) == 320 * self._sent)

    def stop(self) -> None:
        self._over.set()

    @property
    def whole(self) -> bool:
        whole = b"".join(number.to_bytes(2, "little") * 160 for number in range(self._sent))
        return self._sent > 0 and self._heard.audio == whole


HOSTILE = {
    "long line": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    "endless line": b"x" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    "garbage": bytes(range(256)) * 40 + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n",
    "post": request().replace(b"GET", b"POST"),
    "no upgrade": b"GET /" + KEY.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "version 8": request().replace(b"Version:13", b"Version:8"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_is_no_handshake_is_closed_and_counted(heard: Heard, data: bytes) -> None:
    async with AudioStreamServer("127.0.0.1", 0, open_timeout_s=0.5) as one, asyncio.TaskGroup() as tasks:
        expected(one, heard)
        tasks.create_task((honest := Honest(one.port, heard)).run())
        async with connected(one.port) as hostile:
            hostile.send(data)
            assert b" 101 " not in await hostile.rest()
        counters = one.counters
        await until(lambda: counters.refused + counters.foreign + counters.expired == 1)
        honest.stop()
    assert honest.whole


async def test_slow_and_many_handshakes_keep_nobody_out(heard: Heard) -> None:
    async with AudioStreamServer("127.0.0.1", 0, most_opening=20, open_timeout_s=1.0) as one:
        expected(one, heard)
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as slow:
            tasks.create_task((honest := Honest(one.port, heard)).run())
            await until(lambda: bool(heard.frames))
            for _ in range(30):
                switch = await slow.enter_async_context(connected(one.port))
                switch.send(request()[:40])
            await until(lambda: one.counters.overrun == 10)
            other = Heard()
            expected(one, other, "another-" + KEY)
            async with streaming(one.port, key="another-" + KEY) as late:
                late.speak(TONE)
                await until(lambda: other.audio == TONE)
            await until(lambda: one.counters.expired == 19)
            honest.stop()
    assert honest.whole


ABUSE = {
    "texts": (framed(TEXT, b"x") * (MOST_TEXTS + 1), "flooded", b""),
    "long texts": (framed(TEXT, b"x" * 10_000) * (MOST_TEXTS + 1), "flooded", b""),
    "too big": (framed(BINARY, bytes((1 << 19) + 2)), "broken", b"\x03\xf1"),
    "endless pieces": (
        framed(BINARY & 0x0F, bytes(100_000)) + framed(0, bytes(100_000)) * 6, "broken", b"\x03\xf1",
    ),
    "too long": (framed(BINARY, bytes(LONGEST + 2)) + framed(BINARY), "malformed", b"\x03\xe8"),
    "not masked": (b"\x82\x02ab", "broken", b"\x03\xea"),
    "compressed": (framed(BINARY | 0x40, b"ab"), "broken", b"\x03\xea"),
    "garbage": (b"\xff" * 100, "broken", b"\x03\xea"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "fate", "code"), ABUSE.values(), ids=ABUSE.keys())
async def test_who_abuses_a_stream_is_closed_and_counted(
    listening: AudioStreamServer, heard: Heard, data: bytes, fate: str, code: bytes
) -> None:
    expected(listening, heard)
    abused = expected(listening, Heard(), "another-" + KEY)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task((honest := Honest(listening.port, heard)).run())
        async with streaming(listening.port, key="another-" + KEY) as hostile:
            hostile.send(data)
            assert code in await hostile.rest()
        await until(lambda: not abused.connected)
        honest.stop()
    assert honest.whole
    assert getattr(abused.stream.counters, fate) > 0


async def test_many_streams_at_once_are_heard_to_the_byte(listening: AudioStreamServer) -> None:
    count = scaled(200, 20)
    legs = [Heard() for _ in range(count)]
    inlets = [expected(listening, leg, f"{KEY}-{number}") for number, leg in enumerate(legs)]
    audio = [bytes([number % 256, number % 127]) * 160 for number in range(count)]

    async def stream(number: int) -> None:
        async with streaming(listening.port, RECORDINGS[number % 9], f"{KEY}-{number}") as switch:
            for _ in range(20):
                switch.speak(audio[number])
                await asyncio.sleep(0)
            switch.send(framed(CLOSE, b"\x03\xe8"))
            await switch.rest()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(stream(number))
    for number, leg in enumerate(legs):
        assert leg.audio == audio[number] * 20
        assert inlets[number].close_code == 1000
    assert listening.counters.admitted == count
