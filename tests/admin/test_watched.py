"""bridge/admin/watched.py, calls.py, tail.py, asking.py: what is asked of the daemon about its calls, by real
commands over a real socket."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from bridge import cli
from bridge.admin.asking import age, columns
from bridge.admin.calls import _listed
from bridge.admin.control import Control
from bridge.admin.unix import unix_listener
from bridge.admin.watched import Watched
from bridge.delivery.deliveries import EndpointReport
from bridge.net.rtzr import Session
from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.serving import Serving, guarded
from bridge.watching.pbxnotes import PbxNotes
from bridge.watching.status import Status
from bridge.watching.watch import Watch
from bridge.wire.channels import QuotaSettings
from tests.admin.test_control import Book, got
from tests.watching.calls import Told, now_s

CRM = EndpointReport("webhook:crm", "waiting", 3, 60, "answered 503", 5.0, 0, (), 0, 1, 0)


@dataclass
class Daemon:
    """As much of one as is asked here."""

    path: Path
    watch: Watch = field(default_factory=Watch)
    reasons: list[str] = field(default_factory=list)
    outbox: Outbox | None = None
    stopped: int = 0

    def stop(self) -> None:
        self.stopped += 1

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        status = Status(lambda: self.reasons)
        pbx = SimpleNamespace(counters=SimpleNamespace(connected=1, disconnected=0))
        governor = SimpleNamespace(counters=SimpleNamespace(held=0), settings=QuotaSettings(max_sessions=20))
        status.begin(cast("Pbx", pbx), cast("Governor[Session]", governor), PbxNotes())
        deliveries = None if self.outbox is None else Book([CRM])
        routes = Watched(self.watch, status, deliveries, self.outbox, self.stop).routes()
        with unix_listener(self.path) as listener:
            async with Serving(guarded(Control(None, more=routes).app()), listener):
                yield

    async def said(self, *arguments: str) -> Result:
        """What a command prints."""
        given = [*arguments, "--socket", str(self.path)]
        return await asyncio.to_thread(CliRunner().invoke, cli.app, given)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    one = Daemon(tmp_path / "a.sock")
    async with one.served():
        yield one


async def test_calls_are_listed_with_what_was_said_last(daemon: Daemon) -> None:
    call, over = Told(), Told("call-2", rule="")
    await daemon.watch.put([*call.begins(), call.says("안녕", final=False), *over.begins(), *over.ends(300)])
    daemon.watch.book.stand([call.stands(arrived_ms=2000, lost_ms=1500)], now_s())
    told = await daemon.said("calls")
    titles, first, leg = told.stdout.splitlines()
    assert cell_len(titles.partition("SAID LAST")[0]) == cell_len(leg.partition("1.5 s lost")[0]), (
        "they stand below each other"
    )
    id_, age_ms, *rest = first.split()
    assert (id_, age_ms[:4], rest) == ("call-1", "00:0", ["live", "rule", "sales"])
    assert leg.startswith("  caller ***5678 김철수  ")
    assert leg.endswith("streaming  -20 dB         1.5 s lost  안녕 …")
    assert "call-2" in (await daemon.said("calls", "--all")).stdout
    (shown,) = json.loads((await daemon.said("calls", "--json")).stdout)["calls"]
    assert (shown["id"], shown["legs"][0]["partial"]) == ("call-1", "안녕")


async def test_a_line_is_no_longer_than_the_terminal(daemon: Daemon) -> None:
    call = Told("8f10d536-5bbe-49f4-b06f-b7100a11cbac")
    await daemon.watch.put([*call.begins(), call.says("고객님 성함을 다시 말씀해 주세요 " * 5 + "끝")])
    *_, leg = (await daemon.said("calls")).stdout.splitlines()
    assert cell_len(leg) > 120, "all of it in a pipe"
    *_, leg = _listed(daemon.watch.calls(), 80).splitlines()
    assert 78 <= cell_len(leg) <= 80
    assert leg.endswith("말씀해 주세요 끝"), "what was said last"


async def test_that_there_is_no_call_is_told(daemon: Daemon) -> None:
    assert (await daemon.said("calls")).stdout == ("no call is in progress; --all shows those that ended\n")
    assert (await daemon.said("calls", "--all")).stdout == "no call is known yet\n"


async def test_a_story_is_told_by_how_a_leg_begins(daemon: Daemon) -> None:
    call = Told("phone/1", "chan#1?")
    await daemon.watch.put([*call.begins(), call.says("안녕\x1b[2J하세요")])
    for beginning in ("phone/1", "phone/1/chan#1?", "chan#", "ph"):
        told = await daemon.said("why", beginning)
        assert told.exit_code == 0, told.stderr
        assert told.stdout.startswith("call phone/1, since ")
    assert "“안녕 [2J하세요”" in told.stdout
    shown = json.loads((await daemon.said("why", "phone/1", "--json")).stdout)
    assert [note["kind"] for note in shown["timeline"]] == ["pbx", "utterance"]
    assert shown["deliveries"] == []


async def test_who_is_not_there_or_not_alone_is_told_with_the_mend(daemon: Daemon) -> None:
    await daemon.watch.put([*Told("17.1").begins(), *Told("17.2").begins()])
    for command in ("why", "tail"):
        told = await daemon.said(command, "zz")
        assert told.exit_code == 1
        assert told.stderr == (
            f"{command}: zz: no call here, nor among those that ended last; rtzr-bridge calls lists them\n"
        )
        told = await daemon.said(command, "17")
        assert told.stderr == f"{command}: 17: several begin so: 17.1, 17.2\n"
    told = await daemon.said("why", "x\x1b[2J")
    assert "\x1b" not in told.stderr


async def test_what_of_a_call_has_yet_to_be_delivered_is_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", OutboxSettings())
    await outbox.open()
    outbox.endpoints({"webhook:crm": None, "redis:x": None})
    daemon, call, other = Daemon(tmp_path / "a.sock", outbox=outbox), Told(), Told("call-2")
    await outbox.add([*call.begins(), *other.begins()])
    (first, *_) = await outbox.waiting("redis:x", 9)
    await outbox.done("redis:x", [first.seq])
    assert await outbox.of_call("call-1") == {"webhook:crm": 2, "redis:x": 1}
    assert await outbox.of_call("call-3") == {}
    await daemon.watch.put([*call.begins(), *other.begins()])
    async with daemon.served():
        told = (await daemon.said("why", "call-1")).stdout
        status = json.loads((await daemon.said("status", "--json")).stdout)
    assert told.endswith("Deliveries:\n  webhook:crm: 2 events wait, waiting (answered 503)\n")
    assert status["deliveries_waiting"] == 3
    await outbox.close()
    assert await outbox.of_call("call-1") == {}


async def test_how_the_daemon_does_is_told_and_its_code_says_whether_it_is_ready(daemon: Daemon) -> None:
    call = Told()
    await daemon.watch.put([*call.begins(), *call.ends(lost_ms=1500), *Told("b").begins()])
    told = await daemon.said("status")
    assert told.exit_code == 0
    lines = dict(line.split("  ", 1) for line in told.stdout.splitlines())
    said = {name: text.strip() for name, text in lines.items()}
    assert said["state"] == "ready"
    assert said["calls"] == "1 with 1 leg, 0 paused"
    assert said["RTZR sessions"] == "0 of 20"
    assert said["today"] == "6 won, 1.5 s of audio lost"
    daemon.reasons.append("the PBX is not connected")
    told = await daemon.said("status")
    assert told.exit_code == 1
    assert "NOT READY: the PBX is not connected" in told.stdout


async def test_the_order_to_drain_is_carried_out(daemon: Daemon) -> None:
    await daemon.watch.put(Told().begins())
    assert (await got(daemon.path, "/drain")).status_code == 405, "not by a look"
    assert daemon.stopped == 0
    assert (await daemon.said("drain")).stdout == "no new calls; 1 leg may finish\n"
    assert daemon.stopped == 1
    assert json.loads((await daemon.said("drain", "--json")).stdout) == {"legs": 1}


@asynccontextmanager
async def tailed(daemon: Daemon, *arguments: str) -> AsyncIterator[asyncio.Task[Result]]:
    """`tail` while it runs."""
    running = asyncio.create_task(daemon.said("tail", *arguments))
    async with asyncio.timeout(20):
        while not daemon.watch._readers:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
    yield running
    daemon.watch.close()
    await running


async def test_a_tail_in_a_pipe_is_a_line_for_each_final(daemon: Daemon) -> None:
    call, other = Told(), Told("call-2")
    await daemon.watch.put(call.begins())
    async with tailed(daemon) as running:
        await daemon.watch.put(
            [call.says("안", final=False), call.says("안녕하세요 고객님"), *other.begins()]
        )
        await daemon.watch.put([other.says("네", 61_200)])
    assert (await running).stdout.splitlines() == [
        "00:01.0  caller  안녕하세요 고객님",
        "#2 is call call-2",
        "#2  01:01.2  caller  네",
    ]


async def test_a_tail_of_one_call_ends_with_it_and_is_json_if_asked(daemon: Daemon) -> None:
    call, other = Told(), Told("call-2")
    await daemon.watch.put([*call.begins(), *other.begins()])
    async with tailed(daemon, "call-1", "--json") as running:
        await daemon.watch.put([other.says("아니요"), call.says("네"), *call.ends()])
        told = await running
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert [event["type"].removeprefix("rtzr.") for event in events] == [
        "call.started", "leg.started", "transcript.final", "leg.ended", "call.ended",
    ]  # fmt: skip
    assert {event["subject"] for event in events} == {"call-1"}
    assert "안녕" not in told.stdout
    assert "01012345678" not in told.stdout


@pytest.mark.parametrize("command", [("calls",), ("why", "x"), ("status",), ("drain",), ("tail",)])
def test_no_daemon_is_told_with_the_mend(tmp_path: Path, command: tuple[str, ...]) -> None:
    told = CliRunner().invoke(cli.app, [*command, "--socket", str(tmp_path / "none.sock")])
    assert told.exit_code == 1
    assert told.stderr.startswith(f"{command[0]}: no daemon answers at {tmp_path}/none.sock; is it running")
    file = tmp_path / "bridge.yaml"
    file.write_text("drain_s: 3\n")
    told = CliRunner().invoke(cli.app, [*command, "--config", str(file)])
    assert (told.exit_code, "admin.socket: is not set" in told.stderr) == (2, True)


@pytest.mark.parametrize(
    "command", ["calls", "status", "drain", "deliveries", "reload", "why x", "pause x", "resume x", "tail"]
)
def test_with_json_what_stands_in_the_way_is_a_document_too(tmp_path: Path, command: str) -> None:
    given = [*command.split(), "--json", "--socket", str(tmp_path / "none.sock")]
    told = CliRunner().invoke(cli.app, given)
    assert (told.exit_code, json.loads(told.stdout)) == (1, {"error": told.stderr.rstrip("\n")})
    given[-2:] = ["--config", str(tmp_path / "none.yaml")]
    told = CliRunner().invoke(cli.app, given)
    assert (told.exit_code, json.loads(told.stdout)) == (2, {"error": told.stderr.rstrip("\n")})


@pytest.mark.parametrize("name", [".", "..", "../calls", "/", "a/../b", "%2E", "?x", "#"])
async def test_any_text_is_a_calls_name(daemon: Daemon, name: str) -> None:
    told = await daemon.said("why", name)
    assert (told.exit_code, "no call here" in told.stderr) == (1, True), told.stderr


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found", "does not know this command"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nOh.", "failed to answer (500); see its log"),
        (b"", "does not answer; see its log"),
    ],
)
async def test_a_daemon_of_another_version_or_a_broken_one_is_told_apart(
    tmp_path: Path, answered: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.admin.client._TIMEOUT_S", 0.5)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answered)
        await reader.read()
        writer.close()

    daemon = Daemon(tmp_path / "a.sock")
    async with await asyncio.start_unix_server(answer, str(daemon.path)):
        for command in ("calls", "tail"):
            told = await daemon.said(command)
            assert told.exit_code == 1
            assert words in told.stderr


async def test_too_many_readers_are_told(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.watching.watch._MOST_READERS", 0)
    told = await daemon.said("tail")
    assert (told.exit_code, told.stderr) == (1, "tail: 0 read along already\n")


async def test_a_stranger_that_answers_a_tail_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: hi\n")
        await writer.drain()
        writer.close()

    daemon = Daemon(tmp_path / "a.sock")
    async with await asyncio.start_unix_server(answer, str(daemon.path)):
        told = await daemon.said("tail")
    assert told.exit_code == 1
    assert "is no rtzr-bridge" in told.stderr


def test_columns_stand_below_each_other_though_hangul_is_wide() -> None:
    assert columns([["가나", "x", "1"], ["abcde", "", "2"]]) == ["가나   x  1", "abcde     2"]
    assert columns([]) == []


@pytest.mark.parametrize(("s", "words"), [(5, "5 s"), (65, "1 min"), (7300, "2 h"), (200_000, "2 d")])
def test_an_age_is_told_in_its_biggest_unit(s: float, words: str) -> None:
    assert age(s) == words


async def test_events_come_as_server_sent_ones(daemon: Daemon) -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.path))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as http:
        async with http.stream("GET", "/tail") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith(":"), "at once, so that who asked knows that it is heard"
        assert (await http.get("/tail?call=none")).status_code == 404


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_a_tail_whose_reader_is_gone_ends(daemon: Daemon, options: tuple[str, ...]) -> None:
    call = Told()
    await daemon.watch.put([*call.begins(), *Told("call-2").begins()])
    line = ["-m", "bridge", "tail", *options, "--socket", str(daemon.path)]
    read, write = os.pipe()
    tail = await asyncio.create_subprocess_exec(sys.executable, *line, stdout=write)
    os.close(write)
    async with asyncio.timeout(30):
        while not daemon.watch._readers:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        os.close(read)
        while tail.returncode is None:
            await daemon.watch.put([call.says("네")])
            await asyncio.sleep(0.05)
    assert tail.returncode == 1


async def test_who_goes_away_reads_along_no_more(daemon: Daemon) -> None:
    _, writer = await asyncio.open_unix_connection(str(daemon.path))
    writer.write(b"GET /tail HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        while not daemon.watch._readers:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        while daemon.watch._readers:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
