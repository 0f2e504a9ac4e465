"""Both ways in which a leg's WebSocket comes about, on real sockets: whom we dial, whom we let in."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as dial
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from bridge.net.mediasocket import MediaSocketServer, NotConnected, connect
from bridge.types import Codec, Frame
from tests.net.media import (
    KEY,
    TONE,
    Heard,
    closed,
    dialled,
    fetched,
    living,
    start,
    until,
    without_collector,
)
from tests.net.tcp import answering, http, server
from tests.scale import scaled


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
async def listening() -> AsyncIterator[MediaSocketServer]:
    async with MediaSocketServer("127.0.0.1", 0) as one:
        yield one


def no_frames(frames: list[Frame]) -> None:
    raise AssertionError(f"{len(frames)} frames")


async def play_one(connection: ServerConnection) -> None:
    await connection.send(start())
    await connection.send(TONE)


# We connect.


async def test_the_handshake_is_what_asterisk_asks_for(heard: Heard) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    async def play(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append((connection.request.path, dict(connection.request.headers.raw_items())))
        await play_one(connection)

    async with fetched(play, heard):
        await until(lambda: heard.ends == 1)
    ((path, headers),) = asked
    assert path == "/media/7024510a-f3ac-4151-895d-0ab2fd585a89"
    assert headers["Sec-WebSocket-Protocol"] == "media"
    assert "Sec-WebSocket-Extensions" not in headers
    assert heard.audio == TONE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http("404 Not found", "WebSocket instance not found"), "404 Not found"),
        (http("409 Conflict", "Another websocket connection exists"), "409 Conflict"),
        (http("301 Moved", headers="Location: ws://127.0.0.1:1/\r\n"), "301 Moved"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not receive a valid HTTP response"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "Connection"),
        (b"", "did not receive a valid HTTP response"),
    ],
)
async def test_a_refusal_is_told_without_the_url(heard: Heard, answer: bytes, reason: str) -> None:
    async with server(answering(answer)) as port:
        with pytest.raises(NotConnected, match=reason) as told:
            await connect(
                f"ws://127.0.0.1:{port}/media/secret-id", Codec.ULAW, heard.clock, no_frames, heard.ended
            )
    assert "secret" not in str(told.value)
    assert heard.ends == 0


async def test_who_never_answers_is_given_up(heard: Heard) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(mute) as port:
        with pytest.raises(NotConnected, match="TimeoutError"):
            await connect(
                f"ws://127.0.0.1:{port}/", Codec.ULAW, heard.clock, no_frames, heard.ended, timeout_s=0.1
            )


async def test_nobody_there_is_told(heard: Heard) -> None:
    async with server(answering(b"")) as port:
        pass
    with pytest.raises(NotConnected, match=r"(?i)connect"):
        await connect(f"ws://127.0.0.1:{port}/media/x", Codec.ULAW, heard.clock, no_frames)


@pytest.mark.parametrize("url", ["http://pbx/media/x", "ws://", "ws://pbx:port/", "", "ws://pbx/#secret"])
async def test_an_address_that_is_none_is_told_without_it(heard: Heard, url: str) -> None:
    with pytest.raises(NotConnected, match=r"^address is no ws:// or wss:// one$"):
        await connect(url, Codec.ULAW, heard.clock, no_frames)


async def test_a_dial_that_is_cancelled_leaves_no_connection(heard: Heard) -> None:
    gone = asyncio.Event()
    came = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        try:
            await reader.read()
        finally:
            gone.set()

    async with server(mute) as port, asyncio.timeout(5):
        task = asyncio.create_task(connect(f"ws://127.0.0.1:{port}/", Codec.ULAW, heard.clock, no_frames))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *key, "-out", "cert.pem", "-days", "2", *name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


async def test_both_ways_over_tls(heard: Heard, certificate: Path) -> None:
    """And who presents a certificate that we do not trust brings no audio."""
    # asyncio's own account of a handshake that failed
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    async with MediaSocketServer("127.0.0.1", 0, tls=own) as one:
        inlet = one.expect(KEY, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        url = f"wss://localhost:{one.port}/media?leg={KEY}"
        with pytest.raises(NotConnected, match="CERTIFICATE_VERIFY_FAILED"):
            await connect(url, Codec.ULAW, heard.clock, no_frames)
        theirs = Heard()
        ours = await connect(url, Codec.ULAW, theirs.clock, theirs.batches.append, theirs.ended, tls=trusted)
        await until(lambda: inlet.connected)
        await inlet.close()
        await until(lambda: theirs.ends == 1)
        assert ours.close_code == 1000
    assert heard.ends == 0


# Asterisk connects.


async def test_a_leg_is_found_by_its_key(listening: MediaSocketServer, heard: Heard) -> None:
    inlet = listening.expect(KEY, Codec.SLIN, heard.clock, heard.batches.append, heard.ended)
    assert not inlet.connected
    async with dialled(listening.port) as pbx:
        assert pbx.subprotocol == "media"
        await pbx.send(start(Codec.SLIN))
        for number in range(100):
            await pbx.send(bytes([number, 0]) * 160)
    await until(lambda: heard.ends == 1)
    assert [frame.payload[0] for frame in heard.frames] == list(range(100))
    assert inlet.close_code == 1000
    assert listening.counters.admitted == listening.counters.opened == 1


@pytest.mark.parametrize("key", [None, "", "another-key-0000001", KEY + "x", f"{KEY}&leg={KEY}", "%FF%00"])
@pytest.mark.parametrize("path", ["/media", "//[", "/"])
async def test_a_wrong_key_is_refused_in_the_handshake(
    listening: MediaSocketServer, heard: Heard, key: str | None, path: str
) -> None:
    listening.expect(KEY, Codec.ULAW, heard.clock, no_frames, heard.ended)
    with pytest.raises(InvalidStatus) as refused:
        async with dialled(listening.port, key, path):
            pass
    assert refused.value.response.status_code == HTTPStatus.NOT_FOUND
    assert listening.counters.foreign == 1
    assert listening.counters.admitted == 0


async def test_the_key_without_the_subprotocol_is_refused(listening: MediaSocketServer, heard: Heard) -> None:
    listening.expect(KEY, Codec.ULAW, heard.clock, no_frames, heard.ended)
    with pytest.raises(InvalidStatus) as refused:
        await dial(f"ws://127.0.0.1:{listening.port}/media?leg={KEY}", proxy=None)
    assert refused.value.response.status_code == HTTPStatus.BAD_REQUEST
    assert listening.counters.refused == 1


async def test_a_second_connection_with_the_key_replaces_the_first(
    listening: MediaSocketServer, heard: Heard
) -> None:
    inlet = listening.expect(KEY, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
    async with dialled(listening.port) as first, dialled(listening.port) as second:
        assert await closed(first) == 1000
        await second.send(TONE)  # what the first announced does not count
        await second.send(start())
        await second.send(TONE)
        await until(lambda: bool(heard.frames))
        assert heard.ends == 0
    await until(lambda: heard.ends == 1)
    assert heard.audio == TONE
    assert (inlet.stream.counters.replaced, inlet.stream.counters.malformed) == (1, 1)


async def test_a_key_is_good_for_one_leg_and_until_its_end(
    listening: MediaSocketServer, heard: Heard
) -> None:
    listening.expect(KEY, Codec.ULAW, heard.clock, no_frames, heard.ended)
    with pytest.raises(ValueError, match="in use"):
        listening.expect(KEY, Codec.ULAW, heard.clock, no_frames)
    async with dialled(listening.port):
        pass
    await until(lambda: heard.ends == 1)
    with pytest.raises(InvalidStatus):
        await dialled(listening.port)
    again = listening.expect(KEY, Codec.ULAW, heard.clock, no_frames, heard.ended)
    await again.close()
    with pytest.raises(InvalidStatus):
        await dialled(listening.port)
    assert heard.ends == 1


@pytest.mark.parametrize(
    "key", ["short", "k" * 129, "with~tilde-is-refused-by-asterisk", "with space is none"]
)
async def test_a_key_that_asterisk_would_not_take_is_told(listening: MediaSocketServer, key: str) -> None:
    with pytest.raises(ValueError, match=f"key of {len(key)} characters") as told:
        listening.expect(key, Codec.ULAW, lambda: 0, no_frames)
    assert key not in str(told.value)


async def test_many_legs_hear_their_own(listening: MediaSocketServer) -> None:
    count = scaled(100, 20)
    legs = [Heard() for _ in range(count)]
    for number, leg in enumerate(legs):
        key = f"{KEY}-{number}"
        listening.expect(key, Codec.ULAW, leg.clock, leg.batches.append, leg.ended)

    async def pbx(number: int) -> None:
        async with dialled(listening.port, f"{KEY}-{number}") as connection:
            await connection.send(start())
            for _ in range(10):
                await connection.send(bytes([number]) * 160)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(pbx(number))
    await until(lambda: all(leg.ends for leg in legs))
    for number, leg in enumerate(legs):
        assert leg.audio == bytes([number]) * 1600


async def test_connections_leave_nothing_to_the_collector(listening: MediaSocketServer, heard: Heard) -> None:
    """Both ways: those whom we refuse, and those who refuse us; nor does who was let in."""
    with without_collector():
        listening.expect(KEY, Codec.ULAW, heard.clock, heard.batches.append, heard.ended)
        async with dialled(listening.port) as pbx:
            await pbx.send(start())
        await until(lambda: heard.ends == 1)
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                await dialled(listening.port, None)
            async with server(answering(http("404 Not found"))) as port:
                with pytest.raises(NotConnected):
                    await connect(f"ws://127.0.0.1:{port}/media/x", Codec.ULAW, heard.clock, no_frames)
        del pbx
        await until(lambda: living("_Accepted", "_Dialled", "ServerProtocol", "MediaSocketInlet") == [])
