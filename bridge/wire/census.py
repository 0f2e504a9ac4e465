"""What the PBX has, as one answer to one question, and what ran here when it was asked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.types import CallId
from bridge.wire.pbxevents import Bridge, Channel


@dataclass(frozen=True, slots=True)
class Mark:
    """What the dialplan's one line leaves on a channel: the call's linkedid and the announcer's uniqueid."""

    call: CallId
    announcer: str

    @classmethod
    def read(cls, value: str | None) -> "Mark | None":
        """From `linkedid/uniqueid`; None for anything else."""
        call, slash, announcer = (value or "").partition("/")
        return cls(call, announcer) if call and slash and announcer else None


@dataclass(frozen=True, slots=True)
class Known:
    """What ran here at one moment, by channel id."""

    channels: frozenset[str]
    legs: frozenset[str]
    taps: frozenset[str]


@dataclass(frozen=True, slots=True)
class Census:
    """All that the PBX has, asked at one moment."""

    channels: tuple[Channel, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """By channel id, as the next one."""
    families: Mapping[str, CallId] = field(default_factory=dict)
    """The linkedids of channels without a mark, where rules may choose them."""
    bridges: tuple[Bridge, ...] = ()
    pauses: Mapping[str, str] = field(default_factory=dict)
    """By channel id, what the variable says by which calls are paused, where it is set."""


def callers(channels: Sequence[Channel], families: Mapping[str, CallId]) -> list[Channel]:
    """Those who call by themselves: people, and where a call has none, halves of Local channels that dial."""
    people = [one for one in channels if not one.dialled and not one.local]
    headed = {families[one.id] for one in people}
    halves = [one for one in channels if not one.dialled and one.local and one.dials]
    return people + [half for half in halves if families[half.id] not in headed]


def called(
    channels: Sequence[Channel], families: Mapping[str, CallId], legs: Mapping[str, CallId]
) -> list[Channel]:
    """Those whom followed calls have dialled; no half of a Local channel whose other half is a leg, and hears
    the same person."""
    halves = {one.pair for one in channels if one.local and one.id in legs}
    followed = set(legs.values())
    return [
        one
        for one in channels
        if one.dialled and families[one.id] in followed and not (one.local and one.pair in halves)
    ]
