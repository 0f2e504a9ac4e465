"""bridge/checks/deliveries.py: where events go is tried without a word to anybody, faults with mends."""

import os
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.admin.opening import open_control, open_feed, open_metrics
from bridge.admin.unix import unix_listener
from bridge.checks import deliveries as delivery_checks
from bridge.checks.finding import Finding, Verdict
from bridge.config import Config, Secrets
from bridge.outbox.file import OutboxFile
from bridge.page.opening import open_page
from bridge.serving import Serving, guarded
from bridge.sinks.feed import FeedSink
from tests.net.receiver import SECRET
from tests.net.tcp import server
from tests.page.fake import Book
from tests.redisserver import RedisServer

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _an_ordinary_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(tmp_path, monkeypatch, "ext4")
    room(monkeypatch, 10_000_000_000)


def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda / {kind} rw 0 0\n")
    monkeypatch.setattr(delivery_checks, "MOUNTS", table)


def room(monkeypatch: pytest.MonkeyPatch, free: int, total: int = 10_000_000_000) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free, total=total))


def config(**given: Any) -> Config:
    named = {"CRM": SECRET}
    return Config.model_validate(given).with_secrets(
        Secrets(client_id="", client_secret="", named=named, feed_token=TOKEN)
    )


async def checked(**given: Any) -> dict[str, Finding]:
    """The findings by name; each that is not well has its mend."""
    found = await delivery_checks.findings(config(**given))
    assert all(one.mend for one in found if one.verdict is not Verdict.OK), found
    return {one.name: one for one in found}


async def only(**given: Any) -> tuple[Verdict, str, str]:
    (one,) = (await checked(**given)).values()
    return one.verdict, one.text, one.mend


async def test_nothing_is_said_of_what_is_off() -> None:
    assert await checked() == {}


# The outbox.


async def test_an_outbox_that_can_be_had_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "o.db"
    verdict, text, _ = await only(outbox={"path": str(path)})
    assert (verdict, text) == (Verdict.OK, f"{path}: 10000 MB of room for 500")
    assert not (tmp_path / "new").exists()


async def test_one_that_is_there_is_let_be(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    OutboxFile(path, "normal").close()
    assert (await only(outbox={"path": str(path)}))[0] is Verdict.OK
    path.write_text("{}\n")
    verdict, text, _ = await only(outbox={"path": str(path)})
    assert (verdict, text) == (Verdict.FAULT, f"{path}: what is there is no outbox of ours")
    verdict, text, _ = await only(outbox={"path": str(tmp_path)})
    assert (verdict, text) == (Verdict.FAULT, f"{tmp_path} is not to be had (Is a directory)")


async def test_a_folder_that_is_not_to_be_written_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    path = tmp_path / "none" / "o.db"
    verdict, text, mend = await only(outbox={"path": str(path)})
    assert (verdict, text) == (Verdict.FAULT, f"{path} cannot be written by this user")
    assert mend.startswith("sudo install -d -m 750 ")


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("nfs4", Verdict.FAULT),
        ("cifs", Verdict.FAULT),
        ("fuse.sshfs", Verdict.FAULT),
        ("tmpfs", Verdict.WARNING),
    ],
)
async def test_a_disk_of_another_machine_is_a_fault_and_one_in_memory_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, verdict: Verdict
) -> None:
    mounted(tmp_path, monkeypatch, kind)
    told = await only(outbox={"path": str(tmp_path / "o.db")})
    assert told[0] is verdict
    assert f"{tmp_path} is {kind}" in told[1]


async def test_too_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, 400_000_000)
    verdict, text, _ = await only(outbox={"path": str(tmp_path / "o.db")})
    assert verdict is Verdict.WARNING
    assert "400 MB of room for 500" in text
    room(monkeypatch, 0, total=0)  # /proc, for one
    assert (await only(outbox={"path": str(tmp_path / "o.db")}))[0] is Verdict.FAULT


# Endpoints.


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    async def serve(reader: Any, _writer: Any) -> None:
        assert await reader.read() == b"", "nobody says a word"

    async with server(serve) as port:
        yield port


def webhooks(outbox: Path, *urls: str, private: bool = True) -> dict[str, Any]:
    given: Sequence[dict[str, Any]] = [
        {"name": f"n{at}", "url": url, "secret_env": "CRM", "allow_private": private}
        for at, url in enumerate(urls)
    ]
    return {"outbox": {"path": str(outbox)}, "sinks": {"webhooks": given}}


async def test_each_webhook_is_connected_to(tmp_path: Path) -> None:
    async with listening() as port:
        url = f"http://127.0.0.1:{port}/"
        found = await checked(
            **webhooks(tmp_path / "o.db", url, "http://127.0.0.1:1/", "https://127.0.0.1:1/")
        )
    assert found["webhook:n0"].verdict is Verdict.OK
    assert found["webhook:n1"] == Finding(
        "webhook:n1",
        Verdict.FAULT,
        "Connection refused",
        "see its url, allow_private and ca_file, and the firewall: docs/webhooks.md",
    )
    assert found["webhook:n2"].verdict is Verdict.FAULT


async def test_redis_is_asked(tmp_path: Path, redis: RedisServer) -> None:
    given = {"outbox": {"path": str(tmp_path / "o.db")}, "sinks": {"redis": {"url": redis.url}}}
    found = (await checked(**given))["redis"]
    assert found.verdict is Verdict.OK
    assert found.text.endswith(" takes entries")
    redis.kill()
    found = (await checked(**given))["redis"]
    assert (found.verdict, found.text) == (Verdict.FAULT, "Redis is not to be reached (Connection refused)")


# The file of events, and the spool.


async def test_a_file_of_events_wants_its_folder_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert (await only(sinks={"jsonl": {"path": str(path)}}))[:2] == (Verdict.OK, f"{path} can be written")
    assert not path.exists()
    for wrong in (tmp_path / "none" / "events.jsonl", tmp_path):
        verdict, text, mend = await only(sinks={"jsonl": {"path": str(wrong)}})
        assert (verdict, text) == (Verdict.FAULT, f"{wrong} cannot be written by this user")
        assert mend.startswith(f'sudo install -d -m 750 -o "$(id -un)" {wrong.parent}, ')


async def test_a_spools_folder_that_can_be_had_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"
    assert (await only(spool={"folder": str(folder)}))[:2] == (Verdict.OK, f"{folder} can be written")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").write_text("")
    verdict, text, _ = await only(spool={"folder": str(folder)})
    assert (verdict, text) == (Verdict.FAULT, f"{folder} cannot be written by this user")


# What is listened on.


async def test_a_pages_port_is_free_or_the_daemons_or_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    given: dict[str, Any] = {"page": {"port": port}}
    assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is free")
    async with open_page(config(**given), Book(), FeedSink()):
        assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is the daemon's that runs")

    async def another(_reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")

    async with server(another) as other:
        verdict, _, mend = await only(page={"port": other})
    assert (verdict, mend) == (Verdict.FAULT, "give another page.port")


async def test_a_feeds_port_is_free_or_the_daemons_or_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    given: dict[str, Any] = {"sinks": {"feed": {"port": port}}}
    assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is free")
    async with open_feed(config(**given), FeedSink()):
        assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is the daemon's that runs")

    async def another(_reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n[]")

    async with server(another) as other:
        verdict, text, _ = await only(sinks={"feed": {"port": other}})
    assert (verdict, text) == (Verdict.FAULT, f"127.0.0.1:{other} is not to be had (Address already in use)")


async def test_the_port_of_metrics_is_free_or_the_daemons_or_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    given: dict[str, Any] = {"metrics": {"port": port}}
    assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is free")
    async with open_metrics(config(**given), lambda: ["the PBX is not connected"]):
        assert (await only(**given))[:2] == (Verdict.OK, f"127.0.0.1:{port} is the daemon's that runs")

    async def another(_reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")

    async with server(another) as other:
        verdict, _, mend = await only(metrics={"port": other})
    assert (verdict, mend) == (Verdict.FAULT, "give another metrics.port")


async def test_a_socket_is_free_or_the_daemons_or_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    given = {"admin": {"socket": str(path)}}
    assert (await only(**given))[:2] == (Verdict.OK, f"{path} can be had")
    async with open_control(config(**given), None):
        assert (await only(**given))[:2] == (Verdict.OK, f"a daemon answers at {path}")
    path.write_text("")
    assert (await only(**given))[:2] == (Verdict.FAULT, f"{path} is something else than a socket")
    lost = tmp_path / "none" / "admin.sock"
    verdict, text, _ = await only(admin={"socket": str(lost)})
    assert (verdict, text) == (Verdict.FAULT, f"{lost.parent} is no folder that this user may write to")


async def test_a_socket_that_somebody_else_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def other(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

    with unix_listener(path) as listener:
        async with Serving(guarded(other), listener):
            verdict, _, mend = await only(admin={"socket": str(path)})
    assert verdict is Verdict.WARNING
    assert "another user" in mend
