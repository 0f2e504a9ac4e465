"""bridge/admin/feed.py: events over server-sent events and WebSocket, for who shows the token and reads."""

import asyncio
import json
import socket
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge.admin.feed import Feed, frame_of
from bridge.serving import Serving, guarded, tcp_listener
from bridge.sinks.feed import FeedSink, Item
from bridge.types import Event
from tests.sinks.test_feed import Book, final, partial, started

TOKEN = "t0ken-of-16-characters"
AUTH = {"authorization": f"Bearer {TOKEN}"}


class Here:
    """A feed that is served on this machine."""

    def __init__(self, sink: FeedSink, port: int) -> None:
        self.sink = sink
        self.address = "127.0.0.1", port
        self.netloc = f"127.0.0.1:{port}"

    async def readers(self, number: int) -> None:
        """Waits until there are so many."""
        async with asyncio.timeout(5):
            while self.sink.readers != number:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def events(self, query: str = "", **headers: str) -> AsyncIterator["Frames"]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        before = self.sink.readers
        async with (
            httpx.AsyncClient() as http,
            http.stream("GET", f"http://{self.netloc}/events{query}", headers=AUTH | named) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            await self.readers(before + 1)
            yield Frames(answer)
        await self.readers(before)


class Frames:
    """The events of a stream, as a browser would have them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self) -> dict[str, object] | None:
        """The next event's JSON; None at the end."""
        data = ""
        async with asyncio.timeout(5):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "data":
                    data = value
                elif name == "id":
                    self.last_id = value
                elif not line and data:
                    found = json.loads(data)
                    assert isinstance(found, dict)
                    return found
        return None

    async def ids(self, number: int) -> list[object]:
        return [one["id"] for _ in range(number) if (one := await self.next()) is not None]


@asynccontextmanager
async def served(sink: FeedSink, origins: frozenset[str] = frozenset()) -> AsyncIterator[Here]:
    feed = Feed(sink, TOKEN, origins)
    listener = tcp_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with Serving(guarded(feed.app()), listener) as serving:
        feed.abort = serving.abort
        yield Here(sink, port)


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    async with served(FeedSink()) as served_:
        yield served_


def as_sent(*events: Event) -> list[dict[str, object]]:
    return [event.as_json() for event in events]


class TestServerSentEvents:
    async def test_events_come_as_they_are_said(self, here: Here) -> None:
        async with here.events() as frames:
            await here.sink.put([partial(1), final(2)])
            assert [await frames.next(), await frames.next()] == as_sent(partial(1), final(2))
            assert frames.last_id == "c/x/2"

    async def test_a_browser_that_comes_back_goes_on(self, here: Here) -> None:
        async with here.events() as frames:
            await here.sink.put([final(1), partial(2)])
            await frames.ids(2)
        await here.readers(0)
        await here.sink.put([final(3)])
        async with here.events(last_event_id=frames.last_id) as frames:
            assert await frames.ids(1) == ["c/x/3"]
        async with here.events("?after=c/x/1") as frames:
            assert await frames.ids(1) == ["c/x/3"]

    async def test_a_browser_says_an_id_in_utf_8(self, here: Here) -> None:
        await here.sink.put([final(1, "통화"), final(2)])
        header = "통화/x/1".encode().decode("latin-1")
        async with (
            httpx.AsyncClient() as http,
            http.stream(
                "GET",
                f"http://{here.netloc}/events",
                headers=[
                    (b"authorization", AUTH["authorization"].encode()),
                    (b"last-event-id", header.encode("latin-1")),
                ],
            ) as answer,
        ):
            assert await Frames(answer).ids(1) == ["c/x/2"]

    async def test_a_browser_that_heard_nothing_yet_goes_on_too(self, here: Here) -> None:
        async with here.events() as frames:
            await here.sink.put([partial(1)])
            await frames.ids(1)
        await here.sink.put([final(2)])
        async with here.events(last_event_id=frames.last_id) as frames:
            assert await frames.ids(1) == ["c/x/2"]

    async def test_the_end_of_what_a_browser_had_is_no_earlier_than_what_it_says(self, here: Here) -> None:
        await here.sink.put([final(1), final(2)])
        async with here.events(last_event_id="c/x/1") as frames:
            await here.sink.put([partial(3)])  # it goes on from where it was, should it break off now
            assert await frames.ids(2) == ["c/x/2", "c/x/3"]
            assert frames.last_id == "c/x/2"

    async def test_rules_and_numbers_are_found_as_people_write_them(self, here: Here) -> None:
        name, number = "상담 규칙", "+821012345678"
        apart = quote(unicodedata.normalize("NFD", name))
        for query in (f"rule={quote(name)}", f"rule={apart}", f"party={number}", f"party={quote(number)}"):
            async with here.events(f"?{query}") as frames:
                await here.sink.put([started("a", name), final(1, "b"), final(2, "a", phone=number)])
                assert await frames.ids(1) == (["a/started"] if "rule" in query else ["a/x/2"])

    async def test_who_asks_for_the_head_alone_takes_no_place(self, here: Here) -> None:
        async with httpx.AsyncClient() as http:
            answer = await http.head(f"http://{here.netloc}/events", headers=AUTH)
        assert (answer.status_code, here.sink.readers) == (200, 0)
        assert answer.headers["content-type"].startswith("text/event-stream")

    async def test_a_query_says_what_is_wanted(self, here: Here) -> None:
        async with here.events("?call=a&call=b&party=callee&rule=sales") as frames:
            await here.sink.put([started("a", "sales"), started("b", "sales"), final(1, "a"), final(2, "c")])
            await here.sink.put([final(3, "a", "callee"), final(4, "b", "callee")])
            assert await frames.ids(2) == ["a/x/3", "b/x/4"]

    async def test_who_leaves_frees_its_place(self, here: Here) -> None:
        async with here.events():
            pass
        await here.readers(0)

    async def test_at_the_end_the_stream_ends_in_order(self) -> None:
        sink = FeedSink()
        running = asyncio.create_task(sink.run())
        async with served(sink) as here, here.events() as frames:
            sink.deliver(final(1))
            sink.close()
            await running
            assert await frames.ids(1) == ["c/x/1"]
            assert await frames.next() is None

    async def test_a_stream_without_events_shows_that_it_is_alive(
        self, here: Here, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bridge.admin.feed._BEAT_S", 0.01)
        async with here.events() as frames, asyncio.timeout(5):
            assert ":" in [line async for line in _first(frames.answer, 4)]


async def _first(answer: httpx.Response, number: int) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        yield line
        number -= 1
        if not number:
            return


def test_a_frame_has_an_id_only_if_it_can_be_gone_on_from() -> None:
    assert frame_of(Item(final(1), "")).startswith(b"id: c/x/1\ndata: {")
    assert frame_of(Item(partial(1), "")).startswith(b"data: {")
    event = final(1, "evil\ndata: {}\n")
    assert frame_of(Item(event, "")).count(b"\n") == 2
    assert frame_of(Item(event, "")).startswith(b"data: {")


class TestWebSocket:
    async def test_events_come_as_they_are_said(self, here: Here) -> None:
        async with connect(f"ws://{here.netloc}/ws?call=c", additional_headers=AUTH) as ws:
            await here.readers(1)
            await here.sink.put([final(1, "other"), partial(1), final(2)])
            assert [json.loads(await ws.recv()), json.loads(await ws.recv())] == as_sent(partial(1), final(2))
        await here.readers(0)

    async def test_who_comes_back_goes_on_with_the_outbox_too(self) -> None:
        said = [final(number) for number in range(9)]
        async with (
            served(FeedSink(Book(said))) as here,
            connect(f"ws://{here.netloc}/ws?after=c/x/2&token={TOKEN}") as ws,
        ):
            got = [json.loads(await ws.recv())["id"] for _ in range(6)]
            assert got == [f"c/x/{number}" for number in range(3, 9)]

    async def test_what_a_reader_says_is_not_heard_and_no_harm(self, here: Here) -> None:
        async with connect(f"ws://{here.netloc}/ws", additional_headers=AUTH) as ws:
            await here.readers(1)
            await ws.send("hello")
            await ws.send(b"\0" * 4000)
            await here.sink.put([final(1)])
            assert json.loads(await ws.recv())["id"] == "c/x/1"
            await ws.send("x" * 100_000)
            with pytest.raises(ConnectionClosed):
                await ws.recv()
        await here.readers(0)

    async def test_at_the_end_it_is_told_that_we_go(self) -> None:
        sink = FeedSink()
        running = asyncio.create_task(sink.run())
        async with served(sink) as here, connect(f"ws://{here.netloc}/ws", additional_headers=AUTH) as ws:
            await here.readers(1)
            sink.close()
            await running
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1001


async def status(here: Here, path: str, **headers: str) -> int:
    """What is answered, to a stream or a handshake."""
    if path.startswith("/ws"):
        try:
            async with connect(f"ws://{here.netloc}{path}", additional_headers=headers):
                return 101
        except InvalidStatus as error:
            return error.response.status_code
    async with (
        httpx.AsyncClient() as http,
        http.stream("GET", f"http://{here.netloc}{path}", headers=headers) as answer,
    ):
        return answer.status_code


@pytest.mark.parametrize("path", ["/events", "/ws"])
class TestWhoIsLetIn:
    async def test_nobody_without_the_token(self, here: Here, path: str) -> None:
        wrong = [
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {TOKEN}x"},
        ]
        assert [await status(here, path, **headers) for headers in wrong] == [401] * 5
        assert await status(here, f"{path}?token={TOKEN[:-1]}") == 401
        assert await status(here, f"{path}?token=") == 401
        assert await status(here, path, **AUTH) in (200, 101)
        assert await status(here, f"{path}?token={TOKEN}") in (200, 101)
        await here.readers(0)

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "http://127.0.0.1",
            "https://crm.example.evil",
            "http://[",
            "file://",
        ],
    )
    async def test_no_foreign_page_even_with_the_token(self, path: str, origin: str) -> None:
        async with served(FeedSink(), frozenset({"https://crm.example"})) as here:
            assert await status(here, path, origin=origin, **AUTH) == 403

    async def test_our_own_page_and_those_that_are_named(self, path: str) -> None:
        async with served(FeedSink(), frozenset({"https://crm.example"})) as here:
            for origin in (f"http://{here.netloc}", "https://crm.example"):
                assert await status(here, path, origin=origin, **AUTH) in (200, 101)

    @pytest.mark.parametrize(
        "query", ["calls=a", "x", "after=a&Party=1", "call=" + "&call=".join(map(str, range(101)))]
    )
    async def test_a_filter_that_is_misspelt_is_not_no_filter(
        self, here: Here, path: str, query: str
    ) -> None:
        assert await status(here, f"{path}?{query}", **AUTH) == 400

    async def test_no_more_than_there_is_room_for(self, path: str) -> None:
        async with served(FeedSink(most=1)) as here, here.events():
            assert await status(here, path, **AUTH) == 503


async def test_only_the_page_that_may_is_told_so_by_cors() -> None:
    async with served(FeedSink(), frozenset({"https://crm.example"})) as here:
        async with here.events(origin="https://crm.example") as frames:
            assert frames.answer.headers["access-control-allow-origin"] == "https://crm.example"
        async with here.events() as frames:
            assert "access-control-allow-origin" not in frames.answer.headers


PAGE = {"origin": "https://crm.example"}


async def test_a_page_of_another_host_may_ask_with_the_header_and_see_why_not() -> None:
    sink = FeedSink(most=0)
    async with served(sink, frozenset({PAGE["origin"]})) as here, httpx.AsyncClient() as http:
        url = f"http://{here.netloc}/events"
        asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
        answer = await http.options(url, headers=PAGE | asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"authorization", "last-event-id"} <= set(allowed)
        evil = await http.options(url, headers={"origin": "https://evil.example"} | asked)
        assert (evil.status_code, "access-control-allow-origin" in evil.headers) == (403, False)
        for headers, status_code in ((PAGE, 401), (PAGE | AUTH, 503)):
            answer = await http.get(url, headers=headers)
            assert answer.status_code == status_code
            assert answer.headers["access-control-allow-origin"] == PAGE["origin"]


def hello(path: str) -> bytes:
    """A request by hand, of one who will not read."""
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}"]
    if path == "/ws":
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("path", ["/events", "/ws"])
class TestSlowReaders:
    async def test_one_that_does_not_read_is_cut_and_the_others_miss_nothing(self, path: str) -> None:
        async with served(FeedSink(behind=50)) as here, here.events() as quick:
            with socket.create_connection(here.address) as stuck:
                stuck.sendall(hello(path))
                await here.readers(2)
                number = 0
                async with asyncio.timeout(30):
                    while here.sink.slow == 0:
                        big = final(number)
                        big.data["text"] = "가" * 20_000
                        await here.sink.put([big])
                        assert await quick.ids(1) == [big.id]
                        number += 1
                await here.readers(1)
                assert (here.sink.slow, number < 500) == (1, True)

    async def test_one_that_reads_nothing_of_what_it_missed_is_cut_too(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bridge.admin.feed._STUCK_S", 0.1)
        sink = FeedSink()
        for number in range(200):
            big = final(number)
            big.data["text"] = "가" * 20_000
            await sink.put([big])
        async with served(sink) as here:
            with socket.create_connection(here.address) as stuck:
                stuck.sendall(hello(path).replace(b" HTTP", b"?after=c/x/0 HTTP", 1))
                async with asyncio.timeout(10):
                    while sink.slow == 0:  # noqa: ASYNC110 - nobody is told
                        await asyncio.sleep(0.01)
                await here.readers(0)

    async def test_the_end_of_the_daemon_is_not_held_up_by_one(self, path: str) -> None:
        sink = FeedSink()
        with socket.socket() as stuck:
            async with served(sink) as here:
                stuck.connect(here.address)
                stuck.sendall(hello(path))
                await here.readers(1)
                big = final(1)
                big.data["text"] = "가" * 2_000_000
                await sink.put([big])
                await asyncio.sleep(0)
                before = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - before < 4
        assert sink.readers == 0


async def test_who_connects_and_asks_nothing_is_cut(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.serving._FIRST_REQUEST_S", 0.02)
    with socket.create_connection(here.address) as silent:
        silent.sendall(b"GET /ev")
        silent.setblocking(False)
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(silent, 1), 5) == b""


async def test_there_is_an_end_to_the_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.serving._MOST_CONNECTIONS", 3)
    async with served(FeedSink()) as here, here.events() as reader:
        silent = [socket.create_connection(here.address) for _ in range(4)]
        for one in silent[2:]:
            one.setblocking(False)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 1), 5) == b""
        await here.sink.put([final(1)])
        assert await reader.ids(1) == ["c/x/1"]
        for one in silent:
            one.close()
