"""What the page needs to know of calls, as whoever watches them tells it. Shapes only."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Told = Mapping[str, Any]
"""A JSON object; docs/page.md names its keys."""


class Watched(Protocol):
    """A bounded book of the calls that are live and the last that are over. Nothing here waits for a PBX."""

    def calls(self) -> Sequence[Told]:
        """All of them, without their timelines; a call that is over does not change for long."""
        ...

    def call(self, name: str) -> Told | None:
        """The one call whose id, or a leg's of it, is or begins with `name`, with its `timeline`."""
        ...

    async def status(self) -> Told:
        """How the daemon is."""
        ...

    def pause(self, call: str, paused: bool) -> bool:
        """Stop the audio of a live call, or let it go on; False where there is none of this id."""
        ...
