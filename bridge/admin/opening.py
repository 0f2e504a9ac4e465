"""From configuration to what is served: the live feed and the metrics on their ports, the control channel on
its socket."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route

from bridge.admin.control import Asked, Control
from bridge.admin.feed import Feed
from bridge.admin.probes import probes
from bridge.admin.unix import Taken, unix_listener
from bridge.config import Config, ConfigError
from bridge.serving import Serving, guarded, tcp_listener
from bridge.sinks.feed import FeedSink, Past


def build_feed(config: Config, past: Past | None = None) -> FeedSink | None:
    """The live feed, if one is asked for, or a page, which shows what it has; `past` is the outbox, for
    readers that come back."""
    if not config.sinks.feed.port and not config.page.port:
        return None
    hidden, forgotten = rules_of_feed(config)
    return FeedSink(past, hidden=hidden, forgotten=forgotten)


def rules_of_feed(config: Config) -> tuple[frozenset[str], frozenset[str]]:
    """`hidden` and `forgotten` as of `FeedSink`."""
    hidden = config.rules_without("feed")
    return hidden, config.rules_without_outbox - hidden


@asynccontextmanager
async def open_feed(config: Config, sink: FeedSink) -> AsyncIterator[Feed | None]:
    """Where it is read, if anywhere but on the page. Raises ConfigError when the port cannot be had.

    The sink is to be closed before this is left: then its readers have had all there was.
    """
    settings = config.sinks.feed
    if not settings.port:
        yield None
        return
    listener = listener_of(settings.bind, settings.port, "sinks.feed.port")
    feed = Feed(sink, config.secrets.feed_token, frozenset(settings.origins))
    async with Serving(guarded(feed.app()), listener) as serving:
        feed.abort = serving.abort
        yield feed


def listener_of(bind: str, port: int, key: str) -> socket.socket:
    """Raises ConfigError when the port cannot be had that `key` names."""
    try:
        return tcp_listener(bind, port)
    except OSError as error:
        fault = f"{key}: {bind}:{port} is not to be had ({error.strerror}); give another one"
        raise ConfigError([fault]) from None


@asynccontextmanager
async def open_metrics(config: Config, reasons: Callable[[], list[str]]) -> AsyncIterator[None]:
    """Where Prometheus and supervisors ask over TCP, if anywhere. Raises ConfigError when the port cannot be
    had."""
    settings = config.metrics
    if not settings.port:
        yield
        return
    listener = listener_of(settings.bind, settings.port, "metrics.port")
    async with Serving(guarded(Starlette(routes=probes(reasons))), listener):
        yield


@asynccontextmanager
async def open_control(
    config: Config,
    deliveries: Asked | None,
    reasons: Callable[[], list[str]] = list,
    more: Sequence[Route] = (),
) -> AsyncIterator[None]:
    """Where commands come, if anywhere; `reasons` and `more` are as of `Control`. Raises ConfigError when the
    socket cannot be had."""
    path = config.admin.socket
    if path is None:
        yield
        return
    with ExitStack() as held:
        try:
            listener = held.enter_context(unix_listener(Path(path)))
        except Taken:
            fault = f"{path} is another daemon's; stop it, or give another one"
            raise ConfigError([f"admin.socket: {fault}"]) from None
        except OSError as error:
            mend = f'sudo install -d -o "$(id -un)" {Path(path).parent}, or give one in a folder of this user'
            fault = f"{path} is not to be had ({error.strerror}); {mend}"
            raise ConfigError([f"admin.socket: {fault}"]) from None
        async with Serving(guarded(Control(deliveries, reasons, more).app()), listener):
            yield
