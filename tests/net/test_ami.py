"""bridge/net/ami.py against a PBX that misbehaves; against a real one, see tests/asterisk/test_ami.py."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.net import lasting
from bridge.net.ami import Ami
from bridge.wire import breaker
from bridge.wire.pbxevents import ChannelCreated, Connected, Disconnected, Gone, PbxRefused, PbxUnreachable
from tests.net.tcp import server
from tests.net.test_manager import BANNER
from tests.orders import order

INFO = "CoreStartupDate: 2026-01-02\r\nCoreStartupTime: 03:04:05\r\nAsteriskVersion: 22.10.1\r\n"
RIGHTS = "Originate: x\r\nHangup: x\r\nGetvar: x\r\nCoreShowChannels: x\r\n"
QUEUED = "Message: Originate successfully queued\r\n"


class Pbx:
    """Answers as Asterisk does, but for what `instead` has."""

    def __init__(self, **instead: str | None) -> None:
        self.instead = instead
        self.asked: list[dict[str, str]] = []
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(BANNER)
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            action = dict(line.split(": ", 1) for line in lines if line)
            self.asked.append(action)
            said = self.instead.get(action["Action"], f"Response: Success\r\n{INFO}{RIGHTS}Challenge: 1\r\n")
            if said is not None:
                head, _, rest = said.partition("\r\n")
                self.say(f"{head}\r\nActionID: {action['ActionID']}\r\n{rest}\r\n")

    def say(self, text: str) -> None:
        assert self.writer is not None
        self.writer.write(text.encode())

    def actions(self) -> list[str]:
        return [one["Action"] for one in self.asked]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(lasting, "BACKOFF_CAP_S", 0.05)
    monkeypatch.setattr(lasting, "HOPELESS_S", 0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(pbx: Pbx, **options: Any) -> AsyncIterator[tuple[Ami, Any]]:
    async with (
        server(pbx.serve) as port,
        Ami("127.0.0.1", port, "rtzr", "the-secret", timeout_s=0.5, **options) as ami,
        aclosing(ami.events()) as events,
    ):
        yield ami, events


@asynccontextmanager
async def followed(pbx: Pbx, **options: Any) -> AsyncIterator[tuple[Ami, list[Any]]]:
    """Connected, and its events taken as they come."""
    seen: list[Any] = []
    async with listening(pbx, **options) as (ami, events):
        seen.append(await anext(events))

        async def take() -> None:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - it never ends

        taking = asyncio.create_task(take())
        try:
            yield ami, seen
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


async def test_a_half_open_line_is_noticed() -> None:
    async with listening(Pbx(Ping=None), ping_s=0.05) as (_, events):
        assert isinstance(await anext(events), Connected)
        async with asyncio.timeout(2):
            ended = await anext(events)
        assert ended == Disconnected("no answer to a ping within 0.05 s")
        assert isinstance(await anext(events), Connected)


async def test_an_event_that_cannot_be_read_is_counted_and_the_next_one_comes() -> None:
    pbx = Pbx()
    async with listening(pbx) as (ami, events):
        await anext(events)
        pbx.say("Event: Newchannel\r\nChannel: x\r\n\r\nEvent: Unheard\r\n\r\n")
        pbx.say("Event: Newchannel\r\nChannel: x\r\nUniqueid: 1\r\n\r\n")
        assert isinstance(await anext(events), ChannelCreated)
        assert (ami.counters.malformed, ami.counters.ignored, ami.counters.received) == (1, 1, 3)


async def test_a_lost_line_repeats_no_action() -> None:
    pbx = Pbx(Originate=None)
    async with followed(pbx) as (ami, seen):
        asking = asyncio.create_task(ami.attach(order("tap.1")))
        await until(lambda: "Originate" in pbx.actions())
        assert pbx.writer is not None
        pbx.writer.close()
        with pytest.raises(PbxUnreachable):
            await asking
        await until(lambda: len(seen) == 3)
        assert [type(one) for one in seen] == [Connected, Disconnected, Connected]
        assert pbx.actions().count("Originate") == 1


async def test_a_tap_has_begun_when_its_own_events_say_so() -> None:
    """Whatever becomes of the reply: panoramisk waits for one that not every account is sent."""
    pbx = Pbx(Originate=f"Response: Success\r\n{QUEUED}")
    async with followed(pbx) as (ami, _):
        for tap, event, error in (
            ("tap.1", "DialBegin\r\nDestChannel: U\r\nDestUniqueid: tap.1", None),
            ("tap.2", "Hangup\r\nChannel: U\r\nUniqueid: tap.2\r\nCause: 0", Gone),
        ):
            asking = asyncio.create_task(ami.attach(order(tap)))
            await until(lambda tap=tap: any(one.get("ChannelId") == tap for one in pbx.asked))  # type: ignore[misc]
            pbx.say(f"Event: {event}\r\n\r\n")
            if error is None:
                await asking
            else:
                with pytest.raises(error):
                    await asking
        with pytest.raises(PbxUnreachable):  # it says nothing more
            await ami.attach(order("tap.3"))


async def test_a_tap_that_may_not_be_is_refused_at_once() -> None:
    pbx = Pbx(Originate="Response: Error\r\nMessage: Permission denied\r\n")
    async with followed(pbx) as (ami, _):
        with pytest.raises(PbxRefused, match="Permission denied"):
            await ami.attach(order("tap.1"))
        assert ami.counters.failed == 1


async def test_requests_fail_while_there_is_no_line() -> None:
    async with Ami("127.0.0.1", 9, "rtzr", "secret") as ami:
        with pytest.raises(PbxUnreachable):
            await ami.channels()
        assert (ami.counters.requested, ami.counters.failed) == (1, 1)


async def test_every_request_has_a_time_out() -> None:
    async with followed(Pbx(CoreShowChannels=None)) as (ami, _):
        with pytest.raises(PbxUnreachable):
            await ami.channels()


async def test_wrong_credentials_are_told_once_though_tried_again() -> None:
    pbx = Pbx(Login="Response: Error\r\nMessage: Authentication failed\r\n")
    with capture_logs() as logs:
        async with listening(pbx) as (ami, events):
            following = asyncio.create_task(anext(events))
            await until(lambda: ami.counters.refused >= 3)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["ami refuses us"]
    assert "the-secret" not in str(logs)
    assert "the-secret" not in str(pbx.asked)


async def test_classes_of_events_that_nobody_needs_are_not_asked_for() -> None:
    for variables, mask in ((False, "call,agent,user"), (True, "call,agent,user,dialplan")):
        pbx = Pbx()
        async with listening(pbx, variables=variables) as (_, events):
            await anext(events)
        assert next(one for one in pbx.asked if one["Action"] == "Login")["Events"] == mask


async def test_a_pbx_that_takes_its_time_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_SLOW_S", 0.05)
    async with followed(Pbx(CoreShowChannels=None), ping_s=60) as (ami, _):
        ami._timeout_s = 0.1
        for _ in range(3):
            with pytest.raises(PbxUnreachable):
                await ami.channels()
        assert ami.slow() == 0
        with pytest.raises(PbxUnreachable):
            await ami.channels()
        assert ami.slow() > 0.05
