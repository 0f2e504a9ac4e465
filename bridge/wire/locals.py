"""Local channels: two halves, each of which says what is said behind the other one.

Pure. A half is nobody: whoever the other half dials is the one who speaks there, and as long as it has
dialled nobody, the half may have to stand in for whom or what is behind it. Whether, the roster decides.
"""

from dataclasses import dataclass, field

from bridge.types import CallId
from bridge.wire.pbxevents import Channel


@dataclass(slots=True)
class Locals:
    """By what both halves are called."""

    _diallers: dict[str, Channel] = field(default_factory=dict)
    """Who has dialled the near half; nobody if an originate made it, or a transfer."""
    _calls: dict[str, CallId] = field(default_factory=dict)
    """Followed calls that they are part of."""
    _legs: dict[str, str] = field(default_factory=dict)
    """By the name of a half that stands in for somebody, its id."""
    _leading: set[str] = field(default_factory=set)
    """Names of halves that have dialled somebody."""

    def dial(self, near: Channel, caller: Channel) -> None:
        """Somebody dials the near half."""
        self._diallers[near.pair] = caller

    def root(self, half: Channel) -> Channel:
        """Who began what this half goes on with: the first in a chain of Local channels; else itself."""
        seen = set[str]()
        while half.local and half.pair not in seen and (caller := self._diallers.get(half.pair)) is not None:
            seen.add(half.pair)
            half = caller
        return half

    def join(self, half: Channel, call: CallId) -> None:
        """It is part of a followed call."""
        self._calls[half.pair] = call

    def stand_in(self, half: Channel, call: CallId) -> bool:
        """It is to be a leg; whether it has to, for nobody else is there to speak for himself."""
        self._calls[half.pair] = call
        if self.leads_on(half):
            return False
        self._legs[half.name] = half.id
        return True

    def call(self, half: Channel) -> CallId | None:
        """The followed call that it is part of."""
        return self._calls.get(half.pair)

    def lead(self, half: Channel) -> str | None:
        """It dials somebody, for whom its other half need not stand in any more: that one's id, if it did."""
        self._leading.add(half.name)
        return self._legs.pop(_other(half.name), None)

    def leads_on(self, half: Channel) -> bool:
        """Whether the other half has dialled somebody."""
        return half.local and _other(half.name) in self._leading

    def standing(self, pair: str) -> list[str]:
        """The ids of its halves that stand in for somebody."""
        return [id_ for name in (f"{pair};1", f"{pair};2") if (id_ := self._legs.get(name)) is not None]

    def drop(self, pair: str) -> None:
        self._diallers.pop(pair, None)
        self._calls.pop(pair, None)
        for name in (f"{pair};1", f"{pair};2"):
            self._legs.pop(name, None)
            self._leading.discard(name)


def _other(name: str) -> str:
    return f"{name[:-1]}{'2' if name.endswith('1') else '1'}"
