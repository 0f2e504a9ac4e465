"""AudioSocket from the real Asterisk: its channel driver at 8 and 16 kHz, and its dialplan application."""

import asyncio
import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.ear import Ear
from bridge.net.audiosocket import AudioSocketInlet, AudioSocketServer, ServerCounters
from bridge.types import Codec, Frame
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, script_text, wait_for

SENTENCE = SENTENCES[1]


class Leg:
    """An inlet that a test listens to, and the ends of its connections."""

    def __init__(self, server: AudioSocketServer, codec: Codec, key: UUID | None = None) -> None:
        self.key = key or uuid4()
        self.codec = codec
        self.frames: list[Frame] = []
        self.ended = asyncio.Event()
        began_s = time.monotonic()
        self.inlet: AudioSocketInlet = server.expect(
            self.key, codec, lambda: (time.monotonic() - began_s) * 1000, self.frames.extend, self.ended.set
        )

    @property
    def text(self) -> str:
        ear = Ear(self.codec.rate)
        heard = [found for frame in self.frames for found in ear.hear(frame.payload)]
        return " ".join(found.text for found in [*heard, *ear.finish()])


async def until(done: Callable[[], object], complaint: str, seconds: float = 5) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not done():  # noqa: ASYNC110 - the PBX has no event for it that we could await
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(complaint) from None


async def channel(pbx: Asterisk, server: AudioSocketServer, key: UUID, codec: Codec, script: Script) -> None:
    """A channel of the driver whose other side plays `script`."""
    await asyncio.to_thread(
        pbx.originate,
        f"AudioSocket/127.0.0.1:{server.port}/{key}/c({codec.label})",
        context="speak",
        formats=codec.label,
        variables={"SCRIPT": script_text(script), "CDR_PROP(disable)": "1"},
    )


async def application(pbx: Asterisk, server: AudioSocketServer, key: UUID, script: Script) -> str:
    """A call whose caller plays `script` into the application; the id of the channel that runs it."""
    running = f"as-{uuid4()}"
    variables = {
        "SCRIPT": script_text(script),
        "CDR_PROP(disable)": "1",
        "__AUDIOSOCKET_KEY": str(key),
        "__AUDIOSOCKET_AT": f"127.0.0.1:{server.port}",
    }
    await asyncio.to_thread(
        pbx.originate,
        "Local/s@audiosocket/n",
        context="speak",
        formats="ulaw",
        channelId=f"phone-{uuid4()}",
        otherChannelId=running,
        variables=variables,
    )
    return running


class Log:
    """What Asterisk complains of from now on."""

    def __init__(self, pbx: Asterisk) -> None:
        self._pbx = pbx
        self._before = len(pbx.log())

    @property
    def complaints(self) -> list[str]:
        lines = self._pbx.log()[self._before :].splitlines()
        return [line for line in lines if re.search("WARNING|ERROR", line)]


@pytest.mark.parametrize("codec", [Codec.SLIN, Codec.SLIN16])
async def test_a_sentence_arrives_whole_at_the_rate_that_was_asked_for(pbx: Asterisk, codec: Codec) -> None:
    prompt, log = pbx.prompt("audiosocket", say(SENTENCE)), Log(pbx)
    async with AudioSocketServer("127.0.0.1") as server:
        leg = Leg(server, codec)
        await channel(pbx, server, leg.key, codec, [(0.1, prompt), (0.1, HANGUP)])
        await asyncio.wait_for(leg.ended.wait(), 15)
        leg.inlet.close()
    assert leg.text == SENTENCE
    assert {len(frame.payload) for frame in leg.frames[:-1]} == {20 * codec.bytes_per_ms}
    told_ms = leg.frames[-1].at_ms + codec.ms(len(leg.frames[-1].payload)) - leg.frames[0].at_ms
    assert told_ms == pytest.approx(spoken_ms(SENTENCE), abs=40)
    assert server.counters == ServerCounters(connections=1)
    assert log.complaints == []


async def test_a_wideband_channel_lives_on_silence_of_8_khz_until_it_speaks(pbx: Asterisk) -> None:
    """Every release takes that kind of silence, and the driver does not wait for ever for some."""
    prompt, log = pbx.prompt("audiosocket", say(SENTENCE)), Log(pbx)
    async with AudioSocketServer("127.0.0.1") as server:
        leg = Leg(server, Codec.SLIN16)
        await channel(pbx, server, leg.key, leg.codec, [(1, prompt), (0.1, HANGUP)])
        await asyncio.wait_for(leg.ended.wait(), 15)
        leg.inlet.close()
    assert leg.text == SENTENCE
    assert leg.frames[0].at_ms > 900
    assert log.complaints == []


async def test_a_channel_that_knocks_is_heard_from_its_first_word(pbx: Asterisk) -> None:
    prompt = pbx.prompt("audiosocket", say(SENTENCE))
    knocked: list[UUID] = []
    async with AudioSocketServer("127.0.0.1", knock=knocked.append) as server:
        key = uuid4()
        await channel(pbx, server, key, Codec.SLIN, [(0, prompt), (0.1, HANGUP)])
        await until(lambda: knocked, "no knock")
        await asyncio.sleep(0.5)  # of the sentence
        leg = Leg(server, Codec.SLIN, key)
        assert leg.frames
        await asyncio.wait_for(leg.ended.wait(), 15)
        leg.inlet.close()
    assert knocked == [key]
    assert leg.text == SENTENCE


async def test_a_channel_ends_when_its_inlet_is_closed(pbx: Asterisk) -> None:
    log = Log(pbx)
    async with AudioSocketServer("127.0.0.1") as server:
        leg = Leg(server, Codec.SLIN)
        await channel(pbx, server, leg.key, leg.codec, [])
        await until(lambda: server.counters.connections, "no connection")
        leg.inlet.close()
        await until(lambda: not pbx.channels(), "the channel is still there")
    assert log.complaints == []


async def test_the_application_goes_on_in_the_dialplan_when_we_leave(pbx: Asterisk) -> None:
    prompt, log = pbx.prompt("audiosocket", say(SENTENCE)), Log(pbx)
    async with AudioSocketServer("127.0.0.1") as server:
        leg = Leg(server, Codec.SLIN)
        running = await application(pbx, server, leg.key, [(0.3, prompt), (0, prompt)])
        await until(lambda: leg.text == SENTENCE, "the sentence was not heard", 10)
        leg.inlet.close()  # in the midst of the second one
        await until(lambda: pbx.variable(running, "WENT_ON") == "yes", "the call did not go on")
    assert log.complaints == []


async def test_the_application_goes_on_when_nobody_expects_it(pbx: Asterisk) -> None:
    async with AudioSocketServer("127.0.0.1") as server:
        running = await application(pbx, server, uuid4(), [])
        await until(lambda: pbx.variable(running, "WENT_ON") == "yes", "the call did not go on")
        assert server.counters.foreign == 1


async def test_the_last_word_of_the_application_arrives_before_its_hang_up(pbx: Asterisk) -> None:
    prompt = pbx.prompt("audiosocket", say(SENTENCE))
    async with AudioSocketServer("127.0.0.1") as server:
        leg = Leg(server, Codec.SLIN)
        await application(pbx, server, leg.key, [(0.3, prompt), (0, HANGUP)])
        await asyncio.wait_for(leg.ended.wait(), 15)
        leg.inlet.close()
    assert leg.text == SENTENCE


async def test_a_tap_brings_each_partys_own_voice_and_cleans_up(pbx: Asterisk) -> None:
    """ChanSpy into AudioSocket, as into RTP; while its party is silent the tap sends nothing at all."""
    prompts = [pbx.prompt(f"audiosocket-{number}", say(text)) for number, text in enumerate(SENTENCES[1:3])]
    log = Log(pbx)
    async with AudioSocketServer("127.0.0.1") as server:
        caller, callee = Leg(server, Codec.SLIN), Leg(server, Codec.SLIN16)
        call = await asyncio.to_thread(
            pbx.two_party_call, [(0.5, prompts[0]), (2.5, HANGUP)], [(1.5, prompts[1])], ring_s=0.5
        )
        await asyncio.to_thread(wait_for, lambda: callee_of(pbx, call) != "", 2, lambda: "no second leg")
        for leg, tapped in ((caller, call.caller), (callee, callee_of(pbx, call))):
            await tap(pbx, server, leg, tapped)
        await asyncio.wait_for(asyncio.gather(caller.ended.wait(), callee.ended.wait()), 15)
        await until(lambda: not pbx.channels(), "channels are left")
        caller.inlet.close()
        callee.inlet.close()
    assert [caller.text, callee.text] == list(SENTENCES[1:3])
    assert server.counters == ServerCounters(connections=2)
    assert log.complaints == []


def callee_of(pbx: Asterisk, call: Call) -> str:
    """The callee's leg of a call, "" while there is none."""
    legs = [found for found in pbx.channels() if f"Local/{call.number}@phones" in found["name"]]
    return str(next((leg["id"] for leg in legs if leg["name"].endswith(";1")), ""))


async def tap(pbx: Asterisk, server: AudioSocketServer, leg: Leg, tapped: str) -> None:
    await asyncio.to_thread(
        pbx.originate,
        f"AudioSocket/127.0.0.1:{server.port}/{leg.key}/c({leg.codec.label})",
        context="rtzr-tap",
        formats=leg.codec.label,
        variables={"RTZR_CHAN": tapped, "CDR_PROP(disable)": "1"},
    )
