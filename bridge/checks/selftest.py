"""A tone through a real tap: whether the PBX can send us audio, and whether it comes as it should.

A telephone of ours is made in the PBX, sings, and is tapped as any party would be. What is heard must be what
was sung: right codec, right byte order, right port. No call of anybody's is touched, and nothing is left.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from bridge.calls.tap import stand
from bridge.calls.ways import Way, Ways
from bridge.config import Config
from bridge.leg.inlets import Inlet, Inlets, Listener
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.net.freeswitch import FreeSwitch
from bridge.player import Player, Spoken
from bridge.types import Codec, Frame, Transport
from bridge.wire.g711 import to_pcm
from bridge.wire.pbxevents import PbxError, PbxInfo, PbxRefused, PbxUnreachable
from bridge.wire.taporder import Media, TapKind, TapOrder, tap_prefix
from bridge.wiring import ports_for, ports_of, way_settings

NOBODYS_PORT = 9
"""Where the telephone sends what it hears: it is silence, and nobody reads it (RFC 863)."""
TONE_HZ = 1004
PURE = 0.95
"""Of a tone: mu-law for A-law leaves 0.9 of it, the wrong byte order 0.1."""
_TONE_S = 1.5
_CALL_S = 20
"""A call that plays the tone is over by then, whatever becomes of us."""
_LOUD = 8000
_HEARD_MS = 400
"""The last of the tone: by then every way is open."""
_ASKED_AGAIN_S = 0.02
_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back through a tap."""

    way: Way
    share: float | None
    """How much of it is the tone, 0 to 1; None when nothing came."""


async def tone_through_tap(pbx: Ari | Ami, info: PbxInfo, app: str, config: Config) -> Heard:
    """A tone of a telephone of ours, through a tap as the configuration has it.

    `app` begins the ids of what is made, which is gone afterwards. Raises Gone, PbxRefused, PbxUnreachable,
    PbxError and NoInlet.
    """
    ways = Ways(pbx, way_settings(config))
    ways.settle(info)
    inlets = Inlets(ports_for(config, ports_of(config, 0), 0), config.media.reorder_ms)
    phone = f"{app}.phone.{uuid4().hex}"
    try:
        await pbx.originate_phone(phone, config.media.advertised, NOBODYS_PORT)
        address = await _known(pbx, phone, "UNICASTRTP_LOCAL_ADDRESS")
        port = int(await _known(pbx, phone, "UNICASTRTP_LOCAL_PORT"))
        way = await ways.of(phone)
        singing = asyncio.create_task(_sing(config.media.bind, address, port))
        try:
            return Heard(way, await _heard(pbx, app, phone, way, inlets, config, singing))
        finally:
            await singing
    finally:
        await inlets.close()
        await pbx.hangup(phone)


async def _heard(
    pbx: Ari | Ami,
    app: str,
    phone: str,
    way: Way,
    inlets: Inlets,
    config: Config,
    singing: asyncio.Task[None],
) -> float | None:
    """The share of the tone in what the tap brings until the song is over."""
    frames: list[Frame] = []
    now_s = asyncio.get_running_loop().time
    inlet = await inlets.open(way.transport, Listener(way.codec, lambda: now_s() * 1000, frames.extend))
    host, client = config.media.advertised, config.asterisk.websocket_client
    media = Media(way.transport, way.codec, host, *inlet.place, client)
    order = TapOrder(way.kind, f"{tap_prefix(app)}{uuid4().hex}", phone, media)
    try:
        await stand(pbx, _Ear(inlet), order, config.asterisk.media_url)
        await singing
    finally:
        await inlet.close()
        await pbx.detach(order)
    return share_of_tone(frames, way.codec)


class _Ear:
    """An inlet, met as a leg's."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet

    async def lock(self, address: str, port: int) -> None:
        self._inlet.lock(address, port)

    async def reach(self, url: str) -> None:
        await self._inlet.reach(url)


async def _sing(bind: str, address: str, port: int) -> None:
    """The tone, as a telephone sends it."""
    player, start_s = Player(address, port, bind=bind), asyncio.get_running_loop().time()
    try:
        await player.play([Spoken(tone(_TONE_S), start_s)], start_s + _TONE_S)
    finally:
        player.close()


async def _known(pbx: Ari | Ami, channel: str, name: str) -> str:
    """A variable of a channel that is being made."""
    now_s = asyncio.get_running_loop().time
    until_s = now_s() + _PATIENCE_S
    while now_s() < until_s:
        value = await pbx.variable(channel, name)
        if value:
            return value
        await asyncio.sleep(_ASKED_AGAIN_S)
    raise PbxUnreachable("a channel of the self-test did not stay")


@asynccontextmanager
async def tone_call(pbx: FreeSwitch, channel: str) -> AsyncIterator[tuple[str, ...]]:
    """A call within FreeSWITCH, on whose first half, `channel`, a tone is heard: the ids of both halves.

    Raises Gone, PbxRefused, PbxUnreachable and PbxError.
    """
    try:
        yield await pbx.originate_tone(channel, TONE_HZ, _CALL_S)
    finally:
        with suppress(PbxRefused, PbxUnreachable, PbxError):
            await pbx.end_tone(channel)


async def tone_through_stream(pbx: FreeSwitch, channel: str, config: Config) -> float | None:
    """How much of what comes in a stream of `channel` is the tone, 0 to 1; None when nothing came.

    Raises Gone, PbxRefused, PbxUnreachable, PbxError and NoInlet.
    """
    inlets = Inlets(ports_for(config, ports_of(config, 0), 0), config.media.reorder_ms)
    try:
        return await _streamed(pbx, channel, inlets, config)
    finally:
        await inlets.close()


async def _streamed(pbx: FreeSwitch, channel: str, inlets: Inlets, config: Config) -> float | None:
    transport, codec = Transport.AUDIOSTREAM, config.freeswitch.codec
    frames: list[Frame] = []
    enough = asyncio.Event()

    def hear(given: list[Frame]) -> None:
        frames.extend(given)
        if sum(len(frame.payload) for frame in frames) >= 2 * codec.rate * _TONE_S:
            enough.set()

    now_s = asyncio.get_running_loop().time
    inlet = await inlets.open(transport, Listener(codec, lambda: now_s() * 1000, hear))
    media = Media(transport, codec, config.media.advertised, *inlet.place)
    order = TapOrder(TapKind.MONO, f"{tap_prefix(config.asterisk.app)}{uuid4().hex}", channel, media)
    try:
        await pbx.attach(order)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await enough.wait()
        await pbx.detach(order)
    finally:
        await inlet.close()
    return share_of_tone(frames, codec)


def tone(seconds: float) -> bytes:
    """16-bit PCM at 8 kHz."""
    times = np.arange(int(seconds * 8000)) / 8000
    return (np.sin(2 * math.pi * TONE_HZ * times) * _LOUD).astype("<i2").tobytes()


def share_of_tone(frames: Sequence[Frame], codec: Codec) -> float | None:
    """How much of the last frames' power is at the tone's pitch; None when there is none."""
    pcm = b"".join(to_pcm(frame.payload, codec) for frame in frames)
    samples = np.frombuffer(pcm, "<i2")[-_HEARD_MS * codec.rate // 1000 :].astype(float)
    power = float(np.mean(samples**2)) if samples.size else 0.0
    if not power:
        return None
    turning = np.exp(-2j * math.pi * TONE_HZ / codec.rate * np.arange(samples.size))
    return float(2 * abs(np.dot(samples, turning) / samples.size) ** 2 / power)
