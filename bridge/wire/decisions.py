"""What the roster decides, for the switchboard to carry out. Values only."""

from dataclasses import dataclass

from bridge.types import CallId, Role
from bridge.wire.pbxevents import Channel
from bridge.wire.rules import Choice


@dataclass(frozen=True, slots=True)
class StartLeg:
    channel: Channel
    call: CallId
    role: Role
    late: bool = False
    """Whether it was up already when it was found: what was said before is not known."""
    rule: str = ""
    """Which one chose the call, if one did."""


@dataclass(frozen=True, slots=True)
class AnswerLeg:
    channel: str
    at_s: float | None
    """Unix seconds, the PBX's clock, at the earliest if it was missed; None: before the leg began."""


@dataclass(frozen=True, slots=True)
class KnowParty:
    """Who speaks on a leg is known better now."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class EndLeg:
    channel: str
    cause: str


@dataclass(frozen=True, slots=True)
class Merge:
    """People of two calls hear each other: `call` has come to the older one."""

    call: CallId
    into: CallId


@dataclass(frozen=True, slots=True)
class EndTap:
    """A tap is over: one of its channels is gone."""

    tap: str


@dataclass(frozen=True, slots=True)
class RemoveStray:
    """One of our own channels that nothing here runs."""

    channel: str


@dataclass(frozen=True, slots=True)
class RemoveBridge:
    """One of our own bridges that nothing here runs."""

    bridge: str


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A call that the dialplan sent to our application and that is not for us: it goes on in the dialplan."""

    channel: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """The PBX has to be asked for the linkedid."""

    channel: Channel
    rule: str | None = None
    """The one that chose it; none of a channel that was announced without a readable mark, or sent to us."""
    leads: bool = False
    """Nothing chose it: it dials somebody, perhaps for a call that is followed."""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """A rule has chosen the call not to be heard."""

    channel: str
    choice: Choice


Decision = (
    StartLeg
    | AnswerLeg
    | KnowParty
    | EndLeg
    | Merge
    | EndTap
    | RemoveStray
    | RemoveBridge
    | GiveBack
    | LookUp
    | Pass
)
