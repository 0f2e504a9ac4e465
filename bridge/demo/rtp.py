"""The demonstration's call over RTP: two telephones, and for each our own path from a port to a leg."""

import asyncio
from collections.abc import Callable
from contextlib import closing

from bridge.demo.script import HOST, LEAD_S, PARTIES, Line, Outcome, turns_from
from bridge.emulator.server import Emulator
from bridge.leg.call import Leg, LegReport, LegSettings
from bridge.leg.permit import Ungoverned
from bridge.leg.ring import Ring
from bridge.net.rtp import PortPool
from bridge.net.rtzr import Rtzr, Tokens
from bridge.player import Player, Spoken
from bridge.types import Codec, Event, LegId, Role
from bridge.wire.gate import GateSettings
from bridge.wire.ledger import Ledger
from bridge.wire.receiver import Receiver

_CALL = "demo-call"
_RING_MS = 60_000


async def call(rtzr: Emulator, publish: Callable[[Event], None]) -> Outcome:
    """The two legs of the call, from answer to hang-up. Raises OSError and PortsExhausted."""
    knobs = rtzr.knobs
    async with Tokens(
        rtzr.auth_url, knobs.client_id, knobs.client_secret, renew_before_s=600, timeout_s=5
    ) as tokens:
        return await _call(Rtzr(tokens, rtzr.stream_url, {}, timeout_s=5), publish)


async def _call(speech: Rtzr, publish: Callable[[Event], None]) -> Outcome:
    loop = asyncio.get_running_loop()
    origin_s = loop.time()
    ports = PortPool(HOST, 40_000, 40_999, rest_s=0)
    lines: dict[Role, Line] = {}
    turns, until_s = turns_from(origin_s + LEAD_S)
    async with asyncio.TaskGroup() as tasks:
        legs = [
            tasks.create_task(_leg(role, turns[role], until_s, origin_s, ports, speech, lines, publish))
            for role in PARTIES
        ]
    total, reasons = Ledger(), list[str]()
    for leg in legs:
        total.add(leg.result().ledger)
        reasons += leg.result().reasons
    return Outcome(lines, total, reasons)


async def _leg(
    role: Role,
    turns: list[Spoken],
    until_s: float,
    origin_s: float,
    ports: PortPool,
    speech: Rtzr,
    lines: dict[Role, Line],
    publish: Callable[[Event], None],
) -> LegReport:
    """One party: RTP into its port, its ring, its leg."""
    loop = asyncio.get_running_loop()

    def clock() -> float:
        return (loop.time() - origin_s) * 1000

    def keep(event: Event) -> None:
        line.keep(event, origin_s, loop.time())
        publish(event)

    ring = Ring(Codec.ULAW, _RING_MS)
    settings = LegSettings(GateSettings(silence_ms=300), message_ms=20)
    leg = Leg(
        LegId(_CALL, role),
        PARTIES[role],
        Codec.ULAW,
        ring,
        Ungoverned(speech),
        settings,
        clock=clock,
        publish=keep,
    )
    with (
        closing(ports.open(Receiver(Codec.ULAW), clock, ring.push)) as port,
        closing(Player(HOST, port.port)) as player,
    ):
        line = lines[role] = Line(role, [spoken.at_s for spoken in turns], player.ended_s)
        port.lock(*player.address)
        ring.answer(clock())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(leg.run(lambda: "hung up"))
            await player.play(turns, until_s)
            port.drain()
            ring.end()
        return running.result()
