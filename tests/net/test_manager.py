"""bridge/net/manager.py: each known fault of panoramisk, and that it harms nobody here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.net import manager
from bridge.net.manager import ManagerConnection
from bridge.wire.pbxevents import PbxUnreachable
from tests.net.tcp import server

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


class Pbx:
    """A server that says what a test has it say, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.connections = 0
        self.writer: asyncio.StreamWriter | None = None
        self._news = asyncio.Event()
        self.answers = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        writer.write(BANNER)
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            action = dict(line.split(": ", 1) for line in lines if line)
            self.asked.append(action)
            self._news.set()
            if self.answers:
                self.say(f"Response: Success\r\nActionID: {action['ActionID']}\r\nValue: 값\r\n\r\n")

    def say(self, text: str | bytes) -> None:
        assert self.writer is not None
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def asked_for(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < number:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Pbx, ManagerConnection]]:
    pbx = Pbx()
    async with server(pbx.serve) as port:
        connection = ManagerConnection("127.0.0.1", port, None)
        try:
            await connection.open()
            yield pbx, connection
        finally:
            connection.close()


async def test_an_action_has_its_reply() -> None:
    async with connected() as (_, connection):
        (reply,) = await connection.ask({"Action": "Getvar"})
        assert reply.value == "값"
        assert connection.protocol.responses == {}


async def test_nothing_is_repeated_and_nothing_dialled_again_after_a_loss() -> None:
    """Faults 2 and 8: panoramisk connects again and sends unanswered actions once more, an Originate too."""
    async with connected() as (pbx, connection):
        pbx.answers = False
        asking = asyncio.create_task(connection.ask({"Action": "Originate", "Async": "true"}))
        await pbx.asked_for(1)
        assert pbx.writer is not None
        pbx.writer.close()
        with pytest.raises(PbxUnreachable):
            await asking
        with pytest.raises(PbxUnreachable):
            await connection.ask({"Action": "Ping"})
        assert [one async for one in connection.messages()] == []
        assert not connection.awaiting_actions
        assert pbx.connections == 1
        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        ours = [one for one in scheduled if "anager" in repr(one) and not one.cancelled()]
        assert ours == []


async def test_who_does_not_listen_to_pings_sends_none() -> None:
    """Fault 1: its own pings ask and never look at the answer."""
    async with connected() as (_, connection):
        assert connection.pinger is not None
        assert connection.pinger.cancelled()


async def test_letters_that_tcp_has_cut_are_whole() -> None:
    """Fault 4: each chunk is decoded by itself and what is cut is dropped."""
    async with connected() as (_, connection):
        await connection.ask({"Action": "Ping"})
        text = "Event: Newchannel\r\nCallerIDName: 홍길동 고객님\r\nUniqueid: 1.1\r\n\r\n".encode()
        messages = connection.messages()
        for cut in range(1, len(text)):
            connection.protocol.data_received(text[:cut])
            connection.protocol.data_received(text[cut:])
        for byte in text:
            connection.protocol.data_received(bytes([byte]))
        for _ in range(len(text)):
            message = await anext(messages)
            assert message.calleridname == "홍길동 고객님"


async def test_a_message_that_cannot_be_read_ends_this_connection_and_says_why() -> None:
    """Fault 3: asyncio would close the socket, and nobody would know why."""
    async with connected() as (_, connection):

        def broken(message: Any) -> None:
            raise KeyError("broken")

        connection.protocol.handle_message = broken
        connection.protocol.data_received(b"Event: Newchannel\r\nUniqueid: 1\r\n\r\n")
        assert [one async for one in connection.messages()] == []
        assert connection.why == "message not understood: KeyError"


async def test_a_message_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_LONGEST", 100)
    async with connected() as (_, connection):
        connection.protocol.data_received(b"Event: X\r\n" + b"a" * 200)
        assert connection.why == "a message without an end"


async def test_events_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "_MOST_WAITING", 3)
    async with connected() as (_, connection):
        connection.protocol.data_received(b"Event: X\r\nUniqueid: 1\r\n\r\n" * 5)
        assert connection.why == "3 events wait"
        assert len([one async for one in connection.messages()]) == 3


async def test_where_nobody_listens_it_is_an_error_and_no_loop() -> None:
    async with server(Pbx().serve) as port:
        pass
    connection = ManagerConnection("127.0.0.1", port, None)
    with pytest.raises(OSError):  # noqa: PT011 - whichever it is
        await connection.open()
    connection.close()


async def test_what_is_sent_is_printed_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (_, connection):
        await connection.ask({"Action": "Login", "Key": "this-is-a-key"})
    assert "this-is-a-key" not in caplog.text
