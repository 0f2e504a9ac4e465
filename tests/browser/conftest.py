"""A real Chromium, and the page that it opens."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from bridge.page import app
from bridge.page.door import Door
from bridge.serving import Serving, guarded, tcp_listener
from bridge.sinks.feed import FeedSink
from tests.page.fake import Book, busy_call, ended_calls, more_calls

TOKEN = "t0ken-of-16-characters"
PICTURES = Path(__file__).parent.parent.parent / ".artifacts" / "page"
"""Where pictures of the page go, for whoever looks at a run."""
PATIENCE_MS = 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_installed: None) -> AsyncIterator[Browser]:
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield launched
        await launched.close()


class Site:
    """The page as a daemon serves it, of calls that nobody makes."""

    def __init__(self) -> None:
        self.busy = busy_call()
        self.book = Book(self.busy, *more_calls(), *ended_calls(60))
        self.sink = FeedSink()
        self.port = 0
        self._running = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def up(self) -> None:
        """On the port that it had before, if it had one."""
        listener = tcp_listener("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        page = app.Page(self.book, self.sink, Door(TOKEN))
        serving = await self._running.enter_async_context(Serving(guarded(page.app()), listener))
        page.abort = serving.abort

    async def down(self) -> None:
        await self._running.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    made = Site()
    await made.up()
    yield made
    await made.down()


Open = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Open]:
    """Opens the page; fails at the end where the browser told of an error or asked anybody else."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    async def opened(*, login: bool = True, at: str = "", **options: Any) -> Page:
        settings: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1600, "height": 1000}, **options}
        context = await browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda one: wrong.append(one.text) if _is_fault(one.type, one.text) else None)
        page.on("request", lambda one: None if one.url.startswith(site.url) else wrong.append(one.url))
        await page.goto(site.url + at)
        if login:
            await page.get_by_label("Token" if settings["locale"] != "ko-KR" else "토큰").fill(TOKEN)
            await page.keyboard.press("Enter")
            await page.locator("#login").wait_for(state="hidden")
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert wrong == []


def _is_fault(kind: str, text: str) -> bool:
    """The browser tells every answer that is no success as an error."""
    return kind == "error" and not text.startswith("Failed to load resource")
