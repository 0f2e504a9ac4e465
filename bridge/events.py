"""The events that leave the bridge, made from nouns. Shapes only: nothing here delivers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from typing import Any

from bridge.types import CallId, Codec, Event, Gap, LegId, Party, Transcript
from bridge.wire.cost import Cost
from bridge.wire.ledger import Ledger


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tag() -> str:
    """What no other life of the bridge puts into its ids. A call's age would not do: after a restart it can
    be less than before, for the PBX's clock may have been set back."""
    return token_hex(4)


def _id(*parts: object) -> str:
    return "/".join(map(str, (*parts, _tag())))


def _verdict(reasons: Sequence[str]) -> dict[str, Any]:
    return {"verdict": "partial" if reasons else "complete", "reasons": list(reasons)}


def call_started(call: CallId, at_ms: float, rule: str = "") -> Event:
    """`at_ms`: how old the call was when the bridge first saw it; `rule`: which one chose it, if one did."""
    data: dict[str, Any] = {"at_ms": round(at_ms)} | ({"rule": rule} if rule else {})
    return Event(_id(call, "started", round(at_ms)), "rtzr.call.started", call, _now(), data)


def call_refused(call: CallId, at_ms: float, reason: str) -> Event:
    """The bridge has no room for a call: `reason` is max_legs, cpu or lag. Nothing follows of this call."""
    data = {"at_ms": round(at_ms), "reason": reason}
    return Event(_id(call, "refused", round(at_ms)), "rtzr.call.refused", call, _now(), data)


def call_merged(call: CallId, into: CallId, at_ms: float) -> Event:
    """People of two calls hear each other from now on: `into` is the older one. Both keep their ids."""
    data = {"at_ms": round(at_ms), "into": into}
    return Event(_id(call, "merged", into, round(at_ms)), "rtzr.call.merged", call, _now(), data)


def call_paused(call: CallId, at_ms: float, by: str, who: str = "") -> Event:
    """Nothing that is said from now on is sent to RTZR or kept; `by`: consent (it begins so, by its rule),
    page, command, event, variable or keys. `who`: the person, as far as is known (whom the page's proxy
    named, the user of the command), the channel, or the rule."""
    data = {"at_ms": round(at_ms), "by": by, "who": who}
    return Event(_id(call, "paused", round(at_ms)), "rtzr.call.paused", call, _now(), data)


def call_resumed(call: CallId, at_ms: float, by: str, who: str = "") -> Event:
    """The end of a pause; `by` and `who` as of `call_paused`."""
    data = {"at_ms": round(at_ms), "by": by, "who": who}
    return Event(_id(call, "resumed", round(at_ms)), "rtzr.call.resumed", call, _now(), data)


def call_ended(
    call: CallId, at_ms: float, ledger: Ledger, legs: int, reasons: list[str], cost: Cost
) -> Event:
    """`at_ms` is the call's age; `verdict` is `complete`, or `partial` with the legs' reasons."""
    data: dict[str, Any] = {
        "at_ms": round(at_ms),
        **_verdict(reasons),
        "legs": legs,
        "ledger": ledger.as_json(),
        "cost": cost.as_json(),
    }
    return Event(_id(call, "ended", round(at_ms)), "rtzr.call.ended", call, _now(), data)


class LegEvents:
    """Events of one leg, as one process hears it, numbered in the order in which they were made.

    An id is the leg, a tag and the number. Whoever hears the leg next (a bridge or a worker that was
    restarted in mid-call) has a tag of its own, and never gives an id that a receiver has seen.
    """

    def __init__(self, leg: LegId, party: Party) -> None:
        self._leg = leg
        self._id = str(leg)
        self._life = _tag()
        self._party = asdict(party)
        self._numbers = count(1)

    def know(self, party: Party) -> None:
        """Who speaks is known better from now on."""
        self._party = asdict(party)

    def started(self, codec: Codec) -> Event:
        return self._make("leg.started", {"codec": codec.label})

    def transcript(self, transcript: Transcript, latency_ms: int, *, mixed: bool = False) -> Event:
        """`latency_ms`: from the end of the audio that the text covers until now. `mixed`: it may be what the
        call's other party said, for both are in one stream."""
        data: dict[str, Any] = {
            "text": transcript.text,
            "start_ms": transcript.start_ms,
            "end_ms": transcript.end_ms,
            "latency_ms": latency_ms,
        }
        if mixed:
            data["mixed"] = True
        if transcript.final:
            data["words"] = [
                {"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms, "confidence": w.confidence}
                for w in transcript.words
            ]
        return self._make("transcript.final" if transcript.final else "transcript.partial", data)

    def gap(self, gap: Gap, *, spooled: bool = False) -> Event:
        """`spooled`: the audio is on the disk, and its transcripts may follow `late`."""
        data = {
            "start_ms": gap.start_ms,
            "end_ms": gap.end_ms,
            "ms": gap.ms,
            "reason": gap.reason.value,
            "spooled": spooled,
        }
        return self._make("gap", data)

    def ended(self, cause: str, ledger: Ledger, reasons: Sequence[str] = (), refusal: str = "") -> Event:
        """`verdict` is `complete`, or `partial` with the `reasons`; `refusal` is RTZR's own word, if any."""
        data = {"cause": cause, **_verdict(reasons), "ledger": ledger.as_json()}
        return self._make("leg.ended", data | ({"refusal": refusal} if refusal else {}))

    def _make(self, name: str, data: dict[str, Any]) -> Event:
        who = {"leg": self._id, "channel": self._leg.channel, "party": self._party.copy()}
        number = next(self._numbers)
        return Event(
            f"{self._id}/{self._life}/{number}", f"rtzr.{name}", self._leg.call, _now(), {**who, **data}
        )
