"""Live calls for which there was no room are asked for again: after a connect all come at once, and the door
learns only then what a leg costs.

When that is, and ever more seldom; which calls there are then, the switchboard finds out.
"""

import asyncio
from collections.abc import Callable, Coroutine

_AGAIN_S, _LONGEST_S = 5.0, 60.0


class ComeBack:
    """`send` runs an errand beside the events; `ask` is what is done again."""

    def __init__(
        self,
        send: Callable[[Coroutine[None, None, None]], object],
        ask: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self._send = send
        self._ask = ask
        self._under_way = False
        self._pause_s = _AGAIN_S

    def soon(self) -> None:
        """The PBX is connected anew: the next time comes soon."""
        self._pause_s = _AGAIN_S

    def again(self) -> None:
        """There was no room."""
        if not self._under_way:
            self._under_way = True
            self._send(self._wait())

    async def _wait(self) -> None:
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        self._under_way = False
        await self._ask()
