"""What the daemon opens on this machine, each with its fault as one line: ports, folders, where events go.

Each is closed with the stack that it is put on, the last one first; what runs is the daemon's concern.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console

from bridge.admin.opening import build_feed, open_control, open_feed
from bridge.config import Config, ConfigError
from bridge.delivery.deliveries import Deliveries
from bridge.delivery.endpoints import build_redis, build_webhooks, rules_of_redis, rules_of_webhooks
from bridge.desk import LocalDesks
from bridge.inlets import Inlets
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Sender
from bridge.readiness import Readiness
from bridge.serving import tcp_listener
from bridge.sinks.outbox import OutboxSink
from bridge.sinks.queued import QueuedSink
from bridge.spool.spool import Spool
from bridge.wiring import build_outbox, build_sinks, build_spool, workers_of


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where events go."""

    sinks: list[QueuedSink]
    """All that are open; none runs."""
    kept: OutboxSink | None
    """The one of them that brings events into the outbox, if there is one."""
    deliveries: Deliveries | None
    """What goes from the outbox to its endpoints; it does not run."""

    @property
    def written(self) -> Callable[[], Awaitable[bool]] | None:
        """Waits until what was told before is in the outbox; None if there is none."""
        return None if self.kept is None else self.kept.written


async def open_outlets(
    config: Config, console: Console | None, opened: AsyncExitStack, readiness: Readiness
) -> Outlets:
    """The sinks, the outbox and its endpoints, the feed and the control channel. Raises ConfigError."""
    sinks = build_sinks(config, console)
    outbox, kept, deliveries = build_outbox(config), None, None
    if outbox is not None:
        await outbox.open()
        opened.push_async_callback(outbox.close)
        _check_outbox(config, outbox)
        sinks.append(kept := OutboxSink(outbox))
        outbox.leave_out(config.rules_without_outbox)
        readiness.watch(lambda: outbox.degraded)
        deliveries = await _open_deliveries(config, outbox, opened)
    if (feed := build_feed(config, outbox)) is not None:
        await opened.enter_async_context(open_feed(config, feed))
        sinks.append(feed)
    await opened.enter_async_context(open_control(config, deliveries, lambda: readiness.reasons))
    return Outlets(sinks, kept, deliveries)


def _check_outbox(config: Config, outbox: Outbox) -> None:
    """Raises ConfigError when the file cannot be had, unless it may be had later, as on a disk that is
    full."""
    if outbox.misplaced:
        mend = "give a file of its own, in a folder of this user, such as /var/lib/rtzr-bridge/outbox.db"
        fault = f"{config.outbox.path} is not to be had ({outbox.misplaced}); {mend}"
        raise ConfigError([f"outbox.path: {fault}"])


async def _open_deliveries(config: Config, outbox: Outbox, opened: AsyncExitStack) -> Deliveries:
    """To each endpoint of the YAML the events of its calls."""
    rules = rules_of_webhooks(config) | rules_of_redis(config)
    senders: list[Sender] = [await opened.enter_async_context(webhook) for webhook in build_webhooks(config)]
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
