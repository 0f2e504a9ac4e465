"""The right to hold a session, where nobody counts sessions: the demonstration, a file, a test.

Where an account's channels are shared by many legs, `quota` gives permits out.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bridge.leg.conversation import Session
from bridge.quota import Opener
from bridge.types import Codec


class Permit(Protocol):
    """A session, and the right to have one."""

    @property
    def session(self) -> Session: ...
    @property
    def evicted(self) -> asyncio.Event: ...
    def release(self) -> None: ...
    def failed_at_once(self) -> None: ...


class Speech(Protocol):
    """What opens sessions; it waits as long as there is no channel.

    Raises `Refused`, or any other exception when RTZR cannot be reached.
    """

    async def open(
        self,
        codec: Codec,
        priority: int = 0,
        *,
        since_s: float | None = None,
        instead_of: Permit | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Permit:
        """`since_s`: when the leg first asked, by the loop. `instead_of`: what it gives back for this.
        `options`: the streaming query's, if not the usual ones."""
        ...


@dataclass(slots=True)
class FreePermit:
    """Held as long as its session is; nobody takes it away."""

    session: Session
    evicted: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Nobody waits for it."""

    def failed_at_once(self) -> None:
        """Nobody draws conclusions from it."""


class Ungoverned:
    """Every leg gets a session at once."""

    def __init__(self, opener: Opener[Session]) -> None:
        self._opener = opener

    async def open(
        self,
        codec: Codec,
        priority: int = 0,  # noqa: ARG002 - nobody waits
        *,
        since_s: float | None = None,  # noqa: ARG002
        instead_of: Permit | None = None,  # noqa: ARG002
        options: Mapping[str, str] | None = None,
    ) -> FreePermit:
        """Raises what the opener raises."""
        return FreePermit(await self._opener.open(codec, options))
