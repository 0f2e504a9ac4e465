"""Calls that the dialplan has sent to our application, to stay: each waits there until it is given back.

Pure. Which of them are heard is the roster's decision.
"""

from dataclasses import dataclass, field

from bridge.wire.pbxevents import Channel


@dataclass(slots=True)
class Guests:
    """By channel id. `drop` what is gone."""

    app: str
    """Our Stasis application."""
    own_prefix: str
    """How the ids of our own channels begin, some of which are in it too."""
    here: set[str] = field(default_factory=set)
    _unwanted: set[str] = field(default_factory=set)

    def come(self, channel: str) -> bool:
        """It is here; whether it may stay."""
        self.here.add(channel)
        return channel not in self._unwanted

    def leave(self, channel: str) -> None:
        self.here.discard(channel)

    def turn_away(self, channel: str) -> None:
        """It is not to be heard, and need not come."""
        self._unwanted.add(channel)

    def drop(self, channel: str) -> None:
        """It is gone."""
        self.here.discard(channel)
        self._unwanted.discard(channel)

    def stays(self, channel: Channel) -> bool:
        """Whether the PBX says that it is here."""
        data = channel.application_data.partition(",")[0]
        ours = channel.id.startswith(self.own_prefix)
        return channel.application == "Stasis" and data == self.app and not ours
