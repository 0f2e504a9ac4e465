"""A site with AMI alone, on a real Asterisk: no ARI, no Stasis and no dialplan of ours."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.emulator.codebook import SENTENCES
from bridge.net.ami import Ami
from bridge.wire.pbxevents import (
    ChannelDestroyed,
    ChannelUserevent,
    Connected,
    Disconnected,
    Gone,
    PbxRefused,
)
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Script, wait_for
from tests.asterisk.pbx_config import ALMIGHTY, READER
from tests.asterisk.test_calls import dialogue, prompts
from tests.asterisk.test_rules import assert_both_heard, started_by
from tests.orders import order

RULE = {"name": "모든 전화", "match": {"context": ["unannounced", "tenant", "to-queue"]}}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def over_ami(
    pbx: Asterisk, emulator: EmulatorProcess, folder: Path, *rules: dict[str, Any], **changes: Any
) -> BridgeProcess:
    """Without ARI: at its address nobody listens."""
    prompts(pbx)
    asterisk = {"via": "ami", "ari_url": "http://127.0.0.1:9/ari", **changes.pop("asterisk", {})}
    return BridgeProcess(pbx, emulator, folder, rules=list(rules or [RULE]), asterisk=asterisk, **changes)


def assert_empty(pbx: Asterisk) -> None:
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def test_a_call_is_heard_word_for_word_and_nothing_of_ours_is_left(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with over_ami(pbx, emulator, tmp_path) as bridge:
        before, asked = len(pbx.cdr_rows()), len(pbx.log())
        other = pbx.two_party_call([(0.5, HANGUP)], [], context="outside")
        call = pbx.two_party_call(*dialogue(0, 6), context="unannounced")
        announced = pbx.two_party_call(*dialogue(1, 7))
        assert_both_heard(bridge, call.id, 0, 6)
        assert_both_heard(bridge, announced.id, 1, 7)
        assert (started_by(bridge, call.id), started_by(bridge, announced.id)) == ("모든 전화", None)
        assert bridge.events(call=other.id) == []
        assert_empty(pbx)
        assert "rtzr-bridge" not in pbx.cli("ari show apps")
        assert "rtzr-tap" not in pbx.log()[asked:]
        assert [row for row in pbx.cdr_rows()[before:] if "UnicastRTP" in row["channel"]] == []
        assert bridge.printed().count('"level": "error"') == 0
        assert bridge.terminate() == 0


def test_a_queue_and_a_variable_choose(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    queue = {"name": "sales", "match": {"queue": "sales"}}
    tenant = {"name": "acme", "match": {"variables": {"TENANT": "acme"}}}
    member: Script = [(2.0, "s8")]
    with over_ami(pbx, emulator, tmp_path, queue, tenant) as bridge:
        one = pbx.two_party_call([(4.0, "s2"), (1.5, HANGUP)], member, context="to-queue", ring_s=0.3)
        two = pbx.two_party_call(*dialogue(3, 9), context="tenant")
        assert_both_heard(bridge, two.id, 3, 9)
        assert started_by(bridge, two.id) == "acme"
        bridge.wait_for_end(one.id, 40)
        assert started_by(bridge, one.id) == "sales"
        assert bridge.finals(one.id, "caller") == [SENTENCES[2]]
    assert_empty(pbx)


@pytest.mark.parametrize("codec", ["alaw", "slin"])
def test_other_codecs_are_heard_too(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, codec: str
) -> None:
    with over_ami(pbx, emulator, tmp_path, media={"codec": codec}) as bridge:
        call = pbx.two_party_call(*dialogue(4, 10), context="unannounced")
        assert_both_heard(bridge, call.id, 4, 10)


def test_a_killed_bridge_costs_the_call_nothing_and_the_next_one_takes_it_up(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with over_ami(pbx, emulator, tmp_path) as bridge:
        call = pbx.two_party_call([(1.0, "s0"), (6.0, "s1"), (1.0, HANGUP)], [], context="unannounced")
        bridge.wait(lambda: bridge.finals(call.id, "caller") == [SENTENCES[0]], 20)
        bridge.kill()
        bridge.start()
        ended = bridge.wait_for_end(call.id, 40)
        assert bridge.finals(call.id, "caller") == [SENTENCES[0], SENTENCES[1]]
        assert (ended["verdict"], set(ended["reasons"])) == ("partial", {"joined late"})
    assert_empty(pbx)


def test_pbx_that_is_frozen_is_noticed_and_followed_again(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with over_ami(pbx, emulator, tmp_path) as bridge:
        pbx_process = pbx.pid
        began_s = time.monotonic()
        try:
            os.kill(pbx_process, signal.SIGSTOP)
            bridge.wait(lambda: '"ami connection ended"' in bridge.printed(), 8)
            assert time.monotonic() - began_s < 5
        finally:
            os.kill(pbx_process, signal.SIGCONT)
        bridge.wait(lambda: bridge.printed().count('"ami connected"') == 2, 20)
        call = pbx.two_party_call(*dialogue(5, 11), context="unannounced")
        assert_both_heard(bridge, call.id, 5, 11)


# The client alone.


@asynccontextmanager
async def client(pbx: Asterisk, username: str = "", secret: str = "", **options: Any) -> AsyncIterator[Ami]:
    async with Ami(
        "127.0.0.1", pbx.ami_port, username or pbx.username, secret or pbx.password, **options
    ) as ami:
        yield ami


async def first(ami: Ami, number: int = 1) -> list[Any]:
    seen: list[Any] = []
    async with asyncio.timeout(10), aclosing(ami.events()) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == number:
                break
    return seen


async def test_who_answers_and_what_there_is(pbx: Asterisk) -> None:
    call = pbx.two_party_call([], [], ring_s=0.1)
    wait_for(lambda: len(pbx.channels()) == 4, 2, lambda: pbx.cli("core show channels"))
    async with client(pbx) as ami, aclosing(ami.events()) as events:
        connected = await anext(events)
        assert isinstance(connected, Connected)
        assert connected.pbx.version.startswith("22.")
        assert 0 <= time.time() - connected.pbx.started < 3600
        following = asyncio.create_task(_drain(events))
        found = {one.id: one for one in await ami.channels()}
        assert found.keys() == {one["id"] for one in pbx.channels()}
        assert found[call.caller].application == "Dial"
        assert 0 <= time.time() - found[call.caller].created < 5
        assert await ami.variable(call.caller, "CHANNEL(linkedid)") == call.id
        assert await ami.variable(call.caller, "NO_SUCH") is None
        assert await ami.variable("no-such-channel", "CHANNEL(linkedid)") is None
        await ami.hangup("no-such-channel")
        with suppress(Gone):  # a tap of nothing ends at once, and may have been seen to begin
            await ami.attach(order("rtzr-bridge.calls.tap.none", "no-such-channel"))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _drain(events: Any) -> None:
    async for _ in events:
        pass


async def test_names_in_hangul_come_whole(pbx: Asterisk) -> None:
    async with client(pbx) as ami, aclosing(ami.events()) as events:
        await anext(events)
        phone = pbx.originate(
            "Local/7@unannounced/n",  # nobody has this number: the call ends by itself
            context="caller-phone",
            formats="ulaw",
            callerId='"홍길동 \\"고객\\"" <021>',
        )
        async with asyncio.timeout(5):
            async for event in events:
                if isinstance(event, ChannelDestroyed) and event.channel.id == phone:
                    ended = event.channel
                    break
    assert (ended.caller_name, ended.number) == ('홍길동 "고객"', "021")


async def test_wrong_secret_is_told_once_and_not_tried_again_soon(pbx: Asterisk) -> None:
    with capture_logs() as logs:
        async with client(pbx, secret="wrong-secret") as ami:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await first(ami)
            assert ami.counters.refused == 1
    (told,) = [log for log in logs if log["log_level"] == "error"]
    assert told["event"] == "ami refuses us"
    assert "AMI_SECRET" in told["mend"]
    assert "wrong-secret" not in str(logs)


async def test_an_account_that_may_do_too_much_is_told(pbx: Asterisk) -> None:
    for username, needless in ((pbx.username, []), (ALMIGHTY, [["command", "config", "system"]])):
        with capture_logs() as logs:
            async with client(pbx, username) as ami:
                await first(ami)
        assert [log["needless"] for log in logs if log["log_level"] == "warning"] == needless


async def test_an_account_that_may_do_too_little_is_refused_and_told(pbx: Asterisk) -> None:
    with capture_logs() as logs:
        async with client(pbx, READER) as ami:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await first(ami)
    (told,) = [log for log in logs if log["log_level"] == "error"]
    assert told["reason"] == "the account lacks the rights originate, reporting"
    assert "manager.conf" in told["mend"]


async def test_a_restarted_pbx_is_another(asterisk_installed: None) -> None:
    with Asterisk() as own:
        async with client(own) as ami, aclosing(ami.events()) as events:
            one = await anext(events)
            await asyncio.to_thread(own.restart)
            async with asyncio.timeout(15):
                seen = [await anext(events), await anext(events)]
    assert isinstance(seen[0], Disconnected)
    assert isinstance(one, Connected)
    assert isinstance(seen[1], Connected)
    assert seen[1].pbx.started >= one.pbx.started


async def test_actions_that_may_not_be_are_refused(pbx: Asterisk) -> None:
    async with client(pbx) as ami, aclosing(ami.events()) as events:
        await anext(events)
        with pytest.raises(PbxRefused):
            await ami._request({"Action": "Command", "Command": "core show version"})


async def test_finals_are_told_to_the_pbx_as_events(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """Whoever listens to AMI sees them."""
    changes = {"sinks": {"console": {"enabled": False}, "pbx": {"user_event": "RTZRText"}}}
    changes["sinks"]["jsonl"] = {"path": str(tmp_path / "events.jsonl")}
    bridge = over_ami(pbx, emulator, tmp_path, **changes)
    try:
        await asyncio.to_thread(bridge.start)
        async with client(pbx) as ami, aclosing(ami.events()) as events:
            await anext(events)
            call = await asyncio.to_thread(pbx.two_party_call, *dialogue(0, 6), context="unannounced")
            told: list[dict[str, str]] = []
            async with asyncio.timeout(30):
                async for event in events:
                    if isinstance(event, ChannelUserevent) and event.name == "RTZRText":
                        told.append(event.fields)
                        if len(told) == 2:
                            break
        await asyncio.to_thread(bridge.wait_for_end, call.id)
    finally:
        bridge.kill()
    assert [(one["Role"], one["Text"]) for one in told] == [
        ("caller", SENTENCES[0]),
        ("callee", SENTENCES[6]),
    ]
    assert {one["Call"] for one in told} == {call.id}
    assert_empty(pbx)


def test_a_variable_has_the_latest_final(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    sinks = {"pbx": {"variable": "RTZR_TEXT"}, "jsonl": {"path": str(tmp_path / "events.jsonl")}}
    with over_ami(pbx, emulator, tmp_path, sinks=sinks) as bridge:
        script: Script = [(0.8, "s0"), (1.5, "s1"), (4.0, HANGUP)]
        call = pbx.two_party_call(script, [], context="unannounced")
        bridge.wait(lambda: pbx.variable(call.caller, "RTZR_TEXT") == SENTENCES[0], 15)
        bridge.wait(lambda: pbx.variable(call.caller, "RTZR_TEXT") == SENTENCES[1], 15)
        bridge.wait_for_end(call.id)
    assert_empty(pbx)
