"""bridge/admin/control.py, client.py, command.py: what waits is shown, tried again and dropped, over a real
socket."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge import cli
from bridge.admin.client import NoAnswer, ask
from bridge.admin.control import Control
from bridge.admin.serving import Serving
from bridge.admin.unix import unix_listener


@dataclass
class Backlog:
    waiting: int
    since: float | None
    error: str


@dataclass
class Outbox:
    """What waits, by endpoint."""

    waits: dict[str, Backlog] = field(default_factory=dict)
    degraded: str = ""

    async def counts(self) -> dict[str, Backlog]:
        return self.waits

    async def drop(self, endpoint: str) -> int:
        dropped, self.waits[endpoint] = self.waits[endpoint].waiting, Backlog(0, None, "")
        return dropped


@dataclass
class Endpoint:
    retried: int = 0

    def retry(self) -> None:
        self.retried += 1


@pytest.fixture
def outbox() -> Outbox:
    waits = {
        "webhook:crm": Backlog(12, time.time() - 125, "answered 503\x1b[2J"),
        "redis:calls": Backlog(0, None, ""),
        "webhook:old": Backlog(3, time.time() - 200_000, ""),
    }
    return Outbox(waits)


@asynccontextmanager
async def served(path: Path, outbox: Outbox | None, **endpoints: Endpoint) -> AsyncIterator[None]:
    named = {name.replace("_", ":"): endpoint for name, endpoint in endpoints.items()}
    with unix_listener(path) as listener:
        async with Serving(Control(outbox, named).app(), listener):
            yield


async def said(path: Path, *arguments: str) -> Result:
    """What the command prints."""
    arguments = ("deliveries", *arguments, "--socket", str(path))
    return await asyncio.to_thread(CliRunner().invoke, cli.app, arguments)


async def test_what_waits_is_told_with_since_when_and_why(tmp_path: Path, outbox: Outbox) -> None:
    path = tmp_path / "a.sock"
    async with served(path, outbox, webhook_crm=Endpoint(), redis_calls=Endpoint()):
        told = await said(path)
        shown = json.loads((await said(path, "--json")).output)
    assert told.exit_code == 0
    assert told.output.splitlines() == [
        "redis:calls  0 waiting",
        "webhook:crm  12 waiting  for 2 min  answered 503 [2J",
        "webhook:old  3 waiting   for 2 d    no such endpoint in the configuration",
    ]
    assert [(one["name"], one["waiting"], one["served"]) for one in shown["deliveries"]] == [
        ("redis:calls", 0, True),
        ("webhook:crm", 12, True),
        ("webhook:old", 3, False),
    ]
    assert shown["deliveries"][1]["why"] == "answered 503\x1b[2J"
    assert shown["deliveries"][0]["since"] is None


async def test_what_is_wrong_with_the_outbox_is_told_first(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with served(path, Outbox(degraded="the disk is full")):
        assert (await said(path)).output == "degraded: the disk is full\nno endpoint: nothing waits\n"
    async with served(path, None):
        assert "no outbox" in (await said(path)).output
        assert (await said(path, "drop", "webhook:crm")).exit_code == 1


async def test_retry_and_drop_reach_the_one_that_is_named(tmp_path: Path, outbox: Outbox) -> None:
    path, crm, calls = tmp_path / "a.sock", Endpoint(), Endpoint()
    async with served(path, outbox, webhook_crm=crm, redis_calls=calls):
        assert (await said(path, "retry", "webhook:crm")).output == "webhook:crm: is tried now\n"
        assert (crm.retried, calls.retried) == (1, 0)
        assert (await said(path, "drop", "webhook:old")).output == "webhook:old: 3 dropped\n"
        assert json.loads((await said(path, "drop", "webhook:crm", "--json")).output)["dropped"] == 12
    assert [one.waiting for one in outbox.waits.values()] == [0, 0, 0]


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_a_name_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, outbox: Outbox, action: str
) -> None:
    path = tmp_path / "a.sock"
    async with served(path, outbox, webhook_crm=Endpoint()):
        told = await said(path, action, "webhook:krm")
    assert told.exit_code == 1
    assert told.stderr.startswith("deliveries: webhook:krm: no such endpoint; there are ")
    assert "webhook:crm" in told.stderr


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 5}', b"\xff", b'{"name": "' + b"x" * 5000 + b'"}'])
async def test_a_body_that_names_nothing_is_refused(tmp_path: Path, outbox: Outbox, body: bytes) -> None:
    path = tmp_path / "a.sock"
    async with served(path, outbox):
        reader, writer = await asyncio.open_unix_connection(str(path))
        head = f"POST /deliveries/drop HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("arguments", [("retry",), ("drop",), ("mend", "webhook:crm")])
async def test_half_an_order_is_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert (await said(tmp_path / "a.sock", *arguments)).exit_code == 2


async def test_no_daemon_is_told_with_the_mend(tmp_path: Path) -> None:
    told = await said(tmp_path / "a.sock")
    assert told.exit_code == 1
    assert told.stderr == (
        f"deliveries: no daemon answers at {tmp_path}/a.sock; is it running, with this admin.socket in its "
        "configuration?\n"
    )


async def test_something_else_at_the_socket_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    path = tmp_path / "a.sock"
    async with await asyncio.start_unix_server(answer, str(path)):
        with pytest.raises(NoAnswer, match="is no rtzr-bridge"):
            await asyncio.to_thread(ask, path, "/deliveries")


def test_the_socket_is_found_by_the_configuration_without_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(f"admin: {{socket: {tmp_path}/a.sock}}\n")
    told = CliRunner().invoke(cli.app, ["deliveries", "--config", str(file)])
    assert (told.exit_code, f"at {tmp_path}/a.sock" in told.stderr) == (1, True)
    file.write_text("drain_s: 3\n")
    told = CliRunner().invoke(cli.app, ["deliveries", "--config", str(file)])
    assert told.exit_code == 2
    assert told.stderr == (
        f"{file}: admin.socket: is not set; set it and start the daemon again, or give --socket\n"
    )


async def test_who_connects_and_says_nothing_holds_nobody_up(tmp_path: Path, outbox: Outbox) -> None:
    path = tmp_path / "a.sock"
    async with served(path, outbox):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.connect(str(path))
            assert (await said(path)).exit_code == 0
