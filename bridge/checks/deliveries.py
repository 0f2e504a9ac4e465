"""`rtzr-bridge check`: where events go, tried before there are any: the outbox's disk, the file of events,
the spool's folder, each webhook, Redis, the ports of feed, page and metrics, the control channel's socket.

Nobody is told anything and nothing is written: a webhook is connected to without a word, and Redis is asked
for what it refuses. What a daemon that runs has already is no fault.
"""

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import httpx

from bridge.admin.client import NoAnswer, ask
from bridge.checks.finding import Finding, Verdict
from bridge.config import Config
from bridge.delivery.endpoints import build_redis, build_webhooks
from bridge.net.redisstream import RedisSender
from bridge.net.webhook import WebhookSender
from bridge.outbox.claim import NotOurs, claim
from bridge.outbox.stored import Rejected, Unreachable
from bridge.serving import tcp_listener
from bridge.wire.mounts import kind_at

MOUNTS = Path("/proc/mounts")

_DISTANT = ("nfs", "cifs", "smb", "afs", "9p", "ceph", "lustre", "fuse.")
"""How the kinds of file systems begin on which SQLite's locks and its log are not to be relied on."""
_FLEETING = ("tmpfs", "ramfs")
_OLDEST_REDIS = 5
_WAL_BYTES = 32_000_000
"""What SQLite's log may need beside the file."""
_ANSWER_S = 2.0
_UNAUTHORISED = 401

_Ours = Callable[[httpx.Response], bool]


async def findings(config: Config) -> list[Finding]:
    """A line for each that is asked for, in the order in which an event meets it."""
    runs = await asyncio.to_thread(runs_here, config)
    found: list[Finding] = []
    if config.outbox.path is not None:
        most = config.outbox.max_mb * 1_000_000
        found.append(await asyncio.to_thread(_outbox, Path(config.outbox.path), most))
    if config.sinks.jsonl.path is not None:
        found.append(_file(Path(config.sinks.jsonl.path)))
    if config.spool.folder is not None:
        found.append(_spool(Path(config.spool.folder)))
    found += await asyncio.gather(*(_webhook(sender) for sender in build_webhooks(config)))
    if (redis := build_redis(config)) is not None:
        found.append(await _redis(redis, config))
    if config.sinks.feed.port:
        found.append(await _feed(config.sinks.feed.bind, config.sinks.feed.port, runs=runs))
    if config.page.port:
        found.append(await _page(config.page.bind, config.page.port, runs=runs))
    if config.metrics.port:
        found.append(await _metrics(config.metrics.bind, config.metrics.port, runs=runs))
    if config.admin.socket is not None:
        found.append(_socket(Path(config.admin.socket), runs=runs))
    return found


def runs_here(config: Config) -> bool:
    """Whether a daemon answers at this configuration's socket."""
    if config.admin.socket is None:
        return False
    try:
        ask(Path(config.admin.socket), "/deliveries")
    except NoAnswer:
        return False
    return True


def _outbox(path: Path, most: int) -> Finding:
    name, mend = "outbox", "give outbox.path a file of its own, such as /var/lib/rtzr-bridge/outbox.db"
    try:
        claim(path)
    except NotOurs as error:
        return Finding(name, Verdict.FAULT, f"{path}: {error.strerror}", mend)
    except OSError as error:
        return Finding(name, Verdict.FAULT, f"{path} is not to be had ({error.strerror})", mend)
    folder = _there(path.parent)
    if not _ours(folder) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        mend = f'sudo install -d -m 750 -o "$(id -un)" {path.parent}, and run check as the daemon\'s user'
        return Finding(name, Verdict.FAULT, f"{path} cannot be written by this user", mend)
    kind = file_system(folder)
    if kind.startswith(_DISTANT):
        mend = "give outbox.path a file on a disk of this machine"
        return Finding(name, Verdict.FAULT, f"{folder} is {kind}, where SQLite's locks do not hold", mend)
    if kind in _FLEETING:
        mend = "give outbox.path a file on a disk of this machine"
        return Finding(name, Verdict.WARNING, f"{folder} is {kind}: what waits goes with a restart", mend)
    return _space(path, folder, most)


def _file(path: Path) -> Finding:
    """The file of events: its folder has to be there, unlike the outbox's."""
    there = path.exists()
    if (there and not path.is_dir() and os.access(path, os.W_OK)) or (not there and _ours(path.parent)):
        return Finding("jsonl", Verdict.OK, f"{path} can be written")
    mend = f'sudo install -d -m 750 -o "$(id -un)" {path.parent}, or give another file as sinks.jsonl.path'
    return Finding("jsonl", Verdict.FAULT, f"{path} cannot be written by this user", mend)


def _spool(folder: Path) -> Finding:
    if _ours(_there(folder)):
        return Finding("spool", Verdict.OK, f"{folder} can be written")
    mend = f'sudo install -d -m 700 -o "$(id -un)" {folder}, or give another spool.folder'
    return Finding("spool", Verdict.FAULT, f"{folder} cannot be written by this user", mend)


def _space(path: Path, folder: Path, most: int) -> Finding:
    """Whether there is room for all that the outbox may hold."""
    disk = shutil.disk_usage(folder)
    if not disk.total:
        mend = "give outbox.path a file on a disk, such as /var/lib/rtzr-bridge/outbox.db"
        return Finding("outbox", Verdict.FAULT, f"{folder} is on no disk", mend)
    room = disk.free + (path.stat().st_size if path.exists() else 0)
    text = f"{path}: {room // 1_000_000} MB of room for {most // 1_000_000}"
    if room >= most + _WAL_BYTES:
        return Finding("outbox", Verdict.OK, text)
    mend = "free some, or give less as outbox.max_mb: beyond it what was delivered goes first"
    return Finding("outbox", Verdict.WARNING, text, mend)


def _there(folder: Path) -> Path:
    """The folder, or where it would be made."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())


def _ours(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def file_system(folder: Path) -> str:
    """The kind of its file system; "" where that is not known."""
    try:
        return kind_at(MOUNTS.read_text(errors="replace"), str(folder.resolve()))
    except OSError:
        return ""


async def _webhook(sender: WebhookSender) -> Finding:
    began_s = asyncio.get_running_loop().time()
    async with sender:
        try:
            await sender.probe()
        except Unreachable as error:
            mend = "see its url, allow_private and ca_file, and the firewall: docs/webhooks.md"
            return Finding(sender.name, Verdict.FAULT, str(error), mend)
    took_ms = 1000 * (asyncio.get_running_loop().time() - began_s)
    return Finding(sender.name, Verdict.OK, f"connected in {took_ms:.0f} ms, and nothing posted")


async def _redis(sender: RedisSender, config: Config) -> Finding:
    rules = config.sinks.redis.rules
    async with sender:
        try:
            version = await sender.probe([rule.name for rule in config.rules] if rules is None else rules)
        except (Rejected, Unreachable) as error:
            text, _, mend = str(error).partition("; ")
            return Finding("redis", Verdict.FAULT, text, mend or "see sinks.redis.url: docs/streams.md")
    if not version:
        return Finding("redis", Verdict.OK, "takes entries; its version may not be asked")
    if int(version.partition(".")[0]) < _OLDEST_REDIS:
        mend = f"update it to {_OLDEST_REDIS} or later"
        return Finding("redis", Verdict.FAULT, f"{version} has no streams", mend)
    return Finding("redis", Verdict.OK, f"{version} takes entries")


async def _feed(bind: str, port: int, *, runs: bool) -> Finding:
    return await _port("feed", "sinks.feed.port", bind, port, "/events", _wants_token, runs=runs)


async def _page(bind: str, port: int, *, runs: bool) -> Finding:
    return await _port("page", "page.port", bind, port, "/api/status", _wants_token, runs=runs)


async def _metrics(bind: str, port: int, *, runs: bool) -> Finding:
    return await _port("metrics", "metrics.port", bind, port, "/ready", _tells_ready, runs=runs)


async def _port(name: str, key: str, bind: str, port: int, path: str, ours: _Ours, *, runs: bool) -> Finding:
    """Whether it is free, or already what it is to be."""
    where = f"{bind}:{port}"
    try:
        tcp_listener(bind, port).close()
    except OSError as error:
        if runs or await _is_ours(bind, port, path, ours):
            return Finding(name, Verdict.OK, f"{where} is the daemon's that runs")
        text = f"{where} is not to be had ({error.strerror})"
        return Finding(name, Verdict.FAULT, text, f"give another {key}")
    return Finding(name, Verdict.OK, f"{where} is free")


async def _is_ours(bind: str, port: int, path: str, ours: _Ours) -> bool:
    """Whether what listens there answers for `path` as ours does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)
    url = f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as http:
            return ours(await http.get(url))
    except (httpx.HTTPError, ValueError):
        return False


def _wants_token(answer: httpx.Response) -> bool:
    """As a feed or a page of ours does."""
    return answer.status_code == _UNAUTHORISED and "error" in answer.json()


def _tells_ready(answer: httpx.Response) -> bool:
    """As our probes do, ready or not."""
    return isinstance(told := answer.json(), dict) and {"ready", "reasons"} <= told.keys()


def _socket(path: Path, *, runs: bool) -> Finding:
    name = "admin socket"
    if runs:
        return Finding(name, Verdict.OK, f"a daemon answers at {path}")
    if not _ours(path.parent):
        mend = f'sudo install -d -m 750 -o "$(id -un)" {path.parent}, or RuntimeDirectory= in its unit'
        return Finding(name, Verdict.FAULT, f"{path.parent} is no folder that this user may write to", mend)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return Finding(name, Verdict.OK, f"{path} can be had")
    if not stat.S_ISSOCK(mode):
        mend = "give another admin.socket"
        return Finding(name, Verdict.FAULT, f"{path} is something else than a socket", mend)
    if _listens(path):
        mend = "is it the daemon of another user? run check as that one"
        return Finding(
            name, Verdict.WARNING, f"something listens at {path}, and does not answer as ours", mend
        )
    return Finding(name, Verdict.OK, f"{path} can be had")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(_ANSWER_S)
        try:
            one.connect(str(path))
        except PermissionError:
            return True
        except OSError:
            return False
    return True
