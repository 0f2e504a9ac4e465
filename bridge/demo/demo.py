"""`rtzr-bridge demo`: an RTZR emulator, the bridge's own media path and two telephones, in one process.

The parties take turns with three Korean sentences each, over RTP on loopback or through a FreeSWITCH that is
emulated too; what comes back has to be word for word what was said. It measures and returns; the command line
prints.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bridge.config import ConfigError
from bridge.demo import rtp, stream
from bridge.demo.script import HOST, Utterance, compare
from bridge.emulator.server import Emulator, Knobs
from bridge.groups import first_of
from bridge.net.rtp import PortsExhausted
from bridge.types import Event

KNOBS = Knobs(auth_delay_ms=120, connect_delay_ms=80, recognition_ms=150)
_PATIENCE_S = 35
"""The call takes 13 s; what is not over by now hangs."""
_EXPECTED = (OSError, PortsExhausted, ConfigError)
Pbx = Literal["asterisk", "freeswitch"]


class DemoError(Exception):
    """The demonstration could not be held; the text says why, and the mend."""


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


async def run(publish: Callable[[Event], None], pbx: Pbx = "asterisk") -> Summary:
    """Play the call as `pbx` would bring it; every event goes to `publish` too. Raises DemoError."""
    with in_words():
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await _run(publish, pbx)
        except TimeoutError:
            why = f"the call was not over after {_PATIENCE_S} s; is this machine very busy?"
            raise DemoError(why) from None


@contextmanager
def in_words() -> Iterator[None]:
    """What this machine cannot give becomes a DemoError."""
    try:
        yield
    except _EXPECTED as error:
        raise DemoError(_why(error)) from None
    except ExceptionGroup as group:
        expected, unexpected = group.split(_EXPECTED)
        if expected is None or unexpected is not None:
            raise
        raise DemoError(_why(first_of(expected))) from None


def _why(error: BaseException) -> str:
    why = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"cannot open what the call needs on {HOST}: {why}; it needs UDP and TCP on loopback"


async def _run(publish: Callable[[Event], None], pbx: Pbx) -> Summary:
    call = stream.call if pbx == "freeswitch" else rtp.call
    async with Emulator(KNOBS) as rtzr:
        outcome = await call(rtzr, publish)
        stats = rtzr.stats()
    return Summary(
        utterances=compare(outcome.lines),
        tokens_issued=stats.tokens_issued,
        sockets_opened=stats.sockets_opened,
        sockets_open_at_end=stats.sockets_open,
        ledger=outcome.ledger.as_json(),
        accounted=outcome.ledger.closes(),
        reasons=outcome.reasons,
    )
