"""The book and the daemon's state, as the page asks for them. It only asks; nothing waits for it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bridge.types import CallId
from bridge.watching.book import Several
from bridge.watching.status import Delivering, Status
from bridge.watching.watch import Watch
from bridge.wire.wishes import By


class Kept(Protocol):
    """The part of `bridge.outbox.outbox` that is needed."""

    async def of_call(self, call: str) -> Mapping[str, int]: ...


async def owed(deliveries: Delivering | None, outbox: Kept | None, call: CallId) -> list[dict[str, Any]]:
    """How many events of the call each endpoint has yet to get, and how it does."""
    if deliveries is None or outbox is None:
        return []
    waiting = await outbox.of_call(call)
    return [
        {"name": one.name, "waiting": waiting.get(one.name, 0), "state": one.state, "error": one.error}
        for one in sorted(await deliveries.report(), key=lambda one: one.name)
    ]


class Paged:
    """`bridge.page.watched.Watched`, of a Watch."""

    def __init__(
        self,
        watch: Watch,
        status: Status,
        deliveries: Delivering | None,
        pause: Callable[[CallId, bool, By, str], bool],
        outbox: Kept | None = None,
    ) -> None:
        """`pause`: the switchboard's."""
        self._watch = watch
        self._status = status
        self._deliveries = deliveries
        self._pause = pause
        self._outbox = outbox

    def calls(self) -> list[dict[str, Any]]:
        return self._watch.calls()

    def call(self, name: str) -> dict[str, Any] | None:
        try:
            call = self._watch.find(name)
        except Several:
            return None
        return None if call is None else self._watch.story(call)

    async def deliveries(self, call: str) -> list[dict[str, Any]]:
        return await owed(self._deliveries, self._outbox, CallId(call))

    async def status(self) -> dict[str, Any]:
        return await self._status.asked(self._watch, self._deliveries)

    def pause(self, call: str, paused: bool, who: str) -> bool:
        return self._pause(CallId(call), paused, By.PAGE, who)
