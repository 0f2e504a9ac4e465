"""bridge/page/app.py, stream.py, opening.py: what is served to whom, and what a browser is told to forbid."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import httpx
import pytest

from bridge.config import Config, ConfigError, Secrets
from bridge.page.app import Page
from bridge.page.door import Door
from bridge.page.opening import open_page
from bridge.page.watched import Watched
from bridge.serving import Serving, guarded, tcp_listener
from bridge.sinks.feed import FeedSink
from tests.page import fake

TOKEN = "t0ken-of-16-characters"
AUTH = {"authorization": f"Bearer {TOKEN}"}
BUSY = "1764075600.0012"
STATIC = files("bridge.page").joinpath("static")


class Site:
    def __init__(self, page: Page, book: fake.Book, sink: FeedSink, http: httpx.AsyncClient) -> None:
        self.page = page
        self.book = book
        self.sink = sink
        self.http = http

    @asynccontextmanager
    async def live(self) -> AsyncIterator["Messages"]:
        async with self.http.stream("GET", "/api/live", headers=AUTH) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Messages(answer)


class Messages:
    """What an EventSource would have."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self, name: str) -> dict[str, Any]:
        """The next of this name."""
        found = ""
        async with asyncio.timeout(5):
            async for line in self._lines:
                kind, _, value = line.partition(": ")
                if kind == "event":
                    found = value
                elif kind == "data" and found == name:
                    told: dict[str, Any] = json.loads(value)
                    return told
        raise EOFError


@asynccontextmanager
async def served(sink: FeedSink | None = None, hidden: frozenset[str] = frozenset()) -> AsyncIterator[Site]:
    book, sink = fake.Book(fake.busy_call(), *fake.ended_calls(3)), sink or FeedSink()
    page = Page(book, sink, Door(TOKEN), hidden)
    listener = tcp_listener("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with Serving(guarded(page.app()), listener) as serving, httpx.AsyncClient(base_url=url) as http:
        page.abort = serving.abort
        yield Site(page, book, sink, http)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with served() as running:
        yield running


class TestFiles:
    async def test_each_is_served_as_what_it_is_and_asked_for_once(self, site: Site) -> None:
        for file in STATIC.iterdir():
            answer = await site.http.get(f"/{file.name}")
            assert answer.status_code == 200
            assert answer.content == file.read_bytes()
            assert answer.headers["content-type"].startswith(("text/", "image/svg"))
            again = await site.http.get(f"/{file.name}", headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await site.http.get("/")).text.startswith("<!doctype html>")

    @pytest.mark.parametrize("path", ["/app.py", "/../app.py", "/%2e%2e/app.py", "/static/page.js", "/x"])
    async def test_there_is_nothing_else(self, site: Site, path: str) -> None:
        assert (await site.http.get(path)).status_code == 404

    async def test_a_browser_runs_nothing_but_these_files(self, site: Site) -> None:
        for path in ("/", "/page.js", "/api/status", "/nowhere"):
            policy = (await site.http.get(path)).headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy

    def test_nothing_is_inline_and_nothing_comes_from_elsewhere(self) -> None:
        page = STATIC.joinpath("index.html").read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
        for file in STATIC.iterdir():
            addresses = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}", file.read_text())
            assert set(addresses) <= {"http://www.w3.org"}, file.name

    def test_no_script_makes_markup_of_text(self) -> None:
        for file in STATIC.iterdir():
            assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", file.read_text())

    def test_every_word_that_is_used_is_in_the_dictionary(self) -> None:
        words = set(re.findall(r"^  (\w+): \[", STATIC.joinpath("words.js").read_text(), re.MULTILINE))
        used = set(
            re.findall(r'data-(?:word|label|placeholder)="(\w+)"', STATIC.joinpath("index.html").read_text())
        )
        for file in STATIC.iterdir():
            used |= set(re.findall(r'\b(?:word|figure)\("(\w+)"', file.read_text()))
        assert used
        assert used <= words


class TestAsked:
    @pytest.mark.parametrize("path", ["/api/status", "/api/calls", f"/api/calls/{BUSY}", "/api/live"])
    async def test_what_is_asked_is_for_who_is_let_in(self, site: Site, path: str) -> None:
        assert (await site.http.get(path)).status_code == 401
        assert (
            await site.http.get(path, headers=AUTH | {"origin": "https://evil.example"})
        ).status_code == 403
        assert (await site.http.head(path, headers=AUTH)).status_code == 200

    async def test_status_calls_and_one_call(self, site: Site) -> None:
        status = await site.http.get("/api/status", headers=AUTH)
        assert status.json()["sessions_quota"] == 50
        assert status.headers["cache-control"] == "no-store"
        calls = (await site.http.get("/api/calls", headers=AUTH)).json()["calls"]
        assert [call["id"] for call in calls] == list(site.book.told)
        call = (await site.http.get("/api/calls/17640756", headers=AUTH)).json()
        assert call["timeline"]
        assert (await site.http.get("/api/calls/1764", headers=AUTH)).status_code == 404
        assert (await site.http.get("/api/calls/9", headers=AUTH)).status_code == 404

    async def test_an_id_may_hold_anything(self, site: Site) -> None:
        name = "a/pause/../b?c#d 통화"
        site.book.told = {name: fake.busy_call() | {"id": name}}
        path = f"/api/calls/{httpx.QueryParams({'x': name})}".replace("x=", "").replace("+", "%20")
        assert (await site.http.get(path, headers=AUTH)).json()["id"] == name
        assert (await site.http.post(f"{path}/pause", headers=AUTH)).json()["paused"] is True

    async def test_half_a_character_is_shown_as_none(self, site: Site) -> None:
        site.book.told[BUSY]["rule"] = "half \ud83d"
        for path in ("/api/calls", f"/api/calls/{BUSY}"):
            assert "half ?" in (await site.http.get(path, headers=AUTH)).text

    async def test_pause_and_resume(self, site: Site) -> None:
        path = f"/api/calls/{BUSY}"
        assert (await site.http.post(f"{path}/pause")).status_code == 403
        assert (await site.http.get(f"{path}/pause", headers=AUTH)).status_code != 200
        assert site.book.orders == []
        assert (await site.http.post(f"{path}/pause", headers=AUTH)).json()["paused"] is True
        assert (await site.http.post(f"{path}/resume", headers=AUTH)).json()["paused"] is False
        assert (await site.http.post("/api/calls/9/pause", headers=AUTH)).status_code == 404
        assert site.book.orders == [(BUSY, True), (BUSY, False), ("9", True)]
        assert set(site.book.askers) == {"token from 127.0.0.1"}

    async def test_what_a_rule_hides_is_hidden_everywhere(self) -> None:
        async with served(hidden=frozenset({"상담 대기열", "예약", "outbound"})) as site:
            for path in ("/api/calls", f"/api/calls/{BUSY}"):
                assert "배송" not in (await site.http.get(path, headers=AUTH)).text
            paused = await site.http.post(f"/api/calls/{BUSY}/pause", headers=AUTH)
            assert "배송" not in paused.text
            async with site.live() as messages:
                assert "배송" not in json.dumps(await messages.next("state"), ensure_ascii=False)


class TestStream:
    async def test_state_comes_at_once_and_then_what_changed(self, site: Site) -> None:
        async with site.live() as messages:
            state = await messages.next("state")
            assert state["status"]["calls"] == 1
            assert len(state["calls"]) == 4
            site.book.told[BUSY]["age_ms"] += 1000
            state = await messages.next("state")
            assert (state["live"], [call["id"] for call in state["calls"]]) == ([BUSY], [BUSY])

    async def test_what_is_said_comes_when_it_is_said(self, site: Site) -> None:
        caller = site.book.told[BUSY]["legs"][0]
        async with site.live() as messages:
            await messages.next("state")
            await site.sink.put([fake.said(caller, "하나", 1000, final=False)])
            assert (await messages.next("said"))["text"] == "하나"
            await site.sink.put([fake.said(caller, "하나.", 1000)])
            line = await messages.next("said")
            assert (line["text"], line["call"], line["final"]) == ("하나.", BUSY, True)

    async def test_who_leaves_leaves_nothing(self, site: Site) -> None:
        async with site.live() as messages:
            await messages.next("state")
            assert site.sink.readers == 1
        async with asyncio.timeout(5):
            while site.sink.readers:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.001)

    async def test_another_token_ends_it_for_whoever_had_the_one_before(self, site: Site) -> None:
        async with site.live() as messages:
            await messages.next("state")
            site.page.adopt(TOKEN, frozenset({"예약"}))
            await messages.next("state")
            site.page.adopt("an0ther-of-16-characters", frozenset())
            with pytest.raises((EOFError, httpx.RemoteProtocolError)):
                await messages.next("nothing that ever comes")
        assert (await site.http.get("/api/live", headers=AUTH)).status_code == 401

    async def test_the_end_of_the_daemon_ends_it(self, site: Site) -> None:
        async with site.live() as messages, asyncio.TaskGroup() as tasks:
            await messages.next("state")
            running = tasks.create_task(site.sink.run())
            site.sink.close()
            await running
            with pytest.raises(EOFError):
                await messages.next("said")

    async def test_there_is_an_end_to_how_many_watch(self) -> None:
        async with served(FeedSink(most=1)) as site, site.live() as messages:
            await messages.next("state")
            assert (await site.http.get("/api/live", headers=AUTH)).status_code == 503


class TestOpening:
    async def test_it_is_where_the_configuration_says(self) -> None:
        with tcp_listener("127.0.0.1", 0) as probe:
            port = probe.getsockname()[1]
        secrets = Secrets(page_token=TOKEN)
        config = Config.model_validate({"page": {"port": port}}).with_secrets(secrets)
        book: Watched = fake.Book()
        async with open_page(config, book, FeedSink()), httpx.AsyncClient() as http:
            url = f"http://127.0.0.1:{port}/api/calls"
            assert (await http.get(url, headers=AUTH)).json() == {"calls": []}
            with pytest.raises(ConfigError, match=r"^page\.port: 127\.0\.0\.1:\d+ is not to be had"):
                async with open_page(config, book, FeedSink()):
                    pass

    async def test_without_a_port_there_is_none(self) -> None:
        async with open_page(Config(), fake.Book(), FeedSink()) as page:
            assert page is None
