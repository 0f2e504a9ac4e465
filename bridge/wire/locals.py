"""Local channels: two halves, of which one was dialled and the other goes its way through the dialplan.

Pure. A half is nobody: whoever the far half dials is the one who speaks. Whether the near half has to stand
in for somebody all the same, the roster decides.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.types import CallId
from bridge.wire.pbxevents import Channel


class Dialled(NamedTuple):
    """A Local channel that a leg has dialled."""

    near: str
    """The id of the half that was dialled."""
    call: CallId


@dataclass(slots=True)
class Locals:
    """By what both halves are called."""

    _dialled: dict[str, Dialled] = field(default_factory=dict)
    _leading: set[str] = field(default_factory=set)
    """Those whose far half has dialled somebody."""

    def dial(self, near: Channel, call: CallId) -> None:
        """A leg of this call dials it."""
        self._dialled[near.pair] = Dialled(near.id, call)

    def lead(self, far: Channel) -> Dialled | None:
        """Its far half dials somebody: for whom, if a leg has dialled it."""
        self._leading.add(far.pair)
        return self._dialled.get(far.pair)

    def leads_on(self, near: Channel) -> bool:
        """Whether this is the near half of one that leads to somebody."""
        return near.name.endswith(";1") and near.pair in self._leading

    def drop(self, pair: str) -> None:
        self._dialled.pop(pair, None)
        self._leading.discard(pair)
