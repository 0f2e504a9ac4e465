"""`rtzr-bridge demo`: an RTZR emulator, the bridge's own media path and two telephones, in one process.

The parties take turns with three Korean sentences each, over RTP on loopback; what comes back has to be
word for word what was said. It measures and returns; the command line prints.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from bridge.call import Leg, LegReport, LegSettings
from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.server import Emulator, Knobs
from bridge.net.rtp import PortPool, PortsExhausted
from bridge.net.rtzr import Rtzr, Tokens
from bridge.permit import Ungoverned
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
_PATIENCE_S = 35
"""The call takes 13 s; what is not over by now hangs."""
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


class DemoError(Exception):
    """The demonstration could not be held; the text says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Utterance:
    party: str
    text: str
    """What came back; finals that came apart are parted by ` / `."""
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
    reasons: list[str]
    """Why a leg is not complete; empty when both are."""

    @property
    def exact(self) -> int:
        return sum(utterance.exact for utterance in self.utterances)

    @property
    def passed(self) -> bool:
        return not self.faults()

    def faults(self) -> list[str]:
        """What was not as it has to be, one line each."""
        faults = []
        if self.exact != len(self.utterances):
            faults.append(
                f"{len(self.utterances) - self.exact} sentences did not come back word for word; "
                "on a machine this busy the demo's own telephones may be late: try again when it is quiet"
            )
        if not self.accounted:
            faults.append("the audio that arrived is not all accounted for")
        if self.ledger["lost_ms"]:
            faults.append(f"{self.ledger['lost_ms']} ms of audio were lost")
        if self.sockets_open_at_end:
            faults.append(f"{self.sockets_open_at_end} sockets to RTZR were left open")
        return faults + [f"a leg is not complete: {reason}" for reason in self.reasons]

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


@dataclass(frozen=True, slots=True)
class _Final:
    """A text, when what it says was over, and when it came: seconds of the loop's clock."""

    text: str
    ended_s: float
    came_s: float


@dataclass(slots=True)
class _Line:
    """One party: its telephone, its leg, and the finals that came back."""

    role: Role
    player: Player
    starts_s: list[float]
    """When each sentence is begun, on the loop's clock."""
    finals: list["_Final"] = field(default_factory=list)


async def run(publish: Callable[[Event], None]) -> Summary:
    """Play the call; every event goes to `publish` too. Raises DemoError."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await _run(publish)
    except TimeoutError:
        raise DemoError(f"the call was not over after {_PATIENCE_S} s; is this machine very busy?") from None
    except (OSError, PortsExhausted) as error:
        raise DemoError(_why(error)) from None
    except ExceptionGroup as group:
        expected, unexpected = group.split((OSError, PortsExhausted))
        if expected is None or unexpected is not None:
            raise
        raise DemoError(_why(_first(expected))) from None


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _why(error: BaseException) -> str:
    why = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"cannot open what the call needs on {_HOST}: {why}; it needs UDP and TCP on loopback"


async def _run(publish: Callable[[Event], None]) -> Summary:
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
        accounted=total.closes(),
        reasons=[reason for report in reports for reason in report.reasons],
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

    def keep(event: Event) -> None:
        if event.type == "rtzr.transcript.final":
            ended_s = origin_s + event.data["end_ms"] / 1000
            line.finals.append(_Final(str(event.data["text"]), ended_s, loop.time()))
        publish(event)

    ring = Ring(Codec.ULAW, _RING_MS)
    settings = LegSettings(GateSettings(silence_ms=300), message_ms=20)
    leg = Leg(
        LegId(_CALL, role),
        _PARTIES[role],
        Codec.ULAW,
        ring,
        Ungoverned(speech),
        settings,
        clock=clock,
        publish=keep,
    )
    with (
        closing(ports.open(Receiver(Codec.ULAW), clock, ring.push)) as port,
        closing(Player(_HOST, port.port)) as player,
    ):
        line = lines[role] = _Line(role, player, [spoken.at_s for spoken in turns])
        port.lock(*player.address)
        ring.answer(clock())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(leg.run(lambda: "hung up"))
            await player.play(turns, until_s)
            port.drain()
            ring.end()
        return running.result()


def _compare(lines: dict[Role, _Line]) -> list[Utterance]:
    """Each sentence beside all that came back while it was the party's latest, in the order of speaking."""
    said: dict[Role, int] = dict.fromkeys(lines, 0)
    utterances = []
    for role, sentence in _SCRIPT:
        index = said[role]
        said[role] += 1
        utterances.append(_utterance(lines[role], index, sentence))
    return utterances


def _utterance(line: _Line, index: int, sentence: str) -> Utterance:
    """The finals that ended after the sentence began and before the party's next: each has its sentence."""
    starts_s = line.starts_s
    from_s = starts_s[index] if index else float("-inf")
    to_s = starts_s[index + 1] if index + 1 < len(starts_s) else float("inf")
    finals = [final for final in line.finals if from_s <= final.ended_s < to_s]
    latency_ms = round((finals[-1].came_s - line.player.ended_s[index]) * 1000) if finals else None
    return Utterance(line.role, " / ".join(final.text for final in finals), sentence, latency_ms)
