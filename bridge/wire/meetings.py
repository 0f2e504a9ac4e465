"""Who hears whom: the bridges of the PBX in which people meet, and who is in each.

Pure. Whether somebody who meets a followed call belongs to it is the roster's decision. Over ARI nothing but
a common bridge joins a caller who takes a parked call, a conference, or two calls that are transferred into
one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.wire.pbxevents import Bridge, Channel


@dataclass(slots=True)
class Meetings:
    """Channels by bridge, in the order in which they came."""

    _in: dict[str, dict[str, Channel]] = field(default_factory=dict)

    def enter(self, channel: Channel, bridge: str) -> tuple[Channel, ...]:
        """All who are in the bridge now."""
        there = self._in.setdefault(bridge, {})
        there[channel.id] = channel
        return tuple(there.values())

    def leave(self, channel: str, bridge: str) -> None:
        there = self._in.get(bridge, {})
        there.pop(channel, None)
        if not there:
            self._in.pop(bridge, None)

    def around(self, channel: str) -> tuple[Channel, ...]:
        """All who are with a channel, itself among them; nobody if it is in no bridge."""
        return next((tuple(there.values()) for there in self._in.values() if channel in there), ())

    def drop(self, channel: str) -> None:
        """It is gone, whether or not it was seen to leave."""
        for bridge in [bridge for bridge, there in self._in.items() if channel in there]:
            self.leave(channel, bridge)

    def compare(
        self, bridges: Iterable[Bridge], here: Mapping[str, Channel]
    ) -> tuple[tuple[Channel, ...], ...]:
        """What the PBX says is so; those who are together in each."""
        self._in = {}
        for bridge in bridges:
            there = {id_: here[id_] for id_ in sorted(bridge.channels) if id_ in here}
            if there and not bridge.holding:
                self._in[bridge.id] = there
        return tuple(tuple(there.values()) for there in self._in.values())

    def __len__(self) -> int:
        return len(self._in)
