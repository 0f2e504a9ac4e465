"""`rtzr-bridge demo`: an RTZR emulator, the bridge's own media path and two telephones, in one process.

The parties take turns with three Korean sentences each, over RTP on loopback; what comes back has to be
word for word what was said. It measures and returns; the command line prints.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from bridge.call import Leg, LegReport, LegSettings
from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.server import Emulator, Knobs
from bridge.net.rtp import PortPool
from bridge.net.rtzr import Rtzr, Tokens
from bridge.player import Player, Spoken
from bridge.ring import Ring
from bridge.types import Codec, Event, LegId, Party, Role
from bridge.wire.gate import GateSettings
from bridge.wire.receiver import Receiver

_HOST = "127.0.0.1"
_CALL = "demo-call"
_KNOBS = Knobs(auth_delay_ms=120, connect_delay_ms=80, recognition_ms=150)
_TURN_S = 0.8
"""From the end of one party's sentence to the beginning of the other's."""
_LEAD_S = 0.3
_RING_MS = 60_000
_SCRIPT = (
    (Role.CALLER, SENTENCES[1]),
    (Role.CALLEE, SENTENCES[0]),
    (Role.CALLER, SENTENCES[2]),
    (Role.CALLEE, SENTENCES[3]),
    (Role.CALLER, SENTENCES[11]),
    (Role.CALLEE, SENTENCES[15]),
)
_PARTIES = {
    Role.CALLER: Party(Role.CALLER, "01012345678", "김철수"),
    Role.CALLEE: Party(Role.CALLEE, "1588", "상담원"),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    party: str
    text: str
    said: str
    end_of_speech_to_final_ms: int | None
    """None when no final came."""

    @property
    def exact(self) -> bool:
        return self.text == self.said


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demonstration showed."""

    utterances: list[Utterance]
    tokens_issued: int
    sockets_opened: int
    sockets_open_at_end: int
    ledger: dict[str, Any]
    accounted: bool

    @property
    def exact(self) -> int:
        return sum(utterance.exact for utterance in self.utterances)

    @property
    def passed(self) -> bool:
        return self.accounted and self.exact == len(self.utterances) and not self.sockets_open_at_end

    def as_json(self) -> dict[str, Any]:
        return {
            "sentences": len(self.utterances),
            "exact": self.exact,
            "tokens_issued": self.tokens_issued,
            "sockets_opened": self.sockets_opened,
            "sockets_open_at_end": self.sockets_open_at_end,
            "lost_ms": self.ledger["lost_ms"],
            "utterances": [
                {
                    "party": utterance.party,
                    "text": utterance.text,
                    "end_of_speech_to_final_ms": utterance.end_of_speech_to_final_ms,
                }
                for utterance in self.utterances
            ],
            "audio": self.ledger,
            "text_by": "emulator",
        }


@dataclass(slots=True)
class _Line:
    """One party: its telephone, its leg, and the finals that came back."""

    role: Role
    player: Player
    finals: list[tuple[str, float]] = field(default_factory=list)
    """Text, and when it came, on the loop's clock."""


async def run(publish: Callable[[Event], None]) -> Summary:
    """Play the call; every event goes to `publish` too."""
    async with AsyncExitStack() as opened:
        emulator = await opened.enter_async_context(Emulator(_KNOBS))
        tokens = await opened.enter_async_context(
            Tokens(
                emulator.auth_url,
                _KNOBS.client_id,
                _KNOBS.client_secret,
                renew_before_s=600,
                timeout_s=5,
            )
        )
        speech = Rtzr(tokens, emulator.stream_url, {}, timeout_s=5)
        lines, reports = await _call(speech, publish)
        stats = emulator.stats()
    total = reports[0].ledger
    for report in reports[1:]:
        total.add(report.ledger)
    return Summary(
        utterances=_compare(lines),
        tokens_issued=stats.tokens_issued,
        sockets_opened=stats.sockets_opened,
        sockets_open_at_end=stats.sockets_open,
        ledger=total.as_json(),
        accounted=total.closes() and not any(report.reasons for report in reports),
    )


async def _call(speech: Rtzr, publish: Callable[[Event], None]) -> tuple[dict[Role, _Line], list[LegReport]]:
    """The two legs of the call, from answer to hang-up."""
    loop = asyncio.get_running_loop()
    origin_s = loop.time()
    ports = PortPool(_HOST, 40_000, 40_999, rest_s=0)
    lines: dict[Role, _Line] = {}
    turns, until_s = _turns(origin_s + _LEAD_S)
    async with asyncio.TaskGroup() as tasks:
        legs = [
            tasks.create_task(_leg(role, turns[role], until_s, origin_s, ports, speech, lines, publish))
            for role in _PARTIES
        ]
    return lines, [leg.result() for leg in legs]


def _turns(start_s: float) -> tuple[dict[Role, list[Spoken]], float]:
    """Who says what when, and when the call ends."""
    turns: dict[Role, list[Spoken]] = {role: [] for role in _PARTIES}
    for role, sentence in _SCRIPT:
        turns[role].append(Spoken(say(sentence), start_s))
        start_s += spoken_ms(sentence) / 1000 + _TURN_S
    return turns, start_s


async def _leg(
    role: Role,
    turns: list[Spoken],
    until_s: float,
    origin_s: float,
    ports: PortPool,
    speech: Rtzr,
    lines: dict[Role, _Line],
    publish: Callable[[Event], None],
) -> LegReport:
    """One party: RTP into its port, its ring, its leg."""
    loop = asyncio.get_running_loop()

    def clock() -> float:
        return (loop.time() - origin_s) * 1000

    ring = Ring(Codec.ULAW, _RING_MS)
    port = ports.open(Receiver(Codec.ULAW), clock, ring.push)
    line = lines[role] = _Line(role, Player(_HOST, port.port))

    def keep(event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            line.finals.append((str(event.data["text"]), loop.time()))
        publish(event)

    settings = LegSettings(GateSettings(silence_ms=300), message_ms=20)
    leg = Leg(
        LegId(_CALL, role), _PARTIES[role], Codec.ULAW, ring, speech, settings, clock=clock, publish=keep
    )
    try:
        port.lock(*line.player.address)
        ring.answer(clock())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(leg.run(lambda: "hung up"))
            await line.player.play(turns, until_s)
            port.drain()
            ring.end()
        return running.result()
    finally:
        port.close()
        line.player.close()


def _compare(lines: dict[Role, _Line]) -> list[Utterance]:
    """Each sentence beside the final that came back for it, in the order in which they were said."""
    heard = {role: list(zip(line.finals, line.player.ended_s, strict=False)) for role, line in lines.items()}
    utterances = []
    for role, sentence in _SCRIPT:
        if heard[role]:
            (text, final_s), ended_s = heard[role].pop(0)
            utterances.append(Utterance(role, text, sentence, round((final_s - ended_s) * 1000)))
        else:
            utterances.append(Utterance(role, "", sentence, None))
    return utterances
