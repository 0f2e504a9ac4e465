"""The PBX as the switchboard and the taps need it, however it is reached: `net.ari.Ari`, `net.ami.Ami` or
`net.freeswitch.FreeSwitch`.

Nothing but the shape.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from bridge.wire.pbxevents import Bridge, Channel, Connected, Disconnected, PbxEvent
from bridge.wire.taporder import TapOrder


class Pbx(Protocol):
    """One PBX. Every request raises PbxRefused, PbxUnreachable and PbxError."""

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
        """A channel's variable; None when the channel has none of that name, or is gone. `LINKEDID` and
        `STATE` are asked of every PBX."""
        ...

    async def bridges(self) -> tuple[Bridge, ...]:
        """The live bridges with somebody in them."""
        ...

    async def attach(self, order: TapOrder) -> str:
        """Start a tap; the id of the channel that is to send us its audio, which need not be up yet."""
        ...

    async def complete(self, order: TapOrder) -> None:
        """What is left to do once that channel has found us."""
        ...

    async def detach(self, order: TapOrder) -> None:
        """Remove what is left of a tap; what is gone already is no error."""
        ...

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        """Set a channel's variable."""
        ...

    async def give_back(self, channel: str) -> None:
        """Let a call that the dialplan sent to our application go on in it."""
        ...

    async def destroy_bridge(self, bridge: str) -> None: ...

    async def hangup(self, channel: str) -> None:
        """Hang a channel up; one that is gone already is no error."""
