"""bridge/admin/control.py, client.py, command.py: what waits is shown, tried again and dropped, over a real
socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from bridge import cli
from bridge.admin.client import NoAnswer, ask
from bridge.admin.control import Asked, Control
from bridge.admin.unix import unix_listener
from bridge.delivery.deliveries import Deliveries, EndpointReport
from bridge.delivery.delivering import Resting
from bridge.outbox.outbox import NotDropped, Outbox, OutboxSettings
from bridge.outbox.stored import Rejected, Stored
from bridge.serving import Serving, guarded
from tests.sinks.test_feed import final

CRM = EndpointReport("webhook:crm", "waiting", 12, 125, "answered 503\x1b[2J", 61.04, 1, (), 5, 6, 0)
CALLS = EndpointReport("redis:calls", "delivering", 0, 0, "", 0, 0, (), 7, 0, 0)
OLD = EndpointReport("webhook:old", "unknown", 3, 200_000, "", 0, 0, (), 0, 0, 0)


@dataclass
class Book:
    """Deliveries that write down what was ordered."""

    reports: list[EndpointReport] = field(default_factory=lambda: [CRM, CALLS, OLD])
    degraded: str = ""
    retried: list[str | None] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    async def report(self) -> list[EndpointReport]:
        return self.reports

    def retry(self, name: str | None = None) -> bool:
        self.retried.append(name)
        return name in (None, "webhook:crm", "redis:calls")

    async def drop(self, name: str) -> int:
        if self.degraded:
            raise NotDropped(self.degraded)
        self.dropped.append(name)
        return next(one.waiting for one in self.reports if one.name == name)


@pytest.fixture
def book() -> Book:
    return Book()


@asynccontextmanager
async def served(path: Path, deliveries: Asked | None, *reasons: str) -> AsyncIterator[None]:
    with unix_listener(path) as listener:
        async with Serving(guarded(Control(deliveries, lambda: list(reasons)).app()), listener):
            yield


async def got(path: Path, what: str) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as http:
        return await http.get(what)


async def test_it_lives_and_is_ready_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with served(path, None):
        for what, text in (("/health", "ok\n"), ("/ready", '{"ready":true,"reasons":[]}')):
            answer = await got(path, what)
            assert (answer.status_code, answer.text) == (200, text)
    async with served(path, None, "the PBX is not connected"):
        assert (await got(path, "/health")).status_code == 200
        answer = await got(path, "/ready")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reasons": ["the PBX is not connected"]}


async def test_the_metrics_are_read_there(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with served(path, None):
        answer = await got(path, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"rtzr_bridge_legs", "rtzr_bridge_outbox_degraded", "rtzr_bridge_deliveries_waiting"} <= families


async def said(path: Path, *arguments: str) -> Result:
    """What the command prints."""
    arguments = ("deliveries", *arguments, "--socket", str(path))
    return await asyncio.to_thread(CliRunner().invoke, cli.app, arguments)


async def test_what_waits_is_told_with_since_when_and_why(tmp_path: Path, book: Book) -> None:
    path = tmp_path / "a.sock"
    async with served(path, book):
        told = await said(path)
        shown = json.loads((await said(path, "--json")).output)
    assert told.exit_code == 0
    assert told.output.splitlines() == [
        "redis:calls  0 waiting",
        "webhook:crm  12 waiting  for 2 min  answered 503 [2J; next try in 61 s",
        "webhook:old  3 waiting   for 2 d    no such endpoint in the configuration",
    ]
    calls, crm, old = shown["deliveries"]
    assert {key: crm[key] for key in asdict(CRM)} == asdict(CRM) | {"rests": []}
    age = datetime.now(UTC) - datetime.fromisoformat(crm["since"])
    assert 124 < age.total_seconds() < 200
    assert (calls["since"], old["state"]) == (None, "unknown")


@pytest.mark.parametrize(
    ("resting", "rests", "told"),
    [
        (1, [Resting("answered 500", 1, "c0", 2470.0)],
         "1 call rests: answered 500; next try in 41 min (call c0); 3 given up"),
        (7, [Resting("answered 500", 4, "c0", 61.4), Resting("reset", 2, "c\x1b9", 7300)],
         ("4 calls rest: answered 500; next try in 61 s (call c0); 2 calls rest: reset; next try in 2 h "
         "(call c 9); 1 call rests for other reasons; 3 given up")),
        (0, [], "answered 503; 3 given up"),
    ],
)  # fmt: skip
async def test_calls_that_rest_are_told_with_why_and_until_when(
    tmp_path: Path, resting: int, rests: list[Resting], told: str
) -> None:
    report = EndpointReport(
        "webhook:crm", "delivering", 20, 7300, "answered 503", 0, resting, tuple(rests), 9, 9, 3
    )
    async with served(tmp_path / "a.sock", Book([report])):
        line = (await said(tmp_path / "a.sock")).output
        (shown,) = json.loads((await said(tmp_path / "a.sock", "--json")).output)["deliveries"]
    assert line == f"webhook:crm  20 waiting  for 2 h  {told}\n"
    assert shown["rests"] == [asdict(one) for one in rests]


async def test_what_is_wrong_with_the_outbox_is_told_first(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with served(path, Book([], degraded="the disk is full")):
        assert (await said(path)).output == "degraded: the disk is full\nno endpoint: nothing waits\n"
    async with served(path, None):
        assert "no outbox" in (await said(path)).output
        assert (await said(path, "drop", "webhook:crm")).exit_code == 1
        assert (await said(path, "retry")).stderr == "deliveries: no such endpoint; there is none\n"


async def test_retry_and_drop_reach_the_one_that_is_named(tmp_path: Path, book: Book) -> None:
    path = tmp_path / "a.sock"
    async with served(path, book):
        assert (await said(path, "retry", "webhook:crm")).output == "webhook:crm: is tried now\n"
        assert (await said(path, "retry")).output == "every endpoint: is tried now\n"
        assert (await said(path, "drop", "webhook:old")).output == "webhook:old: 3 dropped\n"
        assert json.loads((await said(path, "drop", "webhook:crm", "--json")).output)["dropped"] == 12
    assert book.retried == ["webhook:crm", None]
    assert book.dropped == ["webhook:old", "webhook:crm"]


async def test_a_drop_that_could_not_be_done_says_so(tmp_path: Path, book: Book) -> None:
    path, book.degraded = tmp_path / "a.sock", "outbox not written: disk I/O error"
    async with served(path, book):
        told = await said(path, "drop", "webhook:old")
    assert told.exit_code == 1
    assert told.stderr == f"deliveries: nothing was dropped: {book.degraded}\n"
    assert told.stdout == ""


@pytest.mark.parametrize("action", ["retry", "drop"])
async def test_a_name_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, book: Book, action: str
) -> None:
    path = tmp_path / "a.sock"
    async with served(path, book):
        told = await said(path, action, "webhook:krm")
    assert told.exit_code == 1
    assert told.stderr.startswith("deliveries: webhook:krm: no such endpoint; there are ")
    assert "webhook:crm" in told.stderr


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 5}', b"\xff", b'{"name": "' + b"x" * 5000 + b'"}'])
async def test_a_body_that_names_nothing_is_refused(tmp_path: Path, book: Book, body: bytes) -> None:
    path = tmp_path / "a.sock"
    async with served(path, book):
        reader, writer = await asyncio.open_unix_connection(str(path))
        head = f"POST /deliveries/drop HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("arguments", [("drop",), ("drop", ""), ("retry", ""), ("mend", "webhook:crm")])
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


async def test_who_connects_and_says_nothing_holds_nobody_up(tmp_path: Path, book: Book) -> None:
    path = tmp_path / "a.sock"
    async with served(path, book):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.connect(str(path))
            assert (await said(path)).exit_code == 0


class Closed:
    """An endpoint that wants nothing any more, until it does."""

    name = "webhook:crm"
    batch = 1

    def __init__(self) -> None:
        self.open = False
        self.had: list[str] = []

    async def send(self, events: Sequence[Stored]) -> None:
        if not self.open:
            raise Rejected("answered 410", gone=True)
        self.had += [event.id for event in events]


async def test_what_a_real_outbox_holds_is_shown_and_goes_out_when_told(tmp_path: Path) -> None:
    outbox, receiver = Outbox(tmp_path / "outbox.db", OutboxSettings()), Closed()
    await outbox.open()
    outbox.endpoints({receiver.name: None, "webhook:old": None})
    await outbox.add([final(1), final(2)])
    deliveries = Deliveries(outbox, [(receiver, None)])
    running = asyncio.create_task(deliveries.run())

    async def crm() -> EndpointReport:
        return next(one for one in await deliveries.report() if one.name == receiver.name)

    path = tmp_path / "a.sock"
    async with served(path, deliveries), asyncio.timeout(10):
        while (await crm()).state != "gone":  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
        shown = (await said(path)).output.splitlines()
        assert shown[0].startswith("webhook:crm  2 waiting  for ")
        assert shown[0].endswith(
            "answered 410; it wants nothing any more; rtzr-bridge deliveries retry webhook:crm"
        )
        receiver.open = True
        assert (await said(path, "retry", "webhook:crm")).exit_code == 0
        while (await crm()).waiting:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
        assert (await said(path, "drop", "webhook:old")).output == "webhook:old: 2 dropped\n"
    assert receiver.had == [final(1).id, final(2).id]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await outbox.close()
