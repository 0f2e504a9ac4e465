"""bridge/net/esl.py against what a real FreeSWITCH said, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from bridge.net import esl as net
from bridge.net.esl import EslConnection, EslCounters, Forbidden
from bridge.wire import esl
from bridge.wire.esl import EslEvent
from bridge.wire.pbxevents import PbxError, PbxRefused, PbxUnreachable
from tests.esl import INBOUND, talk
from tests.net.tcp import server

PASSWORD = "the-password"
GREETING = b"Content-Type: auth/request\n\n"
GOODBYE = b"Content-Type: text/disconnect-notice\nContent-Length: 5\n\nbye.\n"
REJECTION = b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def reply(text: str) -> bytes:
    return f"Content-Type: command/reply\nReply-Text: {text}\n\n".encode()


def response(text: str) -> bytes:
    body = text.encode()
    return b"Content-Type: api/response\nContent-Length: %d\n\n" % len(body) + body


def event(name: str, **headers: str) -> bytes:
    fields = "".join(f',"{key}":"{value}"' for key, value in headers.items())
    body = f'{{"Event-Name":"{name}"{fields}}}'.encode()
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n" % len(body) + body


class Pbx:
    """Logs in whoever comes, and answers as `says` has it: by the first words of a command, None for never.

    What `says` does not know is +OK.
    """

    def __init__(self, **says: bytes | None) -> None:
        self.says = {"auth": reply("+OK accepted"), "api status": response("UP\n"), **says}
        self.asked: list[str] = []
        self.writer: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()
        """The client has closed."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(GREETING)
        try:
            while True:
                command = (await reader.readuntil(b"\n\n")).decode().removesuffix("\n\n")
                self.asked.append(command)
                self._answer(command)
        finally:
            self.ended.set()

    def _answer(self, command: str) -> None:
        fitting = [words for words in self.says if command.startswith(words)]
        said = self.says[max(fitting, key=len)] if fitting else None
        if not fitting:
            said = response("+OK\n") if command.startswith("api ") else reply("+OK")
        if said is not None:
            self.say(said)

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


@asynccontextmanager
async def connected(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    timeout_s: float = 2.0,
    ping_s: float = 60.0,
    password: str = PASSWORD,
) -> AsyncIterator[EslConnection]:
    async with server(serve) as port:
        connection = EslConnection(ping_s=ping_s)
        try:
            await connection.open("127.0.0.1", port, password, timeout_s)
            yield connection
        finally:
            connection.close()


async def rest(connection: EslConnection) -> list[EslEvent]:
    """Its events to the end."""
    async with asyncio.timeout(5):
        return [one async for one in connection.events()]


# As recorded.


class Recorded:
    """The FreeSWITCH of a recording: says, after each command that comes, what it said then."""

    def __init__(self, connection: str, most: int = 1 << 20) -> None:
        self.talk = talk(INBOUND, connection)
        self.most = most
        """Bytes at a time."""

    def commands(self) -> list[str]:
        return [data.decode().strip() for who, data in self.talk if who == "us2fs"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for who, data in self.talk:
            if who == "us2fs":
                assert await reader.readuntil(b"\n\n") == data
                continue
            for at in range(0, len(data), self.most):
                writer.write(data[at : at + self.most])
                await writer.drain()


@pytest.mark.parametrize("most", [1 << 20, 100, 7])
async def test_a_recorded_connection_from_login_to_goodbye(most: int) -> None:
    pbx, answers = Recorded("esl", most), dict[str, str]()
    async with connected(pbx.serve, password="ClueCon") as connection:
        for command in pbx.commands()[1:]:
            kind = esl.API_RESPONSE if command.startswith("api ") else esl.COMMAND_REPLY
            data = f"{command}\n\n".encode()
            try:
                answers[command] = (await connection._request(data, kind, command, None)).reply
            except PbxRefused as error:
                answers[command] = f"{error}"
        assert answers["api version"].startswith("FreeSWITCH Version 1.10.12-release+git~")
        assert answers["api nosuchapi"] == "-ERR nosuchapi Command not found!"
        assert answers["event plain NOSUCHEVENT"] == "-ERR no keywords supplied"
        assert answers["exit"] == "+OK bye"
        events = await rest(connection)
        assert connection.why == "the PBX takes leave"
    names = ["CHANNEL_CREATE", "CHANNEL_HANGUP_COMPLETE", "CHANNEL_HANGUP_COMPLETE"]
    assert [one.name for one in events] == names
    assert len({one.headers["Unique-ID"] for one in events}) == 2
    counters = connection.counters
    assert (counters.received, counters.malformed, counters.requested) == (3, 3, len(pbx.commands()) - 1)
    assert counters.failed == sum(one.startswith("-ERR") for one in answers.values())


async def test_a_recorded_wrong_password_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="refuses the password") as refused:
        async with connected(Recorded("esl_wrong_pw").serve, password="wrong"):
            pass
    assert "ESL_PASSWORD" in refused.value.mend


# Login.


@pytest.mark.parametrize("rejection", [REJECTION, REJECTION + GOODBYE, GREETING + REJECTION])
async def test_an_access_list_that_refuses_is_named(rejection: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(rejection)

    with pytest.raises(Forbidden, match=r"apply-inbound-acl of event_socket\.conf\.xml") as refused:
        async with connected(refuse):
            pass
    assert "apply-inbound-acl" in refused.value.mend


async def test_nobody_there_is_unreachable() -> None:
    async with connected(Pbx().serve):
        pass
    async with server(Pbx().serve) as port:
        pass
    with pytest.raises(PbxUnreachable):
        await EslConnection().open("127.0.0.1", port, PASSWORD, 2.0)


@pytest.mark.parametrize("said", [b"", GREETING, GREETING + b"Content-Type: comm"])
async def test_who_does_not_answer_a_login_is_unreachable(said: bytes) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        try:
            while await reader.read(100):
                pass
        finally:
            ended.set()

    async with server(silent) as port:
        connection = EslConnection()
        with pytest.raises(PbxUnreachable, match=r"no login within 0\.05 s"):
            await connection.open("127.0.0.1", port, PASSWORD, 0.05)
        await asyncio.wait_for(ended.wait(), 2)
        assert await rest(connection) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "closed by the PBX"),
        (GREETING, "closed by the PBX"),
        (b"SSH-2.0-OpenSSH_9.2\n\n", "not understood: header lines without a Content-Type"),
        (b"Content-Type: auth/request\nContent-Length: 99999999999\n\n", "not understood: Content-Length"),
        (reply("+OK accepted"), "a reply to nothing that was asked"),
        (GREETING + response("+OK"), "kind api/response instead of command/reply"),
    ],
)
async def test_a_login_that_goes_wrong_is_unreachable_and_says_why(said: bytes, why: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING if said.startswith(GREETING) else said)
        if said.startswith(GREETING):
            await reader.readuntil(b"\n\n")
            writer.write(said.removeprefix(GREETING))

    with pytest.raises(PbxUnreachable, match=why):
        async with connected(answer):
            pass


async def test_a_login_that_is_given_up_leaves_nothing() -> None:
    pbx = Pbx(auth=None)
    async with server(pbx.serve) as port:
        connection = EslConnection()
        opening = asyncio.create_task(connection.open("127.0.0.1", port, PASSWORD, 5.0))
        async with asyncio.timeout(2):
            while not pbx.asked:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(pbx.ended.wait(), 2)


async def test_the_password_is_never_told() -> None:
    said: list[str] = []
    with capture_logs() as logs:
        for pbx in (Pbx(auth=reply(f"-ERR {PASSWORD}")), Pbx(auth=reply(PASSWORD))):
            with pytest.raises(Forbidden) as refused:
                async with connected(pbx.serve):
                    pass
            said.append(f"{refused.value!r} {refused.value.mend}")
        connection = EslConnection()
        with pytest.raises(PbxError) as unsendable:
            await connection.open("127.0.0.1", 1, f"{PASSWORD}\n", 1.0)
        said.append(f"{unsendable.value!r} {vars(connection)}")
    assert PASSWORD not in f"{said} {logs}"


# Asking.


async def test_subscribing_names_custom_last_and_shutdown_too() -> None:
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        await connection.subscribe(["CHANNEL_CREATE", "HEARTBEAT"], ["mod_audio_stream::connect"])
        with pytest.raises(PbxError):
            await connection.subscribe(["CUSTOM"])
    assert pbx.asked[1:] == ["event json CHANNEL_CREATE HEARTBEAT SHUTDOWN CUSTOM mod_audio_stream::connect"]


async def test_a_subscription_that_is_refused() -> None:
    async with connected(Pbx(event=reply("-ERR permission denied")).serve) as connection:
        with pytest.raises(PbxRefused, match="permission denied"):
            await connection.subscribe(["CHANNEL_CREATE"])


async def test_replies_belong_to_commands_in_order_though_events_come_between() -> None:
    pbx = Pbx(**{f"api echo {n}": event("A") + response(f"{n}") + event("B") for n in range(100)})
    async with connected(pbx.serve) as connection:
        asking = [asyncio.create_task(connection.api("echo", f"{n}")) for n in range(100)]
        assert await asyncio.gather(*asking) == [f"{n}" for n in range(100)]
    assert connection.counters == EslCounters(received=200, requested=100)


@pytest.mark.parametrize("why", ["-ERR Operation Failed\n", "-USAGE: <uuid> [start | stop]\n"])
async def test_a_command_that_is_refused_says_why_and_the_connection_stays(why: str) -> None:
    async with connected(Pbx(**{"api no": response(why + "x" * 300)}).serve) as connection:
        with pytest.raises(PbxRefused) as refused:
            await connection.api("no")
        assert f"{refused.value}".startswith(why.strip())
        assert len(f"{refused.value}") == 200
        assert await connection.api("yes") == "+OK\n"
        assert (connection.counters.requested, connection.counters.failed) == (2, 1)


async def test_a_command_that_was_not_looked_at_is_answered_by_a_command_reply() -> None:
    async with connected(Pbx(api=reply("-ERR permission denied")).serve) as connection:
        with pytest.raises(PbxRefused, match="permission denied"):
            await connection.api("uuid_kill", "x")


async def test_an_event_is_sent() -> None:
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        await connection.send_event("rtzr::transcript", {"RTZR-Final": "true"})
        with pytest.raises(PbxError):
            await connection.send_event("rtzr::transcript", {"Unique-ID": "x"})
    assert pbx.asked[1:] == ["sendevent CUSTOM\nEvent-Subclass: rtzr::transcript\nRTZR-Final: true"]


@pytest.mark.parametrize("half", [b"", response("+OK done\n")[:-3], b"Content-Type: api/resp"])
async def test_half_a_reply_and_then_silence_ends_the_connection(half: bytes) -> None:
    pbx = Pbx(**{"api slow": half})
    async with connected(pbx.serve) as connection:
        with pytest.raises(PbxUnreachable, match=r"no reply to slow within 0\.05 s"):
            await connection.api("slow", "secret", timeout_s=0.05)
        await asyncio.wait_for(pbx.ended.wait(), 2)
        with pytest.raises(PbxUnreachable, match="no reply to slow"):
            await connection.api("fast")
        assert await rest(connection) == []
        assert connection.why == "no reply to slow within 0.05 s"
        assert (connection.counters.requested, connection.counters.failed) == (2, 2)


async def test_who_no_longer_waits_for_a_reply_takes_nobody_elses() -> None:
    pbx = Pbx(**{"api slow": None})
    async with connected(pbx.serve) as connection:
        slow = asyncio.create_task(connection.api("slow"))
        await asyncio.sleep(0)
        slow.cancel()
        fast = asyncio.create_task(connection.api("fast"))
        await asyncio.sleep(0)
        assert not fast.done()
        pbx.says["api fast"] = response("slow's") + response("fast's")
        assert await fast == "fast's"


async def test_a_queue_of_requests_is_no_time_out_while_replies_come() -> None:
    """Each one's time runs from the reply before it: 20 wait here, for twice as long as one may take."""
    pbx = Pbx(api=None)
    async with connected(pbx.serve, timeout_s=0.4) as connection:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(connection.api("uuid_getvar", f"{number}")) for number in range(20)]
            for number in range(20):
                await asyncio.sleep(0.04)  # as long as a PBX takes for one
                pbx.say(response(f"{number}\n"))
        assert [one.result().strip() for one in asking] == [f"{number}" for number in range(20)]
        assert connection.counters.failed == 0
        with pytest.raises(PbxUnreachable, match=r"no reply to quick within 0\.4 s"):
            await connection.api("quick")


async def test_in_a_queue_whose_replies_cease_the_next_one_is_named_and_all_end() -> None:
    pbx = Pbx(**{"api": None, "api first": response("1")})
    async with connected(pbx.serve, timeout_s=0.2) as connection:
        asking = [connection.api(name) for name in ("first", "second", "third")]
        first, *others = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 2)
        assert first == "1"
        assert {f"{one}" for one in others} == {"no reply to second within 0.2 s"}
        assert {type(one) for one in others} == {PbxUnreachable}
        assert connection.counters.failed == 2


async def test_a_short_time_does_not_run_while_a_longer_command_is_carried_out() -> None:
    pbx = Pbx(api=None)
    async with connected(pbx.serve) as connection:
        slow = asyncio.create_task(connection.api("slow"))
        quick = asyncio.create_task(connection.api("quick", timeout_s=0.05))
        await asyncio.sleep(0.15)
        pbx.say(response("slow's"))
        with pytest.raises(PbxUnreachable, match=r"no reply to quick within 0\.05 s"):
            await quick
        assert await slow == "slow's"


async def test_behind_one_that_nobody_waits_for_a_command_has_its_own_time() -> None:
    pbx = Pbx(api=None)
    async with connected(pbx.serve) as connection:
        slow = asyncio.create_task(connection.api("slow", timeout_s=0.2))
        await asyncio.sleep(0)
        slow.cancel()
        fast = asyncio.create_task(connection.api("fast", timeout_s=0.4))
        await asyncio.sleep(0.3)
        assert not connection.why
        with pytest.raises(PbxUnreachable, match=r"no reply to fast within 0\.4 s"):
            await fast


async def test_a_reply_that_nobody_asked_for_ends_it() -> None:
    async with connected(Pbx(**{"api a": response("+OK") * 2}).serve) as connection:
        assert await connection.api("a") == "+OK"
        assert await rest(connection) == []
        assert connection.why == "a reply to nothing that was asked"


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (
            b"Content-Type: api/response\nContent-Length: 16777217\n\n",
            "not understood: body of 16777217 bytes",
        ),
        (b"\0\1\2garbage\n\n", "not understood: header lines without a Content-Type"),
        (b"x" * 70_000, "not understood: header lines of "),
        (GOODBYE, "the PBX takes leave"),
        (REJECTION, "the PBX's access list"),
    ],
)
async def test_the_end_is_told_to_whoever_waits_and_events_before_it_are_heard(end: bytes, why: str) -> None:
    pbx = Pbx(**{"api a": event("A") + end + event("B")})
    async with connected(pbx.serve) as connection:
        with pytest.raises((PbxUnreachable, PbxRefused)):
            await connection.api("a")
        assert [one.name for one in await rest(connection)] == ["A"]
        assert connection.why.startswith(why)
        await asyncio.wait_for(pbx.ended.wait(), 2)


@pytest.mark.parametrize("half", [b"", event("B")[:-1], b"Content-Type: text/ev"])
async def test_a_close_in_the_middle_of_a_message(half: bytes) -> None:
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        pbx.say(event("A") + half)
        assert pbx.writer is not None
        pbx.writer.close()
        assert [one.name for one in await rest(connection)] == ["A"]
        assert connection.why == "closed by the PBX"


async def test_a_reset_says_so() -> None:
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        assert pbx.writer is not None
        pbx.writer.transport.abort()
        assert await rest(connection) == []
        assert connection.why


# Events.


async def test_an_event_that_cannot_be_read_is_counted_and_the_next_one_is_heard() -> None:
    bomb = b'{"a":' * 50_000
    bad = b"Content-Type: text/event-json\nContent-Length: %d\n\n" % len(bomb) + bomb
    other = b"Content-Type: log/data\nContent-Length: 2\n\nhi"
    pbx = Pbx()
    with capture_logs() as logs:
        async with connected(pbx.serve) as connection:
            pbx.say(bad + other + bad + event("A") + GOODBYE)
            assert [one.name for one in await rest(connection)] == ["A"]
    assert (connection.counters.received, connection.counters.malformed) == (3, 3)
    assert len(logs) == 1


async def test_a_flood_that_nobody_looks_at_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "_MOST_WAITING", 50)
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        pbx.say(b"".join(event("A", n=f"{n}") for n in range(60)))
        await asyncio.wait_for(pbx.ended.wait(), 2)
        assert connection.why == "50 events wait to be looked at"
        assert [one.headers["n"] for one in await rest(connection)] == [f"{n}" for n in range(50)]
        assert (connection.counters.received, connection.counters.dropped) == (51, 1)


async def test_a_flood_of_bytes_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "_MOST_WAITING_BYTES", 10_000)
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        pbx.say(event("A", x="x" * 6000) * 2)
        await asyncio.wait_for(pbx.ended.wait(), 2)
        assert len(await rest(connection)) == 1
        assert connection._waiting_bytes == 0


async def test_a_consumer_that_never_waits_does_not_keep_the_loop() -> None:
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        pbx.say(event("A") * 1000 + event("SYNC"))
        assert await connection.api("a") == "+OK\n"  # all of them are here by now
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(others())
        async for one in connection.events():
            if one.name == "SYNC":
                break
        assert turns >= 10
        beside.cancel()


async def test_the_pbx_is_read_while_nobody_listens_to_events() -> None:
    pbx = Pbx(**{"api big": event("A", x="x" * 10_000) * 500 + response("done")})
    async with connected(pbx.serve) as connection:
        assert await connection.api("big") == "done"
        assert connection.counters.received == 500


async def test_shutdown_ends_it_after_the_hangups_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "_LAST_WORDS_S", 0.05)
    pbx = Pbx()
    async with connected(pbx.serve) as connection:
        pbx.say(event("SHUTDOWN") + event("CHANNEL_HANGUP_COMPLETE"))
        assert [one.name for one in await rest(connection)] == ["SHUTDOWN", "CHANNEL_HANGUP_COMPLETE"]
        assert connection.why == "the PBX shuts down"
        await asyncio.wait_for(pbx.ended.wait(), 2)


async def test_closing_ends_events_and_requests() -> None:
    pbx = Pbx(**{"api slow": None})
    async with connected(pbx.serve) as connection:
        hearing = asyncio.create_task(rest(connection))
        asking = asyncio.create_task(connection.api("slow"))
        await asyncio.sleep(0)
        connection.close()
        connection.close()
        with pytest.raises(PbxUnreachable, match="closed"):
            await asking
        assert await hearing == []
        assert connection.why == "closed"
        await asyncio.wait_for(pbx.ended.wait(), 2)


async def test_after_closing_no_event_comes_that_waited() -> None:
    pbx = Pbx(**{"api a": event("A") + response("+OK")})
    async with connected(pbx.serve) as connection:
        await connection.api("a")
        connection.close()
        assert await rest(connection) == []
        assert connection.counters.received == 1


# Proof of life.


async def test_a_half_open_link_is_noticed() -> None:
    pbx = Pbx(**{"api status": None})
    async with connected(pbx.serve, ping_s=0.05) as connection:
        assert await rest(connection) == []
        assert connection.why == "no answer to a ping within 0.05 s"
        await asyncio.wait_for(pbx.ended.wait(), 2)
    assert pbx.asked[1:] == ["api status"]
    assert connection.counters == EslCounters()


async def test_an_idle_link_that_answers_stays() -> None:
    pbx = Pbx()
    async with connected(pbx.serve, ping_s=0.2) as connection:
        async with asyncio.timeout(5):
            while len(pbx.asked) < 4:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        assert not connection.why
        assert set(pbx.asked[1:]) == {"api status"}


async def test_a_ping_that_is_refused_is_an_answer() -> None:
    pbx = Pbx(**{"api status": reply("-ERR permission denied")})
    async with connected(pbx.serve, ping_s=0.2) as connection:
        async with asyncio.timeout(5):
            while len(pbx.asked) < 3:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        assert not connection.why


async def test_a_link_that_goes_dead_after_a_ping_was_overtaken_by_an_event_is_noticed() -> None:
    pbx = Pbx(**{"api status": event("A")})
    async with connected(pbx.serve, ping_s=0.2) as connection:
        assert len(await rest(connection)) == 1
        assert connection.why == "no answer to a ping within 0.2 s"


async def test_a_command_may_take_its_own_time() -> None:
    pbx = Pbx(**{"api slow": None})
    async with connected(pbx.serve, ping_s=0.2) as connection:
        with pytest.raises(PbxUnreachable, match=r"no reply to slow within 0\.5 s"):
            await connection.api("slow", timeout_s=0.5)
    assert "api status" not in pbx.asked[pbx.asked.index("api slow") :]


async def test_a_pbx_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "_MOST_BUFFERED", 10_000)
    asleep = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readuntil(b"\n\n")
        writer.write(reply("+OK accepted"))
        await asleep.wait()

    async with connected(deaf) as connection:
        asking = [asyncio.create_task(connection.api("a", "x" * 500_000)) for _ in range(40)]
        done = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
        assert {type(one) for one in done} == {PbxUnreachable}
        assert connection.why == "the PBX does not read"
