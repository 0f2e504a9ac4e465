"""Where events go, as parts that take another configuration: the outbox, its webhooks, the feed, the
page.

As `bridge.reload.parts`, apart from it because these are there only where the YAML asks for them.
"""

from collections.abc import Callable, Sequence
from functools import partial

from bridge.admin.feed import Feed
from bridge.admin.opening import rules_of_feed
from bridge.config import Config
from bridge.delivery.endpoints import endpoint_of, keys_of, rules_of_endpoints
from bridge.net.webhook import WebhookSender
from bridge.outbox.outbox import Outbox
from bridge.page.app import Page
from bridge.reload.parts import Take
from bridge.sinks.feed import FeedSink

_Make = Callable[[Config], Take]


def outbox_part(outbox: Outbox) -> _Make:
    """Whose calls are kept, and for whom."""
    return lambda config: partial(outbox.adopt, rules_of_endpoints(config), config.rules_without_outbox)


def webhooks_part(senders: Sequence[WebhookSender]) -> _Make:
    """With which keys they are signed."""

    def make(config: Config) -> Take:
        by_name = {endpoint_of(webhook): webhook for webhook in config.sinks.webhooks}
        keys = [(sender, keys_of(by_name[sender.name], config)) for sender in senders]

        def take() -> None:
            for sender, ones in keys:
                sender.adopt(ones)

        return take

    return make


def feed_part(sink: FeedSink, feed: Feed | None) -> _Make:
    """Which calls are told again, and what readers have to show."""

    def make(config: Config) -> Take:
        hidden, forgotten = rules_of_feed(config)

        def take() -> None:
            sink.adopt(hidden, forgotten)
            if feed is not None:
                feed.adopt(config.secrets.feed_token)

        return take

    return make


def page_part(page: Page) -> _Make:
    """Whose text is not shown, and what people log in with."""
    return lambda config: partial(page.adopt, config.secrets.page_token, config.rules_without("feed"))
