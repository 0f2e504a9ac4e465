"""The PBX as the switchboard and the taps need it, however it is reached: `net.ari.Ari` or `net.ami.Ami`.

Nothing but the shape.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from bridge.types import Codec
from bridge.wire.pbxevents import Channel, Connected, Disconnected, PbxEvent


class Pbx(Protocol):
    """One Asterisk. Every request raises PbxRefused, PbxUnreachable and PbxError."""

    @property
    def counters(self) -> Any:
        """A dataclass of numbers."""

    def events(self) -> AsyncGenerator[Connected | Disconnected | PbxEvent]:
        """Events in order, for ever, each connection's after its `Connected`; never an exception.

        One consumer at a time.
        """
        ...

    def slow(self) -> float:
        """How long a request takes these days, in seconds, if that is too long for the PBX; else 0."""
        ...

    async def channels(self) -> tuple[Channel, ...]:
        """The live channels."""
        ...

    async def variable(self, channel: str, name: str) -> str | None:
        """A channel's variable; None when the channel has none of that name, or is gone."""
        ...

    async def originate_tap(self, tap: str, tapped: str, host: str, port: int, codec: Codec) -> object:
        """Start the tap `tap` of the channel `tapped`, sending RTP to `host`:`port`."""
        ...

    async def hangup(self, channel: str) -> None:
        """Hang a channel up; one that is gone already is no error."""
