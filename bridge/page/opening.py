"""From configuration to a page that is served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.admin.opening import listener_of
from bridge.config import Config
from bridge.page.app import Page
from bridge.page.door import Door
from bridge.page.watched import Watched
from bridge.serving import Serving, guarded
from bridge.sinks.feed import FeedSink


@asynccontextmanager
async def open_page(config: Config, watched: Watched, sink: FeedSink) -> AsyncIterator[Page | None]:
    """Where the page is, if it is to be anywhere. Raises ConfigError when the port cannot be had.

    The sink is to be closed before this is left: then whoever reads has had all there was.
    """
    settings = config.page
    if not settings.port:
        yield None
        return
    listener = listener_of(settings.bind, settings.port, "page.port")
    door = Door(
        config.secrets.page_token,
        header=settings.trusted_header,
        proxies=settings.networks,
        origins=frozenset(settings.origins),
    )
    page = Page(watched, sink, door, config.rules_without("feed"))
    async with Serving(guarded(page.app()), listener) as serving:
        page.abort = serving.abort
        yield page
