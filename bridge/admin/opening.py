"""From configuration to what is served: the live feed on its port, the control channel on its socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from bridge.admin.control import Asked, Control
from bridge.admin.feed import Feed
from bridge.admin.unix import Taken, unix_listener
from bridge.config import Config, ConfigError
from bridge.serving import Serving, guarded, tcp_listener
from bridge.sinks.feed import FeedSink, Past


def build_feed(config: Config, past: Past | None = None) -> FeedSink | None:
    """The live feed, if one is asked for; `past` is the outbox, for readers that come back."""
    if not config.sinks.feed.port:
        return None
    hidden = {rule for rule, names in config.sinks_of_rules.items() if "feed" not in names}
    forgotten = config.rules_without_outbox - hidden
    return FeedSink(past, hidden=frozenset(hidden), forgotten=forgotten)


@asynccontextmanager
async def open_feed(config: Config, sink: FeedSink) -> AsyncIterator[None]:
    """Where it is read. Raises ConfigError when the port cannot be had.

    The sink is to be closed before this is left: then its readers have had all there was.
    """
    settings = config.sinks.feed
    try:
        listener = tcp_listener(settings.bind, settings.port)
    except OSError as error:
        fault = f"{settings.bind}:{settings.port} is not to be had ({error.strerror}); give another one"
        raise ConfigError([f"sinks.feed.port: {fault}"]) from None
    feed = Feed(sink, config.secrets.feed_token, frozenset(settings.origins))
    async with Serving(guarded(feed.app()), listener) as serving:
        feed.abort = serving.abort
        yield


@asynccontextmanager
async def open_control(
    config: Config, deliveries: Asked | None, reasons: Callable[[], list[str]] = list
) -> AsyncIterator[None]:
    """Where commands come, if anywhere; `reasons`: why the daemon is not ready. Raises ConfigError when the
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
        async with Serving(guarded(Control(deliveries, reasons).app()), listener):
            yield
