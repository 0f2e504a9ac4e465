"""What has been seen of each channel: when it was made, who it said it is, whether it is up, whether it is
gone.

Pure. What a channel is to us, the roster decides.
"""

from dataclasses import dataclass, field, replace

from bridge.wire.pbxevents import Channel

_REMEMBERED = 4096


@dataclass(slots=True)
class Seen:
    """Channels by id. `drop` what is gone."""

    own_prefix: str
    created: dict[str, float] = field(default_factory=dict)
    up: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    """Channels that were dialled: what they do in the dialplan is no call of their own."""
    speaking: set[str] = field(default_factory=set)
    """Channels of the PBX's own that carry audio."""
    _names: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Number and name, as they were first known: a dialplan may show others to those who are called."""
    _pairs: dict[str, str] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)
    """The newest that were destroyed: what is still on its way about them comes too late."""

    def see(self, channel: Channel) -> None:
        if self.gone(channel.id):
            return  # a list that was asked for can be older than its end
        self._pairs[channel.id] = channel.pair
        self.created[channel.id] = channel.created
        if not channel.local and not self.own(channel.id):
            self.speaking.add(channel.id)
        self.name(channel)

    def name(self, channel: Channel) -> bool:
        """Take its number and name, if none were known; whether that is news."""
        before = self._names.get(channel.id, ("", ""))
        self._names[channel.id] = after = before[0] or channel.number, before[1] or channel.caller_name
        return after != before

    def first_named(self, channel: Channel) -> Channel:
        """With the number and the name by which it was first known."""
        number, name = self._names.get(channel.id, ("", ""))
        return replace(channel, number=number or channel.number, caller_name=name or channel.caller_name)

    def drop(self, channel: str) -> None:
        self.created.pop(channel, None)
        self._pairs.pop(channel, None)
        self._names.pop(channel, None)
        for one in (self.up, self.called, self.speaking):
            one.discard(channel)

    def bury(self, channel: str) -> None:
        """It was destroyed."""
        self._gone[channel] = None
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def gone(self, channel: str) -> bool:
        return channel in self._gone

    def answered(self, channel: Channel) -> bool:
        return channel.up or channel.id in self.up

    def pair(self, channel: str) -> str:
        """What both halves of a Local channel are called, by the id of one; else its own name."""
        return self._pairs.get(channel, "")

    def own(self, id_: str) -> bool:
        """Whether it is a channel or a bridge of ours."""
        return id_.startswith(self.own_prefix)
