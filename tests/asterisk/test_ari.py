"""The ARI client against the real Asterisk: events, reconnection, refusals, and the tap it starts."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from bridge.emulator.codebook import SENTENCES
from bridge.net import lasting
from bridge.net.ami import Ami
from bridge.net.ari import Ari, AriRefused
from bridge.wire import ari, pbxevents
from bridge.wire.pbxclock import PbxClock
from bridge.wire.pbxevents import Connected, Disconnected, Gone, PbxUnreachable
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for
from tests.asterisk.pbx_config import READER
from tests.asterisk.record import tone
from tests.asterisk.test_calls import prompts
from tests.orders import order

T = TypeVar("T")
Seen = Connected | Disconnected | ari.AriEvent


class Listener:
    """All that `events()` gave, in order."""

    def __init__(self, client: Ari) -> None:
        self.client = client
        self.seen: list[Seen] = []
        self._news = asyncio.Event()

    async def follow(self) -> None:
        async with aclosing(self.client.events()) as events:
            async for event in events:
                self.seen.append(event)
                self._news.set()

    async def until(
        self, kind: type[T], number: int = 1, which: Callable[[T], bool] = lambda _: True
    ) -> list[T]:
        """The first `number` events of a type that pass `which`, as soon as they are there; 5 s at most."""
        async with asyncio.timeout(5):
            while True:
                found: list[T] = [event for event in self.seen if isinstance(event, kind) and which(event)]
                if len(found) >= number:
                    return found
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def listening(pbx: Asterisk, app: str = "rtzr-bridge", **options: Any) -> AsyncIterator[Listener]:
    """A client that follows events, connected unless its user or password is another."""
    username, password = options.pop("username", pbx.username), options.pop("password", pbx.password)
    async with Ari(pbx.ari_url, username, password, app, **options) as client:
        listener = Listener(client)
        following = asyncio.create_task(listener.follow())
        try:
            if (username, password) == (pbx.username, pbx.password):
                await listener.until(Connected)
            yield listener
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def on(channel: str) -> Callable[[pbxevents.ChannelDestroyed | pbxevents.ChannelStateChange], bool]:
    return lambda event: event.channel.id == channel


async def test_call_is_followed_from_announcement_to_hangup(pbx: Asterisk) -> None:
    async with listening(pbx) as listener:
        clock = PbxClock(0.0, 0.0)
        call = pbx.two_party_call([(0.2, HANGUP)], [], ring_s=0.3)
        (announced,) = await listener.until(pbxevents.ChannelUserevent)
        clock.observe(announced.at, time.monotonic())
        assert announced.channel is not None
        assert (announced.channel.id, announced.fields["Call"]) == (call.caller, f"{call.id}/{call.caller}")
        assert announced.channel.number == "0212345678"
        assert clock.call_ms(announced.channel.created, time.monotonic()) < 200
        dials = await listener.until(pbxevents.Dial, 3, lambda dial: dial.caller is not None)
        assert [dial.status for dial in dials] == ["", "RINGING", "ANSWER"]
        assert dials[0].caller is not None
        assert (dials[0].caller.id, dials[0].peer.number) == (call.caller, call.number)
        await listener.until(pbxevents.ChannelStateChange, 1, on(call.caller))
        (gone,) = await listener.until(pbxevents.ChannelDestroyed, 1, on(call.caller))
        assert gone.cause == 16
        await listener.until(pbxevents.ChannelDestroyed, 1, on(dials[0].peer.id))
        assert listener.client.counters.malformed == listener.client.counters.ignored == 0


async def test_tap_brings_its_partys_voice_and_cleans_up(pbx: Asterisk) -> None:
    word, before = pbx.prompt("word", tone(400)), len(pbx.cdr_rows())
    with socket.socket(type=socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        port.setblocking(False)
        async with listening(pbx) as listener:
            client = listener.client
            call = pbx.two_party_call([(0.2, word), (0.1, HANGUP)], [], ring_s=0.3)
            await listener.until(pbxevents.ChannelUserevent)
            tap = await client.attach(order("rtzr-tap-1", call.caller, port.getsockname()[1]))
            source = await client.variable(tap, "UNICASTRTP_LOCAL_PORT")
            await listener.until(pbxevents.ChannelDestroyed, 1, on(tap))
            await listener.until(pbxevents.ChannelDestroyed, 1, on(call.caller))
        packets = []
        while True:
            try:
                packets.append(port.recvfrom(2048))
            except BlockingIOError:
                break
    assert {address for _, address in packets} == {("127.0.0.1", int(source or 0))}
    assert sum(len(packet) - 12 for packet, _ in packets) == pytest.approx(400 * 8, abs=320)
    wait_for(lambda: not pbx.channels(), 2, lambda: pbx.cli("core show channels"))
    assert not [row for row in pbx.cdr_rows()[before:] if "UnicastRTP" in row["channel"]]


async def test_tap_of_nothing_is_gone_at_once(pbx: Asterisk) -> None:
    async with listening(pbx) as listener:
        await listener.client.attach(order("rtzr-tap-2", "no-such-channel"))
        await listener.until(pbxevents.ChannelDestroyed, 1, on("rtzr-tap-2"))
    async with listening(pbx, tap_context="no-such-context") as listener:
        await listener.client.attach(order("rtzr-tap-3", "x"))
        await listener.until(pbxevents.ChannelDestroyed, 1, on("rtzr-tap-3"))


async def test_live_calls_are_found_by_their_mark(pbx: Asterisk) -> None:
    call = pbx.two_party_call([], [], ring_s=0.1)
    other = pbx.two_party_call([], [], ring_s=0.1, context="unannounced")
    wait_for(lambda: len(pbx.channels()) == 8, 2, lambda: pbx.cli("core show channels"))
    async with Ari(pbx.ari_url, pbx.username, pbx.password, "rtzr-bridge") as client:
        marks = {
            found.name: await client.variable(found.id, "RTZR_CALL") for found in await client.channels()
        }
        await client.bridges()
    assert {mark for name, mark in marks.items() if other.number in name} == {None}
    ours = {
        name.split("@")[1].split("-000")[0] + name[-2:]: mark
        for name, mark in marks.items()
        if call.number in name
    }
    mark = f"{call.id}/{call.caller}"
    assert ours == {"from-phones;1": None, "from-phones;2": mark, "phones;1": mark, "phones;2": mark}


async def test_restarted_pbx_is_found_again(pbx: Asterisk) -> None:
    async with listening(pbx) as listener:
        await asyncio.to_thread(pbx.restart)
        before, after = await listener.until(Connected, 2)
        assert after.pbx.started > before.pbx.started
        assert len(await listener.until(Disconnected)) == 1
        call = pbx.two_party_call([(0, HANGUP)], [], ring_s=0.1)
        await listener.until(pbxevents.ChannelDestroyed, 1, on(call.caller))


def all_stopped(pid: int) -> bool:
    """Whether every thread has taken note of SIGSTOP: until then one may still answer."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)


async def test_frozen_pbx_is_noticed_and_requests_end(pbx: Asterisk) -> None:
    async with listening(pbx, ping_s=0.3, timeout_s=0.5) as listener:
        os.kill(pbx.pid, signal.SIGSTOP)
        try:
            await asyncio.to_thread(wait_for, lambda: all_stopped(pbx.pid), 5, lambda: "not stopped")
            began = time.monotonic()
            with pytest.raises(PbxUnreachable):
                await listener.client.channels()
            await listener.until(Disconnected)
            assert time.monotonic() - began < 2.5
        finally:
            os.kill(pbx.pid, signal.SIGCONT)
        await listener.until(Connected, 2)


async def test_wrong_password_is_told_once(pbx: Asterisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "HOPELESS_S", 0.05)
    with capture_logs() as logs:
        async with listening(pbx, password="wrong-password") as listener:
            await asyncio.to_thread(
                wait_for, lambda: listener.client.counters.refused >= 3, 5, lambda: "not tried three times"
            )
            with pytest.raises(AriRefused) as refused:
                await listener.client.channels()
    assert refused.value.status == 401
    assert not listener.seen
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "ari refuses the user name or password"
    ]
    assert "wrong-password" not in str(logs)


async def test_user_that_may_only_read_is_told_once(pbx: Asterisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "HOPELESS_S", 0.05)
    with capture_logs() as logs:
        async with listening(pbx, username=READER) as listener:
            await asyncio.to_thread(
                wait_for, lambda: listener.client.counters.refused >= 3, 5, lambda: "not tried three times"
            )
    assert not listener.seen
    (told,) = [log for log in logs if log["log_level"] in ("warning", "error")]
    assert (told["log_level"], told["reason"]) == ("error", "HTTP 403 Write access denied")
    assert "read_only = no" in told["mend"]


async def test_wrong_url_is_told_with_its_mend(pbx: Asterisk) -> None:
    with capture_logs() as logs:
        async with Ari(pbx.ari_url.removesuffix("/ari"), pbx.username, pbx.password, "rtzr-bridge") as client:
            following = asyncio.create_task(Listener(client).follow())
            await asyncio.to_thread(wait_for, lambda: bool(logs), 5, lambda: "nothing told")
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert (logs[0]["log_level"], logs[0]["reason"]) == ("warning", "HTTP 404")
    assert "must end in /ari" in logs[0]["mend"]


async def test_two_clients_of_one_name_are_told(pbx: Asterisk) -> None:
    with capture_logs() as logs:
        async with listening(pbx, "same") as first, listening(pbx, "same") as second:
            (lost,) = await first.until(Disconnected)
            assert "same application name" in lost.reason
            call = pbx.two_party_call([(0, HANGUP)], [], ring_s=0.1)
            await second.until(pbxevents.ChannelDestroyed, 1, on(call.caller))
    assert [log["app"] for log in logs if log["log_level"] == "error"] == ["same"]


async def test_refusals_are_told_apart(pbx: Asterisk) -> None:
    async with Ari(pbx.ari_url, pbx.username, pbx.password, "rtzr-bridge") as client:
        await client.hangup("no-such-channel")
        assert await client.variable("no-such-channel", "RTZR_CALL") is None
        call = pbx.two_party_call([], [])
        assert await client.variable(call.phone, "RTZR_CALL") is None
        with pytest.raises(AriRefused, match="409 Channel with given unique ID already exists"):
            await client.attach(order(call.caller, call.caller))
        await client.hangup(call.phone)
    wait_for(lambda: not pbx.channels(), 2, lambda: pbx.cli("core show channels"))


async def test_absent_pbx_is_unreachable(asterisk_installed: None) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/ari"
        async with Ari(url, "u", "p", "rtzr-bridge", timeout_s=0.5) as client:
            with pytest.raises(PbxUnreachable):
                await client.channels()


async def test_what_was_said_reaches_the_application_that_is_named_and_no_other(pbx: Asterisk) -> None:
    async with listening(pbx, "crm") as crm, listening(pbx, "other") as other:
        async with listening(pbx, tells="crm") as ours:
            call = pbx.two_party_call([], [], ring_s=0.1)
            await ours.client.tell("RTZRText", call.caller, {"Role": "caller", "Text": "여보세요"})

            def said(event: pbxevents.ChannelUserevent) -> bool:
                return event.name == "RTZRText"

            (told,) = await crm.until(pbxevents.ChannelUserevent, 1, said)
            assert told.channel is not None
            assert (told.channel.id, told.fields["Text"]) == (call.caller, "여보세요")
            with pytest.raises(Gone):
                await ours.client.tell("RTZRText", "no-such-channel", {})
            pbx.hangup(call.phone)
            for listener in (crm, other, ours):
                await listener.until(pbxevents.ChannelDestroyed, 1, on(call.caller))
                events = [one for one in listener.seen if isinstance(one, pbxevents.ChannelUserevent)]
                assert len([one for one in events if said(one)]) == (listener is crm)
        async with Ari(pbx.ari_url, pbx.username, pbx.password, "rtzr-bridge", tells="nobody") as client:
            with pytest.raises(AriRefused, match="404 no client has opened the application nobody"):
                await client.tell("RTZRText", "1.1", {})


async def test_and_whoever_listens_to_ami(pbx: Asterisk) -> None:
    async with (
        listening(pbx, "crm"),
        listening(pbx, tells="crm") as ours,
        Ami("127.0.0.1", pbx.ami_port, pbx.username, pbx.password) as ami,
        aclosing(ami.events()) as events,
    ):
        await anext(events)
        call = pbx.two_party_call([], [], ring_s=0.1)
        await ours.client.tell("RTZRText", call.caller, {"Role": "caller", "Text": "여보세요"})
        async with asyncio.timeout(5):
            async for event in events:
                if isinstance(event, pbxevents.ChannelUserevent) and event.name == "RTZRText":
                    told = event
                    break
        assert told.channel is not None
        assert (told.channel.id, told.fields) == (call.caller, {"Role": "caller", "Text": "여보세요"})


async def test_finals_are_told_to_another_application(pbx: Asterisk, tmp_path: Path) -> None:
    prompts(pbx)
    sinks = {"pbx": {"user_event": "RTZRText", "application": "crm"}}
    async with listening(pbx, "crm") as crm:
        with EmulatorProcess(tmp_path) as rtzr:
            bridge = BridgeProcess(pbx, rtzr, tmp_path, sinks=sinks)
            try:
                await asyncio.to_thread(bridge.start)
                call = pbx.two_party_call([(0.5, "s0"), (2.0, HANGUP)], [])
                await asyncio.to_thread(bridge.wait_for_end, call.id)
            finally:
                bridge.kill()
        (told,) = await crm.until(pbxevents.ChannelUserevent, 1, lambda event: event.name == "RTZRText")
    assert (told.fields["Role"], told.fields["Text"]) == ("caller", SENTENCES[0])
    assert (told.fields["Call"], told.channel and told.channel.id) == (call.id, call.caller)
