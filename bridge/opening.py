"""What the daemon opens on this machine, each with its fault as one line: ports, folders, where events go.

Each is closed with the stack that it is put on, the last one first; what runs is the daemon's concern.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console
from starlette.routing import Route

from bridge.admin.opening import build_feed, open_control, open_feed, open_metrics
from bridge.admin.pausing import Pausing
from bridge.admin.reloading import Reload, reloading
from bridge.admin.watched import Watched
from bridge.config import Config, ConfigError
from bridge.delivery.deliveries import Deliveries
from bridge.delivery.endpoints import build_redis, build_webhooks, rules_of_endpoints
from bridge.leg.desk import LocalDesks
from bridge.leg.inlets import Inlets
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Sender
from bridge.page.opening import open_page
from bridge.readiness import Readiness
from bridge.reload.outlets import feed_part, outbox_part, page_part, webhooks_part
from bridge.reload.parts import Parts
from bridge.serving import tcp_listener
from bridge.sinks.feed import FeedSink
from bridge.sinks.outbox import OutboxSink
from bridge.sinks.queued import QueuedSink
from bridge.spool.spool import Spool
from bridge.types import CallId
from bridge.watching.paged import Paged
from bridge.watching.status import Status
from bridge.watching.watch import Snapshots, Watch
from bridge.wire.watched import Tell, unheard
from bridge.wire.wishes import By
from bridge.wiring import build_outbox, build_sinks, build_spool, workers_of


@dataclass(frozen=True, slots=True)
class Supervision:
    """Who looks at all of it."""

    watch: Watch | None
    """Nobody, if nobody can ask."""
    status: Status
    pausing: Pausing
    """What pauses calls on request; it waits for its switchboard."""

    @property
    def tell(self) -> Tell:
        """Where what happens in calls is told."""
        return unheard if self.watch is None else self.watch.tell

    def look(self, snapshots: Snapshots) -> list[Coroutine[None, None, None]]:
        """What is to run for it."""
        return [] if self.watch is None else [self.watch.look(snapshots)]


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where events go."""

    sinks: list[QueuedSink]
    """All that are open; none runs."""
    kept: OutboxSink | None
    """The one of them that brings events into the outbox, if there is one."""
    deliveries: Deliveries | None
    """What goes from the outbox to its endpoints; it does not run."""
    outbox: Outbox | None = None
    feed: FeedSink | None = None
    """The one of them that pages follow."""

    @property
    def written(self) -> Callable[[], Awaitable[bool]] | None:
        """Waits until what was told before is in the outbox; None if there is none."""
        return None if self.kept is None else self.kept.written


async def open_outlets(
    config: Config,
    console: Console | None,
    opened: AsyncExitStack,
    readiness: Readiness,
    parts: Parts,
) -> Outlets:
    """The sinks, the outbox and its endpoints, the feed and the metrics. Raises ConfigError."""
    sinks = build_sinks(config, console)
    outbox, kept, deliveries = build_outbox(config), None, None
    if outbox is not None:
        await outbox.open()
        opened.push_async_callback(outbox.close)
        _check_outbox(config, outbox)
        sinks.append(kept := OutboxSink(outbox))
        outbox.leave_out(config.rules_without_outbox)
        readiness.watch(lambda: outbox.degraded)
        deliveries = await _open_deliveries(config, outbox, opened, parts)
        parts.add(outbox_part(outbox))
    if (feed := build_feed(config, outbox)) is not None:
        served = await opened.enter_async_context(open_feed(config, feed))
        parts.add(feed_part(feed, served))
        sinks.append(feed)
    await opened.enter_async_context(open_metrics(config, lambda: readiness.reasons))
    return Outlets(sinks, kept, deliveries, outbox, feed)


async def open_watch(
    config: Config,
    outlets: Outlets,
    stop: Callable[[], None],
    reload: Reload,
    readiness: Readiness,
    opened: AsyncExitStack,
) -> Supervision:
    """Who watches the calls, if anybody can ask it, and the control channel, where `stop` ends the daemon.
    Raises ConfigError."""
    watch = None if config.admin.socket is None and not config.page.port else Watch()
    pausing = Pausing() if watch is None else Pausing(watch.shown)
    supervision = Supervision(watch, Status(lambda: readiness.reasons), pausing)
    more: list[Route] = [*pausing.routes, *reloading(reload)]
    if watch is not None:
        outlets.sinks.append(watch)
        more += Watched(watch, supervision.status, outlets.deliveries, outlets.outbox, stop).routes()
    control = open_control(config, outlets.deliveries, lambda: readiness.reasons, more)
    await opened.enter_async_context(control)
    return supervision


async def open_live_page(
    config: Config,
    outlets: Outlets,
    supervision: Supervision,
    pause: Callable[[CallId, bool, By, str], bool],
    parts: Parts,
    opened: AsyncExitStack,
) -> None:
    """The page, where one is asked for; `pause` is the switchboard's. Raises ConfigError."""
    if supervision.watch is not None and outlets.feed is not None:
        paged = Paged(supervision.watch, supervision.status, outlets.deliveries, pause, outlets.outbox)
        page = await opened.enter_async_context(open_page(config, paged, outlets.feed))
        if page is not None:
            parts.add(page_part(page))


def _check_outbox(config: Config, outbox: Outbox) -> None:
    """Raises ConfigError when the file cannot be had, unless it may be had later, as on a disk that is
    full."""
    if outbox.misplaced:
        mend = "give a file of its own, in a folder of this user, such as /var/lib/rtzr-bridge/outbox.db"
        fault = f"{config.outbox.path} is not to be had ({outbox.misplaced}); {mend}"
        raise ConfigError([f"outbox.path: {fault}"])


async def _open_deliveries(
    config: Config, outbox: Outbox, opened: AsyncExitStack, parts: Parts
) -> Deliveries:
    """To each endpoint of the YAML the events of its calls."""
    rules = rules_of_endpoints(config)
    webhooks = build_webhooks(config)
    senders: list[Sender] = [await opened.enter_async_context(webhook) for webhook in webhooks]
    parts.add(webhooks_part(webhooks))
    if (redis := build_redis(config, outbox.rules)) is not None:
        senders.append(await opened.enter_async_context(redis))
    return Deliveries(outbox, [(sender, rules[sender.name]) for sender in senders])


def check_bind(address: str) -> None:
    """Raises ConfigError when RTP could not be received at `media.bind`: now, not at the first call."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            fault = (
                f"media.bind: {address} is not to be had ({error.strerror}); give an address of this machine"
            )
            raise ConfigError([fault]) from None


def check_streams(config: Config) -> None:
    """Raises ConfigError when a worker could not be reached by FreeSWITCH's streams: now, not at its first
    call."""
    media = config.media
    for port in media.websocket_ports(workers_of(config)):
        try:
            tcp_listener(media.bind, port).close()
        except OSError as error:
            fault = f"media.websocket_port: {port} is not to be had ({error.strerror}); give another one"
            raise ConfigError([fault]) from None


async def open_door(config: Config, desks: LocalDesks, opened: AsyncExitStack) -> Inlets:
    """Where calls come that the dialplan sends. Raises ConfigError when the port cannot be had."""
    opened.push_async_callback(desks.inlets.close)
    if config.pbx == "freeswitch":
        await _open_streams(desks)
    if config.media.audiosocket_calls:
        try:
            await desks.inlets.audiosocket()
        except OSError as error:
            port, reason = config.media.audiosocket_port, error.strerror
            fault = f"media.audiosocket_port: {port} is not to be had ({reason}); give another one"
            raise ConfigError([fault]) from None
    return desks.inlets


async def _open_streams(desks: LocalDesks) -> None:
    """Where FreeSWITCH's streams come: now, not at the first call. Raises ConfigError."""
    try:
        await desks.inlets.audiostream()
    except ssl.SSLError:
        fault = "freeswitch.media_tls_cert: is no PEM certificate, or media_tls_key not its key; give both"
        raise ConfigError([fault]) from None
    except OSError as error:
        file = error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR)  # ssl does not say which
        what = "freeswitch.media_tls_cert or media_tls_key" if file else "media.websocket_port"
        fault = f"{what}: is not to be had ({os.strerror(error.errno or 0)}); give another one"
        raise ConfigError([fault]) from None


async def open_spool(config: Config, opened: AsyncExitStack) -> Spool | None:
    """The spool, if one is asked for. Raises ConfigError when its folder cannot be had."""
    spool = build_spool(config)
    if spool is None:
        return None
    try:
        await asyncio.to_thread(spool.check)
    except OSError as error:
        folder, reason = config.spool.folder, error.strerror
        fault = f"spool.folder: {folder} is not to be had ({reason}); give a folder of this user"
        raise ConfigError([fault]) from None
    spool.start()
    opened.push_async_callback(asyncio.to_thread, spool.stop)
    return spool
