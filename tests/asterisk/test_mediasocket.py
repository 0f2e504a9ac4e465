"""chan_websocket of a real Asterisk: every word, whoever connects; what ends what; what is refused."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from bridge.emulator.codebook import SENTENCES, spoken_ms
from bridge.emulator.decoder import to_pcm
from bridge.emulator.ear import Ear
from bridge.emulator.query import Encoding
from bridge.net.mediasocket import MediaSocketInlet, MediaSocketServer, NotConnected, connect
from bridge.types import Codec
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for
from tests.asterisk.test_calls import prompts
from tests.net.media import KEY, Heard
from tests.scale import scaled

SENTENCE = 3


class Listener(Heard):
    """A leg in real time."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def clock(self) -> float:
        return (self._loop.time() - self._began) * 1000

    def words(self, codec: Codec) -> str:
        ear = Ear(codec.rate)
        heard = ear.hear(to_pcm(self.audio, Encoding(codec.rtzr))) + ear.finish()
        return " ".join(thing.text for thing in heard)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not done():  # noqa: ASYNC110 - what is waited for is another process's work
                await asyncio.sleep(0.01)


def tap(pbx: Asterisk, where: str, options: str, codec: Codec, channel: str, **variables: str) -> str:
    """A WebSocket channel that hears a prompt or, with RTZR_CHAN, spies on a channel."""
    return pbx.originate(
        f"WebSocket/{where}/c({codec.label}){options}",
        context="rtzr-tap" if "RTZR_CHAN" in variables else "hear-prompt",
        channelId=channel,
        formats=codec.label,
        variables={"CDR_PROP(disable)": "1", **variables},
    )


def url_of(pbx: Asterisk, channel: str) -> str:
    where = pbx.variable(channel, "MEDIA_WEBSOCKET_CONNECTION_ID")
    return f"ws://127.0.0.1:{pbx.places.http_port}/media/{where}"


def gone(pbx: Asterisk) -> None:
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def assert_whole(inlet: MediaSocketInlet, leg: Listener, codec: Codec) -> None:
    """Every word of the sentence, in call time, and nothing dropped."""
    assert leg.words(codec) == SENTENCES[SENTENCE]
    counters = inlet.stream.counters
    assert counters.received == counters.accepted == len(leg.frames)
    assert (counters.malformed, counters.unread, counters.failed, counters.broken) == (0, 0, 0, 0)
    last = leg.frames[-1]
    length_ms = last.at_ms + codec.ms(len(last.payload)) - leg.frames[0].at_ms
    assert abs(length_ms - spoken_ms(SENTENCES[SENTENCE])) < 100
    assert inlet.started is not None
    assert inlet.started.format == codec.label
    assert inlet.started.channel_id == "heard"


@pytest.mark.parametrize(
    ("codec", "spelt"),
    [
        (Codec.ULAW, "f(json)"),
        (Codec.ULAW, ""),
        (Codec.ALAW, "f(json)"),
        (Codec.SLIN, "f(json)"),
        (Codec.SLIN16, "f(json)"),
    ],
)
async def test_we_fetch_every_word(pbx: Asterisk, codec: Codec, spelt: str) -> None:
    """The channel ends with its dialplan, and its WebSocket with 1000."""
    prompts(pbx)
    leg = Listener()
    tap(pbx, "INCOMING", f"{spelt}d(in)", codec, "heard", PROMPT=f"s{SENTENCE}")
    inlet = await connect(url_of(pbx, "heard"), codec, leg.clock, leg.batches.append, leg.ended)
    await leg.until(lambda: leg.ends == 1)
    assert_whole(inlet, leg, codec)
    assert inlet.close_code == 1000
    await asyncio.to_thread(gone, pbx)


@pytest.mark.parametrize(
    ("codec", "spelt"),
    [(Codec.ULAW, ""), (Codec.ALAW, "f(json)"), (Codec.SLIN, ""), (Codec.SLIN16, "f(json)")],
)
async def test_asterisk_brings_every_word(pbx: Asterisk, codec: Codec, spelt: str) -> None:
    """As the administrator's websocket_client.conf says."""
    prompts(pbx)
    leg = Listener()
    async with MediaSocketServer("127.0.0.1", pbx.places.media_port) as server:
        inlet = server.expect(KEY, codec, leg.clock, leg.batches.append, leg.ended)
        options = f"{spelt}d(in)v(leg={KEY})"
        tap(pbx, "rtzr-bridge", options, codec, "heard", PROMPT=f"s{SENTENCE}")
        await leg.until(lambda: leg.ends == 1)
        assert_whole(inlet, leg, codec)
        assert inlet.close_code == 1000
        assert server.counters.opened == server.counters.admitted == 1
        await asyncio.to_thread(gone, pbx)


async def test_legs_at_once_hear_their_own(pbx: Asterisk) -> None:
    prompts(pbx)
    count = scaled(len(SENTENCES), 6)
    legs = [Listener() for _ in range(count)]
    async with MediaSocketServer("127.0.0.1", pbx.places.media_port) as server:
        for number, leg in enumerate(legs):
            server.expect(f"{KEY}-{number}", Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
            options = f"f(json)d(in)v(leg={KEY}-{number})"
            await asyncio.to_thread(
                tap, pbx, "rtzr-bridge", options, Codec.ULAW, f"heard-{number}", PROMPT=f"s{number}"
            )
        await legs[0].until(lambda: all(leg.ends for leg in legs))
    assert [leg.words(Codec.ULAW) for leg in legs] == list(SENTENCES[:count])


@pytest.mark.parametrize("brought", [False, True])
async def test_a_tap_ends_with_the_call_that_it_hears(pbx: Asterisk, brought: bool) -> None:
    """ChanSpy into a WebSocket: at the hang-up every channel is gone with nobody cleaning up."""
    prompts(pbx)
    leg = Listener()
    async with MediaSocketServer("127.0.0.1", pbx.places.media_port) as server:
        call = await asyncio.to_thread(pbx.two_party_call, [(1.5, f"s{SENTENCE}"), (1.0, HANGUP)], [])
        if brought:
            inlet = server.expect(KEY, Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
            options = f"f(json)d(in)v(leg={KEY})"
            tap(pbx, "rtzr-bridge", options, Codec.ULAW, "heard", RTZR_CHAN=call.caller)
        else:
            tap(pbx, "INCOMING", "f(json)d(in)", Codec.ULAW, "heard", RTZR_CHAN=call.caller)
            url = url_of(pbx, "heard")
            inlet = await connect(url, Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
        await leg.until(lambda: leg.ends == 1)
        assert inlet.close_code == 1000
        await asyncio.to_thread(gone, pbx)
    assert leg.words(Codec.ULAW) == SENTENCES[SENTENCE]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_when_we_let_go_the_tap_ends_and_the_call_does_not(pbx: Asterisk, how: str) -> None:
    prompts(pbx)
    leg = Listener()
    call = await asyncio.to_thread(pbx.two_party_call, [(0.5, f"s{SENTENCE}")] * 5, [])
    tap(pbx, "INCOMING", "f(json)d(in)", Codec.ULAW, "heard", RTZR_CHAN=call.caller)
    inlet = await connect(url_of(pbx, "heard"), Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
    await leg.until(lambda: len(leg.frames) > 10)
    if how == "close":
        await inlet.close()
        assert leg.ends == 0
    else:
        assert inlet._connection is not None
        inlet._connection.abort()
        await leg.until(lambda: leg.ends == 1)
    await leg.until(lambda: "heard" not in [channel["id"] for channel in pbx.channels()])
    assert len(pbx.channels()) == 4
    assert inlet.stream.counters.accepted == len(leg.frames)


async def test_who_has_no_channel_or_no_key_is_told(pbx: Asterisk) -> None:
    """A tap that we refuse ends within its two tries, and nobody hears of it but the log."""
    prompts(pbx)
    leg = Listener()
    url = f"ws://127.0.0.1:{pbx.places.http_port}/media/5c3cd0b4-0000-0000-0000-000000000000"
    with pytest.raises(NotConnected, match=r"^404 Not found$"):
        await connect(url, Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
    tap(pbx, "INCOMING", "f(json)d(in)", Codec.ULAW, "heard", PROMPT=f"s{SENTENCE}")
    first = await connect(url_of(pbx, "heard"), Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
    with pytest.raises(NotConnected, match=r"^409 Conflict$"):
        await connect(url_of(pbx, "heard"), Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
    await first.close()
    async with MediaSocketServer("127.0.0.1", pbx.places.media_port) as server:
        server.expect(KEY, Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
        options = f"f(json)d(in)v(leg={KEY[::-1]})"
        tap(pbx, "rtzr-bridge", options, Codec.ULAW, "refused", PROMPT=f"s{SENTENCE}")
        await leg.until(lambda: server.counters.foreign == 2)
        await asyncio.to_thread(gone, pbx)
        assert server.counters.admitted == 0
    tap(pbx, "rtzr-bridge", options, Codec.ULAW, "unheard", PROMPT=f"s{SENTENCE}")
    await asyncio.to_thread(gone, pbx)


async def test_audio_in_another_format_is_not_taken(pbx: Asterisk) -> None:
    prompts(pbx)
    leg = Listener()
    tap(pbx, "INCOMING", "f(json)d(in)", Codec.ALAW, "heard", PROMPT=f"s{SENTENCE}")
    inlet = await connect(url_of(pbx, "heard"), Codec.ULAW, leg.clock, leg.batches.append, leg.ended)
    await leg.until(lambda: leg.ends == 1)
    assert leg.frames == []
    assert inlet.stream.counters.malformed == inlet.stream.counters.received > 50


def test_one_who_never_reads_costs_its_own_tap_alone(pbx: Asterisk) -> None:
    """A bridge that is frozen: when Asterisk cannot write any more, the tap ends, and the call goes on.

    It holds for connections that we open; those that Asterisk opens have its issue 2140. The fastest codec,
    for Asterisk has room for 2 MB.
    """
    prompts(pbx)
    call = pbx.two_party_call([(0.0, f"s{SENTENCE}")] * 20, [])
    pbx.originate(
        "WebSocket/INCOMING/c(slin192)f(json)d(in)",
        context="rtzr-tap",
        channelId="heard",
        formats="slin192",
        variables={"RTZR_CHAN": call.caller, "CDR_PROP(disable)": "1"},
    )
    url = url_of(pbx, "heard")
    with socket.socket() as frozen:
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        frozen.connect(("127.0.0.1", pbx.places.http_port))
        client = ClientProtocol(parse_uri(url), subprotocols=[Subprotocol("media")])
        client.send_request(client.connect())
        frozen.sendall(b"".join(client.data_to_send()))
        assert frozen.recv(12) == b"HTTP/1.1 101"
        wait_for(lambda: len(pbx.channels()) == 5, 5, lambda: pbx.cli("core show channels"))
        wait_for(lambda: len(pbx.channels()) == 4, 20, lambda: pbx.cli("core show channels"))
    pbx.hangup(call.phone)
    gone(pbx)
