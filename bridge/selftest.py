"""A tone through a real tap: whether the PBX can send us audio, and whether it comes as it should.

A telephone of ours is made in the PBX, sings, and is tapped as any party would be. What is heard must be what
was sung: right codec, right byte order, right port. No call of anybody's is touched, and nothing is left.
"""

import asyncio
import math
from collections.abc import Sequence
from uuid import uuid4

import numpy as np

from bridge.config.sections import Media
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.net.rtp import PortPool
from bridge.player import Player, Spoken
from bridge.types import Codec, Frame, Transport
from bridge.wire.g711 import to_pcm
from bridge.wire.pbxevents import PbxUnreachable
from bridge.wire.receiver import Receiver
from bridge.wire.taporder import Media as Sent
from bridge.wire.taporder import TapKind, TapOrder, tap_prefix

TONE_HZ = 1004
_TONE_S = 1.5
_LOUD = 8000
_HEARD_MS = 400
"""The last of the tone: by then every way is open."""
_ASKED_AGAIN_S = 0.02
_PATIENCE_S = 3.0


async def tone_through_tap(pbx: Ari | Ami, app: str, media: Media) -> float | None:
    """How much of what came back is the tone, 0 to 1; None when nothing came.

    `app` begins the ids of what is made, which is gone afterwards. Raises PbxRefused, PbxUnreachable,
    PbxError, PortsExhausted and OSError.
    """
    frames: list[Frame] = []
    codec = media.encoding
    pool = PortPool(media.bind, media.first_port, media.last_port, 0.0)
    now_s = asyncio.get_running_loop().time
    heard = pool.open(Receiver(codec, media.reorder_ms), lambda: now_s() * 1000, frames.extend)
    phone = f"{app}.phone.{uuid4().hex}"
    try:
        # What the telephone hears goes to our port too, where it is foreign and dropped: it is silence.
        await pbx.originate_phone(phone, media.advertised, heard.port)
        port = int(await _known(pbx, phone, "UNICASTRTP_LOCAL_PORT"))
        address = await _known(pbx, phone, "UNICASTRTP_LOCAL_ADDRESS")
        singing = asyncio.create_task(_sing(media.bind, address, port))
        try:
            tap = f"{tap_prefix(app)}{uuid4().hex}"
            sent = Sent(Transport.RTP, codec, media.advertised, heard.port)
            sender = await pbx.attach(TapOrder(TapKind.CHANSPY, tap, phone, sent))
            heard.lock(
                await _known(pbx, sender, "UNICASTRTP_LOCAL_ADDRESS"),
                int(await _known(pbx, sender, "UNICASTRTP_LOCAL_PORT")),
            )
        finally:
            await singing
    finally:
        heard.drain()
        heard.close()
        await pbx.hangup(phone)
    return share_of_tone(frames, codec)


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
