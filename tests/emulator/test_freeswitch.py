"""bridge/emulator/freeswitch: it says what the recordings say, by a client that shares no line with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.freeswitch.knobs import Module, SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch
from bridge.emulator.freeswitch.voice import Voice, interleaved, mixed

ALL = "event json ALL"
Event = dict[str, str]


class Client:
    """An ESL client of a few lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.events: list[Event] = []
        self.raw: list[str] = []

    async def message(self) -> tuple[Event, str]:
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\n\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.strip().split("\n"))
            body = (await self.reader.readexactly(int(headers.get("Content-Length", 0)))).decode()
        if headers["Content-Type"] == "text/event-json":
            self.events.append(json.loads(body))
        self.raw.append(body)
        return headers, body

    def send(self, command: str) -> None:
        self.writer.write(f"{command}\n\n".encode())

    async def ask(self, command: str) -> str:
        """Its answer; events that come first are kept."""
        self.send(command)
        while True:
            headers, body = await self.message()
            if headers["Content-Type"] in ("command/reply", "api/response"):
                return body or headers.get("Reply-Text", "")

    async def event(self, name: str, subclass: str = "") -> Event:
        """The first of that name that was not taken yet."""
        while True:
            for event in self.events:
                if event["Event-Name"] == name and event.get("Event-Subclass", "") == subclass:
                    self.events.remove(event)
                    return event
            await self.message()

    async def seen(self, switch: Switch) -> list[tuple[str, str]]:
        """Event names and channels so far."""
        await self.ask("api version")
        return [(event["Event-Name"], event.get("Unique-ID", "")) for event in self.events]


@asynccontextmanager
async def connected(switch: Switch, *first: str) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", switch.port))
    try:
        assert (await client.message())[0] == {"Content-Type": "auth/request"}
        for command in first:
            assert (await client.ask(command)).startswith("+OK")
        yield client
    finally:
        client.writer.transport.abort()


class Media:
    """A media server that keeps what came."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.paths: list[str] = []
        self.frames: list[bytes] = []
        self.texts: list[str] = []
        self.closes: list[int | None] = []
        self.came = asyncio.Condition()

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.sockets.append(socket)
        self.paths.append(socket.request.path)
        try:
            while True:
                message = await socket.recv()
                (self.texts if isinstance(message, str) else self.frames).append(message)  # type: ignore[arg-type]
                async with self.came:
                    self.came.notify_all()
        except Exception:
            self.closes.append(socket.close_code)
            async with self.came:
                self.came.notify_all()

    async def until(self, frames: int = 0, sockets: int = 0, closes: int = 0) -> None:
        async with asyncio.timeout(5), self.came:
            await self.came.wait_for(
                lambda: (
                    len(self.frames) >= frames and len(self.sockets) >= sockets and len(self.closes) >= closes
                )
            )


@pytest.fixture
async def media() -> AsyncIterator[tuple[Media, str]]:
    kept = Media()
    server: Server
    async with serve(kept.handle, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield kept, f"ws://127.0.0.1:{port}"


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    async with Switch() as switch:
        yield switch


async def talking(switch: Switch) -> tuple[str, str]:
    """A bridged call's two channels."""
    call = switch.call("1001", "2000")
    await call.ring()
    await call.answer()
    return call.caller.uuid, call.callee.uuid


async def test_login_and_refusals_are_as_recorded(switch: Switch) -> None:
    async with connected(switch) as client:
        assert await client.ask("api status") == "-ERR command not found"
        assert await client.ask("auth wrong") == "-ERR invalid"
        headers, body = await client.message()
        assert (headers["Content-Type"], headers["Content-Length"]) == ("text/disconnect-notice", "67")
        assert body.startswith("Disconnected, goodbye.\n")
        assert await client.reader.read() == b""
    switch.knobs = replace(switch.knobs, acl_refuses=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", switch.port)
    assert b"text/rude-rejection" in await reader.read()
    writer.close()


async def test_commands_answer_as_recorded(switch: Switch) -> None:
    a, _ = await talking(switch)
    async with connected(switch, "auth ClueCon") as client:
        for command, answer in {
            "nosuchcommand": "-ERR command not found",
            "api nosuchapi": "-ERR nosuchapi Command not found!\n",
            "linger": "-ERR not controlling a session",
            "event plain NOSUCHEVENT": "-ERR no keywords supplied",
            "noevents": "+OK no longer listening for events",
            "bgapi status\nJob-UUID: my-own-job-id": "+OK Job-UUID: my-own-job-id",
            f"api uuid_exists {a}": "true",
            "api uuid_exists nobody": "false",
            "api module_exists mod_audio_stream": "true",
            "api module_exists mod_audio_fork": "false",
            f"api uuid_getvar {a} nothing": "_undef_",
            f"api uuid_setvar {a} RTZR it's said": "+OK\n",
            f"api uuid_getvar {a} RTZR": "it's said",
            "api uuid_setvar nobody a b": "-ERR No such channel!\n",
            f"api uuid_setvar_multi {a} one=1;two=2;RTZR=": "+OK\n",
            f"api uuid_getvar {a} two": "2",
            f"api uuid_getvar {a}  RTZR": "_undef_",
            "api uuid_setvar_multi nobody a=b": "-ERR No such channel!\n",
            f"api uuid_audio_stream {a} bogus": "-ERR Operation Failed\n",
            f"api uuid_audio_stream {a} stop": "-ERR Operation Failed\n",
            f"api uuid_audio_stream {a} start ws://127.0.0.1:1/x leftright 8k": "-ERR no reply\n",
            f"api uuid_audio_stream {a} start http://127.0.0.1:1/x mono 8k": "-ERR Operation Failed\n",
            f"api uuid_audio_stream {a} start ws://stt_bridge:1/x mono 8k": "-ERR Operation Failed\n",
            f"api uuid_audio_stream {a} start ws://127.0.0.1:1/x mono 11025": "-ERR Operation Failed\n",
            "api uuid_audio_stream nobody start ws://127.0.0.1:1/x mono 8k": "-ERR Operation Failed\n",
            f"api uuid_audio_fork {a} stop": "-ERR uuid_audio_fork Command not found!\n",
        }.items():
            assert await client.ask(command) == answer, command
        assert (await client.ask("api uuid_audio_stream")).startswith("-USAGE: ")
        assert await client.ask("exit") == "+OK bye"
        assert (await client.message())[0]["Content-Type"] == "text/disconnect-notice"


async def test_only_what_was_asked_for_is_told(switch: Switch) -> None:
    async with (
        connected(switch, "auth ClueCon", "event json CHANNEL_ANSWER CUSTOM rtzr::call") as some,
        connected(switch, "auth ClueCon", "event plain CHANNEL_BRIDGE") as plain,
    ):
        call = switch.call("1001", "2000")
        await call.ring(announce=True)
        await call.answer()
        assert [name for name, _ in await some.seen(switch)] == ["CUSTOM", "CHANNEL_ANSWER", "CHANNEL_ANSWER"]
        announced = await some.event("CUSTOM", "rtzr::call")
        assert announced["variable_RTZR_CALL"] == f"{call.uuid}/{call.uuid}"
        headers, body = await plain.message()
        assert headers["Content-Type"] == "text/event-plain"
        assert "FreeSWITCH-IPv6: fd00%3A%3A2\n" in body
        assert f"Bridge-B-Unique-ID: {call.callee.uuid}\n" in body


async def test_a_job_and_a_sent_event_come_back_as_events(switch: Switch) -> None:
    async with connected(switch, "auth ClueCon", "event json BACKGROUND_JOB CUSTOM rtzr::text") as client:
        client.send("bgapi version")
        job = await client.event("BACKGROUND_JOB")
        assert (job["Job-Command"], job["_body"][:18]) == ("version", "FreeSWITCH Version")
        text = "안녕하세요"
        size = len(text.encode())
        client.send(f"sendevent CUSTOM\nEvent-Subclass: rtzr::text\nleg: 1\nContent-Length: {size}")
        client.writer.write(text.encode())
        assert (await client.event("CUSTOM", "rtzr::text"))["_body"] == text
        assert switch.received[0]["leg"] == "1"


async def test_a_call_that_the_caller_hangs_up(switch: Switch) -> None:
    async with connected(switch, "auth ClueCon", ALL) as client:
        call = switch.call("1001", "2000")
        await call.ring()
        await call.answer()
        await call.hang_up("caller")
        a, b = call.caller.uuid, call.callee.uuid
        seen = [
            pair for pair in await client.seen(switch) if pair[0] not in ("CHANNEL_CALLSTATE", "CALL_UPDATE")
        ]
        assert seen == [
            ("CHANNEL_CREATE", a),
            ("CHANNEL_OUTGOING", b),
            ("CHANNEL_CREATE", b),
            ("CHANNEL_ORIGINATE", b),
            ("CHANNEL_PROGRESS", b),
            ("CHANNEL_PROGRESS", a),
            ("CHANNEL_ANSWER", b),
            ("CHANNEL_ANSWER", a),
            ("CHANNEL_BRIDGE", a),
            ("CHANNEL_HANGUP", a),
            ("CHANNEL_HANGUP", b),
            ("CHANNEL_HANGUP_COMPLETE", b),
            ("CHANNEL_UNBRIDGE", a),
            ("CHANNEL_DESTROY", b),
            ("CHANNEL_HANGUP_COMPLETE", a),
            ("CHANNEL_DESTROY", a),
        ]
        created = await client.event("CHANNEL_CREATE")
        assert (created["Caller-Caller-ID-Number"], created["Caller-Destination-Number"]) == ("1001", "2000")
        assert (await client.event("CHANNEL_CREATE"))["Channel-Call-UUID"] == a
        bridged = await client.event("CHANNEL_BRIDGE")
        assert (bridged["Bridge-A-Unique-ID"], bridged["Bridge-B-Unique-ID"]) == (a, b)
        ends = [await client.event("CHANNEL_HANGUP_COMPLETE") for _ in range(2)]
        assert [end["variable_sip_hangup_disposition"] for end in ends] == ["send_bye", "recv_bye"]
        assert any(raw.count('"Hangup-Cause"') == 2 for raw in client.raw)
        assert switch.channels == {}


@pytest.mark.parametrize(
    ("by", "answered", "caller", "callee"),
    [
        ("callee", True, "NORMAL_CLEARING send_bye", "NORMAL_CLEARING recv_bye"),
        ("callee", False, "USER_BUSY send_refuse", "USER_BUSY recv_refuse"),
        ("caller", False, "ORIGINATOR_CANCEL recv_cancel", "ORIGINATOR_CANCEL send_cancel"),
        ("switch", True, "CALL_REJECTED send_bye", "NORMAL_CLEARING send_bye"),
    ],
)
async def test_who_hung_up_is_told_by_the_disposition(
    switch: Switch, by: str, answered: bool, caller: str, callee: str
) -> None:
    async with connected(switch, "auth ClueCon", "event json CHANNEL_HANGUP_COMPLETE") as client:
        call = switch.call("1001", "2000")
        await call.ring()
        if answered:
            await call.answer()
        await call.hang_up(by, "CALL_REJECTED" if by == "switch" else "NORMAL_CLEARING")
        ends = {}
        for _ in range(2):
            event = await client.event("CHANNEL_HANGUP_COMPLETE")
            ends[event["Unique-ID"]] = f"{event['Hangup-Cause']} {event['variable_sip_hangup_disposition']}"
        assert ends == {call.caller.uuid: caller, call.callee.uuid: callee}


async def test_channels_and_calls_are_shown(switch: Switch) -> None:
    async with connected(switch, "auth ClueCon") as client:
        assert json.loads(await client.ask("api show channels as json")) == {"row_count": 0}
        a, b = await talking(switch)
        shown = json.loads(await client.ask("api show channels as json"))
        assert [(row["uuid"], row["direction"], row["call_uuid"]) for row in shown["rows"]] == [
            (a, "inbound", a),
            (b, "outbound", a),
        ]
        assert {row["callstate"] for row in shown["rows"]} == {"ACTIVE"}
        calls = json.loads(await client.ask("api show calls as json"))
        assert [(row["uuid"], row["b_uuid"]) for row in calls["rows"]] == [(a, b)]
        assert await client.ask("api show channels count") == "\n2 total.\n"
        assert await client.ask(f"api uuid_kill {a}") == "+OK\n"
        assert json.loads(await client.ask("api show channels as json")) == {"row_count": 0}


async def test_a_transfer_a_park_and_a_meeting(switch: Switch) -> None:
    async with connected(switch, "auth ClueCon", ALL) as client:
        call, other = switch.call("1001", "2000"), switch.call("1002", "2001")
        for one in (call, other):
            await one.ring()
            await one.answer()
        left = call.callee.uuid
        await call.transfer("3000")
        assert left not in switch.channels
        assert switch.channels[call.caller.uuid].peer is call.callee
        assert await client.ask(f"api uuid_bridge {call.caller.uuid} {other.callee.uuid}") == (
            f"+OK {other.callee.uuid}\n"
        )
        assert set(switch.channels) == {call.caller.uuid, other.callee.uuid}
        await call.park()
        assert set(switch.channels) == {call.caller.uuid}
        await call.hang_up()
        names = [name for name, _ in await client.seen(switch)]
        assert (names.count("CHANNEL_BRIDGE"), names.count("CHANNEL_UNBRIDGE")) == (4, 4)
        assert names[-1] == "CHANNEL_DESTROY"
        assert (names.count("CHANNEL_PARK"), names.count("CHANNEL_UNPARK")) == (1, 1)


async def test_both_legs_of_a_click_to_call_are_outbound(switch: Switch) -> None:
    async with connected(switch, "auth ClueCon", "event json CHANNEL_BRIDGE CHANNEL_CREATE") as client:
        call = switch.call("agent", "customer", click=True)
        await call.ring()
        assert call.caller.callstate == "RING_WAIT"
        await call.answer()
        assert (await client.event("CHANNEL_CREATE"))["Call-Direction"] == "outbound"
        assert (await client.event("CHANNEL_CREATE"))["Caller-Caller-ID-Number"] == "agent"
        assert (await client.event("CHANNEL_BRIDGE"))["Unique-ID"] == call.caller.uuid


async def test_a_loopback_call_for_a_check(switch: Switch, media: tuple[Media, str]) -> None:
    kept, url = media
    async with connected(switch, "auth ClueCon", ALL) as client:
        command = "api originate {origination_uuid=0-1,RTZR=1}loopback/9996/default &park()"
        assert await client.ask(command) == "+OK 0-1\n"
        assert (await client.event("CHANNEL_PARK"))["variable_RTZR"] == "1"
        assert await client.ask(f"api uuid_audio_stream 0-1 start {url}/x mono 8k") == "+OK Success\n"
        await kept.until(frames=3)
        assert await client.ask("api uuid_kill 0-1") == "+OK\n"
        await kept.until(closes=1)


async def test_a_stream_plays_its_party_in_real_time(switch: Switch, media: tuple[Media, str]) -> None:
    kept, url = media
    a, _ = await talking(switch)
    async with connected(switch, "auth ClueCon", ALL) as client:
        command = f"api uuid_audio_stream {a} start {url}/key mono 8k"
        assert await client.ask(command + ' {"a": 1}') == "+OK Success\n"
        assert await client.ask(command) == "-ERR Operation Failed\n"
        event = await client.event("CUSTOM", "mod_audio_stream::connect")
        assert (event["Unique-ID"], event["_body"]) == (a, '{"status":"connected"}')
        pcm = say(SENTENCES[0])
        ends_s = switch.say(switch.channels[a], pcm)
        await kept.until(frames=2 + spoken_ms(SENTENCES[0]) // 20 + 5)
        assert asyncio.get_running_loop().time() >= ends_s
        assert (kept.paths, kept.texts) == (["/key"], ['{"a": 1}'])
        assert {len(frame) for frame in kept.frames} == {320}
        assert kept.frames[:2] == [b"\xff" * 320] * 2
        assert pcm in b"".join(kept.frames[2:])
        assert await client.ask(f"api uuid_audio_stream {a} stop bye now") == "+OK Success\n"
        await kept.until(closes=1)
        assert (kept.closes, kept.texts[1:]) == ([1000], ["bye"])
        assert not [event for event in client.events if event.get("Event-Subclass")]


@pytest.mark.parametrize(
    ("mix", "rate", "size"), [("mono", 16_000, 640), ("mixed", 24_000, 960), ("stereo", 8000, 640)]
)
async def test_mixes_and_rates(
    switch: Switch, media: tuple[Media, str], mix: str, rate: int, size: int
) -> None:
    kept, url = media
    a, _ = await talking(switch)
    async with connected(switch, "auth ClueCon") as client:
        await client.ask(f"api uuid_audio_stream {a} start {url}/key {mix} {rate}")
        await kept.until(frames=3)
    assert {len(frame) for frame in kept.frames} == {size}


async def test_hold_and_pause_send_nothing_and_make_nothing_late(
    switch: Switch, media: tuple[Media, str]
) -> None:
    kept, url = media
    call = switch.call("1001", "2000")
    await call.ring()
    await call.answer()
    async with connected(switch, "auth ClueCon", ALL) as client:
        await client.ask(f"api uuid_audio_stream {call.uuid} start {url}/key mono 8k")
        await kept.until(frames=3)
        await call.hold()
        stream = switch.streams[0]
        assert stream._frame(10_000) == b""
        await call.unhold()
        await client.ask(f"api uuid_audio_stream {call.uuid} pause")
        assert stream._frame(10_000) == b""
        await client.ask(f"api uuid_audio_stream {call.uuid} resume")
        assert stream._frame(10_000) == bytes(320)
        names = [name for name, _ in await client.seen(switch)]
        assert names.index("CHANNEL_HOLD") < names.index("CHANNEL_UNHOLD")


async def test_stereo_stays_late_by_the_time_that_nothing_was_written(
    switch: Switch, media: tuple[Media, str]
) -> None:
    _, url = media
    call = switch.call("1001", "2000")
    await call.ring()
    async with connected(switch, "auth ClueCon", ALL) as client:
        switch.knobs = replace(switch.knobs, never_connect=True)
        await client.ask(f"api uuid_audio_stream {call.uuid} start {url}/key stereo 8k")
        assert (await client.event("CHANNEL_PROGRESS_MEDIA"))["Answer-State"] == "early"
        stream = switch.streams[0]
        origin_s = stream._origin_s
        call.caller.voice.say(b"\x01\x00" * 160, origin_s + 1)
        assert [stream._frame(number) for number in (50, 51)] == [b"", b""]
        await call.answer()
        assert stream._frame(52)[:4] == b"\x01\x00\x00\x00"
        call.caller.peer = None
        call.caller.variables["send_silence_when_idle"] = "-1"
        assert len(stream._frame(53)) == 640


async def drop(kept: Media, how: str) -> None:
    if how == "close":
        await kept.sockets[0].close(1011, "backend down")
    else:
        kept.sockets[0].transport.abort()


@pytest.mark.parametrize(
    ("module", "how", "event", "body", "start_again"),
    [
        (
            Module.AUDIO_STREAM,
            "close",
            "disconnect",
            '{"status":"disconnected","message":{"code":1011,"reason":"backend down"}}',
            False,
        ),
        (
            Module.AUDIO_STREAM,
            "reset",
            "error",
            '{"status":"error","message":{"code":1,"error":"Connection reset by peer (system error 104)"}}',
            True,
        ),
        (Module.AUDIO_FORK, "close", "disconnect", "", False),
        (Module.AUDIO_FORK, "reset", "disconnect", "", False),
    ],
)
async def test_after_a_drop_each_module_does_as_recorded(
    media: tuple[Media, str], module: Module, how: str, event: str, body: str, start_again: bool
) -> None:
    kept, url = media
    async with (
        Switch(SwitchKnobs(module=module)) as switch,
        connected(switch, "auth ClueCon", ALL) as client,
    ):
        a, _ = await talking(switch)
        start = f"api {module.command} {a} start {url}/key mono 8000"
        assert await client.ask(start) == "+OK Success\n"
        await client.event("CUSTOM", f"{module.file}::connect")
        await kept.until(frames=3)
        await drop(kept, how)
        assert (await client.event("CUSTOM", f"{module.file}::{event}")).get("_body", "") == body
        assert (await client.ask(start) == "+OK Success\n") is start_again
        if not start_again:
            assert await client.ask(f"api {module.command} {a} stop") == "+OK Success\n"
            assert await client.ask(start) == "+OK Success\n"
        await kept.until(sockets=2)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_the_old_generation_comes_back_by_itself(media: tuple[Media, str], how: str) -> None:
    kept, url = media
    async with (
        Switch(SwitchKnobs(module=Module.AUDIO_STREAM_OLD)) as switch,
        connected(switch, "auth ClueCon", ALL) as client,
    ):
        a, _ = await talking(switch)
        await client.ask(f"api uuid_audio_stream {a} start {url}/key mono 8k me")
        await client.event("CUSTOM", "mod_audio_stream::connect")
        await kept.until(frames=3)
        await drop(kept, how)
        lost = json.loads((await client.event("CUSTOM", "mod_audio_stream::disconnect"))["_body"])
        assert lost["message"]["code"] == (1011 if how == "close" else 1006)
        await client.event("CUSTOM", "mod_audio_stream::connect")
        assert kept.texts == ["me", "me"]
        await client.ask(f"api uuid_audio_stream {a} stop")
        gone = json.loads((await client.event("CUSTOM", "mod_audio_stream::disconnect"))["_body"])
        assert gone["message"] == {"code": 1000, "reason": "Normal closure"}


@pytest.mark.parametrize(
    ("module", "event", "stays"),
    [
        (Module.AUDIO_STREAM, "error", False),
        (Module.AUDIO_STREAM_OLD, "error", False),
        (Module.AUDIO_FORK, "connect_failed", True),
    ],
)
async def test_a_server_that_is_not_there(module: Module, event: str, stays: bool) -> None:
    async with (
        Switch(SwitchKnobs(module=module)) as switch,
        connected(switch, "auth ClueCon", ALL) as client,
    ):
        a, _ = await talking(switch)
        command = f"api {module.command} {a}"
        assert await client.ask(f"{command} start ws://127.0.0.1:9/x mono 8000") == "+OK Success\n"
        await client.event("CUSTOM", f"{module.file}::{event}")
        assert bool(switch.channels[a].streams) is stays


async def test_a_server_that_never_upgrades_is_left_after_its_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with (
        server,
        Switch(SwitchKnobs(connect_timeout_s=0.05)) as switch,
        connected(switch, "auth ClueCon", ALL) as client,
    ):
        a, _ = await talking(switch)
        port = server.sockets[0].getsockname()[1]
        await client.ask(f"api uuid_audio_stream {a} start ws://127.0.0.1:{port}/x mono 8k")
        event = await client.event("CUSTOM", "mod_audio_stream::error")
        assert event["_body"] == '{"status":"error","message":{"code":10,"error":"Timeout"}}'


async def test_two_forks_with_names_of_their_own(media: tuple[Media, str]) -> None:
    kept, url = media
    async with (
        Switch(SwitchKnobs(module=Module.AUDIO_FORK)) as switch,
        connected(switch, "auth ClueCon", ALL) as client,
    ):
        a, _ = await talking(switch)
        command = f"api uuid_audio_fork {a}"
        assert await client.ask(f'{command} start {url}/1 mono 8000 one {{"bug":1}}') == "+OK Success\n"
        assert await client.ask(f"{command} start {url}/2 mono 16000 two") == "+OK Success\n"
        await kept.until(sockets=2, frames=6)
        assert kept.texts == ['{"bug":1}']
        assert await client.ask(f"{command} stop") == "-ERR Operation Failed\n"
        assert await client.ask(f"{command} graceful-shutdown one") == "+OK Success\n"
        assert await client.ask(f"{command} stop two") == "+OK Success\n"
        await kept.until(closes=1)
        assert b"" in kept.frames


async def test_faults_on_demand(switch: Switch, media: tuple[Media, str]) -> None:
    kept, url = media
    a, _ = await talking(switch)
    async with connected(switch, "auth ClueCon", ALL) as client:
        start = f"api uuid_audio_stream {a} start {url}/a mono 8k"
        switch.knobs = SwitchKnobs(refuse_start=True)
        assert await client.ask(start) == "-ERR Operation Failed\n"
        switch.knobs = SwitchKnobs(connect_twice=True, connect_delay_s=0.01)
        assert await client.ask(start) == "+OK Success\n"
        await kept.until(sockets=2, frames=3)
        assert kept.paths == ["/a", "/a"]
        switch.drop_streams(a)
        await client.event("CUSTOM", "mod_audio_stream::error")
        switch.knobs = SwitchKnobs(swallow=("version",))
        client.send("api version")
        assert await client.ask("api uuid_exists x") == "false"
        switch.close_esl()
        assert await client.reader.read() == b""
    assert switch.commands[-2:] == ["version", "uuid_exists x"]
    await switch.deafen()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", switch.port)
    await switch.listen()
    async with connected(switch, "auth ClueCon"):
        assert switch.clients == 1


async def test_text_from_the_server_is_an_event(media: tuple[Media, str]) -> None:
    kept, url = media
    for module, text, event, body in (
        (Module.AUDIO_STREAM, "plain text", "json", "plain text"),
        (
            Module.AUDIO_FORK,
            '{"type":"transcription","data":{"text":"안녕"}}',
            "transcription",
            '{"text":"안녕"}',
        ),
    ):
        async with (
            Switch(SwitchKnobs(module=module)) as switch,
            connected(switch, "auth ClueCon", ALL) as client,
        ):
            a, _ = await talking(switch)
            await client.ask(f"api {module.command} {a} start {url}/a mono 8000")
            await client.event("CUSTOM", f"{module.file}::connect")
            await kept.until(sockets=1)
            await kept.sockets.pop().send(text)
            assert (await client.event("CUSTOM", f"{module.file}::{event}"))["_body"] == body


def test_a_voice_has_its_place_in_time() -> None:
    voice = Voice(100.0)
    assert voice.say(b"\x01\x00" * 200, 101.0) == pytest.approx(101.04)
    assert voice.frame(49, 8000) == bytes(320)
    assert voice.frame(50, 8000) == b"\x01\x00" * 160
    assert voice.frame(51, 8000) == b"\x01\x00" * 40 + bytes(240)
    assert len(voice.frame(50, 24_000)) == 960


def test_two_channels_become_one() -> None:
    assert interleaved(b"\x01\x00\x02\x00", b"\x03\x00\x04\x00") == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    loud = np.array([30_000, -30_000], "<i2").tobytes()
    assert np.frombuffer(mixed(loud, loud), "<i2").tolist() == [32767, -32768]
