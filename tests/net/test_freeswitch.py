"""bridge/net/freeswitch.py against the emulated FreeSWITCH, whose streams reach a media server of ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.emulator.freeswitch.knobs import Module as Loaded
from bridge.emulator.freeswitch.knobs import SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch
from bridge.net import freeswitch, lasting
from bridge.net.audiostream import AudioStreamInlet, AudioStreamServer
from bridge.net.freeswitch import FreeSwitch
from bridge.types import Codec, Frame, Transport
from bridge.wire.mediastream import TAP_VARIABLE, Module
from bridge.wire.pbxevents import (
    LINKEDID,
    STATE,
    ChannelDestroyed,
    ChannelEnteredBridge,
    Connected,
    Disconnected,
    Gone,
    PbxRefused,
    PbxUnreachable,
)
from bridge.wire.taporder import Media, TapKind, TapOrder

KEY = "0123456789abcdef" * 4
EVERY = [Loaded.AUDIO_STREAM, Loaded.AUDIO_STREAM_OLD, Loaded.AUDIO_FORK]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(lasting, "BACKOFF_CAP_S", 0.05)
    monkeypatch.setattr(lasting, "HOPELESS_S", 0.05)


async def until(condition: Callable[[], bool], within_s: float = 3) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


@dataclass
class Site:
    """A FreeSWITCH that is followed, and where its streams come in."""

    switch: Switch
    pbx: FreeSwitch
    media: AudioStreamServer
    seen: list[Any] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    inlets: list[AudioStreamInlet] = field(default_factory=list)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    def order(self, channel: str, number: int = 1, kind: TapKind = TapKind.MONO) -> TapOrder:
        key, clock = f"{KEY}{number}", asyncio.get_running_loop().time
        expected = self.media.expect(
            key, Codec.SLIN, lambda: 1000 * clock(), self.frames.extend, channels=1 + (kind is TapKind.STEREO)
        )
        self.inlets.append(expected)
        media = Media(Transport.AUDIOSTREAM, Codec.SLIN, "127.0.0.1", self.media.port, key)
        return TapOrder(kind, f"rtzr.tap.{number}", channel, media)

    def ended(self, tap: str) -> bool:
        return tap in [event.channel.id for event in self.of(ChannelDestroyed)]

    def asked(self, word: str) -> list[str]:
        return [command for command in self.switch.commands if word in command]


@asynccontextmanager
async def site(knobs: SwitchKnobs | None = None, **options: Any) -> AsyncIterator[Site]:
    async with (
        AudioStreamServer("127.0.0.1", 0) as media,
        Switch(knobs or SwitchKnobs()) as switch,
        FreeSwitch(
            "127.0.0.1", switch.port, "ClueCon", **{"timeout_s": 2, "media_wait_s": 2, **options}
        ) as pbx,
        aclosing(pbx.events()) as events,
    ):
        found = Site(switch, pbx, media)

        async def take() -> None:
            async for event in events:
                found.seen.append(event)

        taking = asyncio.create_task(take())
        try:
            await until(lambda: bool(found.seen))
            yield found
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


@asynccontextmanager
async def talking(knobs: SwitchKnobs | None = None, **options: Any) -> AsyncIterator[tuple[Site, Any]]:
    """Two people in a call."""
    async with site(knobs, **options) as found:
        call = found.switch.call("1001", "2000")
        await call.ring()
        await call.answer()
        await until(lambda: len(found.of(ChannelEnteredBridge)) == 2)
        yield found, call


# Login.


async def test_who_answers_and_what_is_loaded_is_told() -> None:
    async with site(SwitchKnobs(module=Loaded.AUDIO_FORK)) as found:
        (connected,) = found.of(Connected)
        assert connected.pbx.version.startswith("FreeSWITCH Version 1.10.12")
        assert connected.pbx.modules == {"mod_audio_fork"}


async def test_what_its_clock_shows_is_told_if_it_says() -> None:
    async with site(SwitchKnobs(ahead_s=300)) as found:
        (connected,) = found.of(Connected)
        assert connected.pbx.clock == pytest.approx(time.time() + 300, abs=5)


async def test_a_wrong_password_is_told_once_with_the_mend() -> None:
    async with Switch(SwitchKnobs(password="another")) as switch:
        pbx = FreeSwitch("127.0.0.1", switch.port, "the-secret", timeout_s=1)
        with capture_logs() as logs:
            following = asyncio.create_task(anext(pbx.events()))
            await until(lambda: pbx.counters.refused >= 3)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    errors = [log for log in logs if log["log_level"] == "error"]
    assert len(errors) == 1
    assert "ESL_PASSWORD" in errors[0]["mend"]
    assert "the-secret" not in repr(logs)


async def test_without_a_module_calls_are_followed_and_no_tap_is_had() -> None:
    with capture_logs() as logs:
        async with talking(SwitchKnobs(module=Loaded.NONE)) as (found, call):
            with pytest.raises(PbxRefused, match="mod_audio_stream"):
                await found.pbx.attach(found.order(call.uuid))
    assert [log for log in logs if log["log_level"] == "error" and "not loaded" in log["event"]]


async def test_a_module_that_is_named_is_used_and_its_absence_told() -> None:
    with capture_logs() as logs:
        async with talking(SwitchKnobs(module=Loaded.AUDIO_FORK), module=Module.AUDIO_STREAM) as (
            found,
            call,
        ):
            with pytest.raises(PbxRefused):
                await found.pbx.attach(found.order(call.uuid))
    assert [log for log in logs if log["log_level"] == "error"]


async def test_a_line_that_is_cut_is_followed_again() -> None:
    async with site() as found:
        found.switch.close_esl()
        await until(lambda: len(found.of(Connected)) == 2)
        assert len(found.of(Disconnected)) == 1


# Streams.


@pytest.mark.parametrize("module", EVERY)
async def test_a_partys_voice_comes_and_ends_with_the_call(module: Loaded) -> None:
    async with talking(SwitchKnobs(module=module)) as (found, call):
        order = found.order(call.uuid)
        assert await found.pbx.attach(order) == order.id
        await until(lambda: len(found.frames) > 5)
        assert call.caller.variables[TAP_VARIABLE] == order.id
        await call.hang_up()
        await until(lambda: not found.inlets[0].connected)
        await until(lambda: len(found.of(ChannelDestroyed)) == 2)
        await found.pbx.detach(order)
        assert found.asked(" stop") == []  # it went with the channel


@pytest.mark.parametrize("module", EVERY)
async def test_a_tap_that_is_taken_away_stops_its_stream(module: Loaded) -> None:
    async with talking(SwitchKnobs(module=module)) as (found, call):
        order = found.order(call.uuid)
        await found.pbx.attach(order)
        await found.inlets[0].close()
        await found.pbx.detach(order)
        assert len(found.asked(" stop")) == 1
        await found.pbx.attach(found.order(call.uuid, 2))  # and it can be had again


async def test_ok_is_no_connection() -> None:
    async with talking(SwitchKnobs(never_connect=True), media_wait_s=0.05) as (found, call):
        with pytest.raises(PbxUnreachable, match=r"media\.advertise"):
            await found.pbx.attach(found.order(call.uuid))


@pytest.mark.parametrize("module", EVERY)
async def test_a_stream_that_is_refused_says_why(module: Loaded) -> None:
    async with talking(SwitchKnobs(module=module)) as (found, call):
        order = found.order(call.uuid)
        await found.inlets[0].close()  # its key is good no more
        with pytest.raises(PbxRefused, match="did not reach us"):
            await found.pbx.attach(order)
        await found.pbx.detach(order)
        await found.pbx.attach(found.order(call.uuid, 2))


@pytest.mark.parametrize("module", [Loaded.AUDIO_STREAM, Loaded.AUDIO_FORK])
async def test_a_stream_that_is_lost_can_be_had_again(module: Loaded) -> None:
    async with talking(SwitchKnobs(module=module)) as (found, call):
        order = found.order(call.uuid)
        await found.pbx.attach(order)
        found.switch.drop_streams()
        await until(lambda: not found.inlets[0].connected)
        if module is Loaded.AUDIO_STREAM:  # the other does not say which it was
            await until(lambda: found.ended(order.id))
        await found.pbx.detach(order)
        again = found.order(call.uuid, 2)
        await found.pbx.attach(again)
        before = len(found.frames)
        await until(lambda: len(found.frames) > before + 5)


async def test_the_generation_that_comes_again_by_itself_is_let_be() -> None:
    async with talking(SwitchKnobs(module=Loaded.AUDIO_STREAM_OLD)) as (found, call):
        order = found.order(call.uuid)
        await found.pbx.attach(order)
        await until(lambda: len(found.frames) > 5)
        found.switch.drop_streams()
        before = len(found.frames)
        await until(lambda: len(found.frames) > before + 30)
        assert not found.ended(order.id)
        assert len(found.asked("uuid_audio_stream")) == 1


@pytest.mark.parametrize("module", EVERY)
async def test_a_stream_of_ours_from_before_is_stopped_and_started_anew(module: Loaded) -> None:
    async with talking(SwitchKnobs(module=module)) as (found, call):
        await found.pbx.attach(found.order(call.uuid))
        await found.pbx.attach(
            found.order(call.uuid, 2)
        )  # as a daemon does that was killed and started again
        assert len(found.asked(" stop")) == 1
        await until(lambda: found.inlets[1].connected)


async def test_a_stream_of_somebody_elses_is_let_be() -> None:
    async with talking() as (found, call):
        await found.pbx.attach(found.order(call.uuid))
        del call.caller.variables[TAP_VARIABLE]
        order = found.order(call.uuid, 2)
        with pytest.raises(PbxRefused):
            await found.pbx.attach(order)
        await found.pbx.detach(order)
        assert found.asked(" stop") == []


async def test_a_channel_that_another_bridge_has_taken_is_let_be() -> None:
    async with talking() as (found, call):
        order = found.order(call.uuid)
        await found.pbx.attach(order)
        call.caller.variables[TAP_VARIABLE] = "rtzr.tap.of-another"
        with pytest.raises(PbxRefused, match="another bridge"):
            await found.pbx.attach(found.order(call.uuid, 2))
        await found.pbx.detach(order)
        assert found.asked(" stop") == []


async def test_a_stream_that_is_stopped_leaves_no_mark() -> None:
    async with talking() as (found, call):
        order = found.order(call.uuid)
        await found.pbx.attach(order)
        await found.pbx.detach(order)
        assert TAP_VARIABLE not in call.caller.variables


async def test_a_module_that_is_loaded_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeswitch, "_LOOK_AGAIN_S", 0.0)
    async with talking(SwitchKnobs(module=Loaded.NONE)) as (found, call):
        with pytest.raises(PbxRefused):
            await found.pbx.attach(found.order(call.uuid))
        found.switch.knobs = replace(found.switch.knobs, module=Loaded.AUDIO_FORK)
        await found.pbx.attach(found.order(call.uuid, 2))
        found.switch.knobs = replace(found.switch.knobs, module=Loaded.AUDIO_STREAM)
        with pytest.raises(PbxRefused):
            await found.pbx.attach(found.order(call.callee.uuid, 3))
        await found.pbx.attach(found.order(call.callee.uuid, 4))


async def test_a_channel_that_is_gone_has_no_voice() -> None:
    async with talking() as (found, call):
        order = found.order(call.uuid)
        await call.hang_up()
        with pytest.raises(Gone):
            await found.pbx.attach(order)


async def test_who_hangs_up_while_a_stream_is_awaited_is_not_waited_for() -> None:
    async with talking(SwitchKnobs(never_connect=True), media_wait_s=60) as (found, call):
        attaching = asyncio.create_task(found.pbx.attach(found.order(call.uuid)))
        await until(lambda: bool(found.asked(" start")))
        await call.hang_up()
        with pytest.raises(Gone):
            await attaching


async def test_stereo_has_silence_sent_while_nothing_is_played() -> None:
    async with talking() as (found, call):
        await found.pbx.attach(found.order(call.uuid, kind=TapKind.STEREO))
        assert call.caller.variables["send_silence_when_idle"] == "-1"
        assert "stereo 8k" in found.asked(" start")[0]


# What is asked.


async def test_what_the_pbx_has() -> None:
    async with talking() as (found, call):
        await found.pbx.attach(found.order(call.uuid))
        channels = {channel.id: channel for channel in await found.pbx.channels()}
        assert set(channels) == {call.caller.uuid, call.callee.uuid, "rtzr.tap.1"}
        assert channels[call.caller.uuid].up
        assert (channels[call.callee.uuid].number, channels[call.callee.uuid].dialled) == ("2000", True)
        (bridge,) = await found.pbx.bridges()
        assert bridge.channels == {call.caller.uuid, call.callee.uuid}
        assert bridge.id == found.of(ChannelEnteredBridge)[0].bridge


async def test_what_is_known_of_a_channel() -> None:
    async with talking() as (found, call):
        a, b = call.caller.uuid, call.callee.uuid
        ask = found.pbx.variable
        assert [await ask(one, LINKEDID) for one in (a, b, "gone")] == [a, a, None]
        assert [await ask(one, STATE) for one in (a, "gone")] == ["Up", None]
        await found.pbx.set_variable(a, "said", "안녕하세요 고객님")
        assert await ask(a, "said") == "안녕하세요 고객님"
        assert await ask(a, "not-there") is None
        assert await ask("gone", "said") is None


async def test_after_a_reconnect_whose_call_a_channel_is_of_is_known_again() -> None:
    async with talking() as (found, call):
        found.switch.close_esl()
        await until(lambda: len(found.of(Connected)) == 2)
        await found.pbx.channels()
        assert await found.pbx.variable(call.callee.uuid, LINKEDID) == call.uuid


async def test_who_was_heard_before_and_waits_alone_is_up() -> None:
    async with talking() as (found, call):
        await found.pbx.attach(found.order(call.uuid))
        await call.park()
        found.switch.close_esl()
        await until(lambda: len(found.of(Connected)) == 2)
        parked = next(one for one in await found.pbx.channels() if one.id == call.uuid)
        assert parked.up


async def test_members_of_a_conference_are_up_and_together() -> None:
    async with talking() as (found, call):
        await call.park()
        other = found.switch.call("1003", "3000")
        await other._pick_up(other.caller)
        members = (call.caller, other.caller)
        for member in members:
            member.application = ("conference", "3000@default")
        ids = frozenset(member.uuid for member in members)
        found.switch.close_esl()
        await until(lambda: len(found.of(Connected)) == 2)
        assert {one.id for one in await found.pbx.channels() if one.up} == ids
        assert [(one.id, one.channels) for one in await found.pbx.bridges()] == [("conference.3000", ids)]


async def test_halves_of_a_loopback_are_not_listed_and_lead_to_whom_they_dial() -> None:
    async with talking() as (found, call):
        a, b = call.caller, call.callee
        near, far = (
            found.switch.open_channel(
                name=f"loopback/2000-{half}", direction=direction, number="1001", caller_name="",
                destination="2000", context="default",
            )
            for half, direction in (("a", "outbound"), ("b", "inbound"))
        )  # fmt: skip
        near.variables["originator"], b.variables["originator"] = a.uuid, far.uuid
        near.variables["other_loopback_leg_uuid"] = far.uuid
        far.variables["other_loopback_leg_uuid"] = near.uuid
        found.switch.close_esl()
        await until(lambda: len(found.of(Connected)) == 2)
        assert {one.id for one in await found.pbx.channels()} == {a.uuid, b.uuid}
        assert await found.pbx.variable(b.uuid, LINKEDID) == a.uuid


async def test_text_goes_back_as_an_event() -> None:
    async with talking() as (found, call):
        await found.pbx.tell("rtzr::final", call.uuid, {"Role": "caller", "Text": "안녕하세요"})
        await until(lambda: bool(found.switch.received))
        (event,) = found.switch.received
        assert (event["Event-Subclass"], event["Channel-ID"], event["Text"]) == (
            "rtzr::final",
            call.uuid,
            "안녕하세요",
        )


async def test_without_a_connection_nothing_can_be_asked() -> None:
    pbx = FreeSwitch("127.0.0.1", 1, "ClueCon")
    with pytest.raises(PbxUnreachable):
        await pbx.channels()
    with pytest.raises(PbxUnreachable):
        await pbx.tell("rtzr::final", "a", {})


async def test_a_pbx_that_answers_slowly_is_slow() -> None:
    async with site() as found:
        assert found.pbx.slow() == 0
        found.switch.knobs = replace(found.switch.knobs, reply_delay_s=1.1)
        await asyncio.gather(*(found.pbx.variable("a", "b") for _ in range(1)))
        assert found.pbx.counters.requested > 0
