"""What one life of a worker holds of the account's channels: asked for, watched, and given back when it ends.

Who gets a channel is `quota`'s decision; the sockets are the worker's.
"""

import asyncio
from typing import Any

from bridge.net.link import Link, LinkLost
from bridge.quota import Governor, Permit
from bridge.wire import link as wire


class HeldChannels:
    """What one life of a worker holds of the account's channels."""

    def __init__(self, governor: Governor[Any], link: Link) -> None:
        self._governor = governor
        self._link = link
        self._over = False
        self._held: dict[int, tuple[Permit[None], asyncio.Task[None]]] = {}

    async def want(self, want: wire.WantSession) -> None:
        """Wait for a channel, and have the worker dial. Raises `Refused`, `Unreachable` and LinkLost."""
        before = None if want.instead_of is None else self._drop(want.instead_of)
        permit: Permit[None] = await self._governor.admit(
            lambda: self._link.ask(wire.Dial(want.session)),
            want.priority,
            since_s=want.since_s,
            instead_of=before,
        )
        if self._over:
            permit.release()
            raise LinkLost
        watching = asyncio.get_running_loop().create_task(self._watch(want.session, permit))
        self._held[want.session] = permit, watching

    async def _watch(self, session: int, permit: Permit[None]) -> None:
        await permit.evicted.wait()
        self._link.tell(wire.Evict(session))

    def leave(self, session: int, *, failed_at_once: bool) -> None:
        permit = self._drop(session)
        if permit is not None and failed_at_once:
            permit.failed_at_once()
        elif permit is not None:
            permit.release()

    def _drop(self, session: int) -> Permit[None] | None:
        permit, watching = self._held.pop(session, (None, None))
        if watching is not None:
            watching.cancel()
        return permit

    def leave_all(self) -> None:
        """The life is over, and what it still waits for is nobody's."""
        self._over = True
        for session in tuple(self._held):
            self.leave(session, failed_at_once=False)
