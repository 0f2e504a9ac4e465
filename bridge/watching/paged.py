"""The book and the daemon's state, as the page asks for them. It only asks; nothing waits for it."""

from collections.abc import Callable
from typing import Any

from bridge.types import CallId
from bridge.watching.book import Several
from bridge.watching.status import Delivering, Status
from bridge.watching.watch import Watch


class Paged:
    """`bridge.page.watched.Watched`, of a Watch."""

    def __init__(
        self,
        watch: Watch,
        status: Status,
        deliveries: Delivering | None,
        pause: Callable[[CallId, bool], bool],
    ) -> None:
        """`pause`: the switchboard's."""
        self._watch = watch
        self._status = status
        self._deliveries = deliveries
        self._pause = pause

    def calls(self) -> list[dict[str, Any]]:
        return self._watch.calls()

    def call(self, name: str) -> dict[str, Any] | None:
        try:
            call = self._watch.find(name)
        except Several:
            return None
        return None if call is None else self._watch.story(call)

    async def status(self) -> dict[str, Any]:
        return await self._status.asked(self._watch, self._deliveries)

    def pause(self, call: str, paused: bool) -> bool:
        return self._pause(CallId(call), paused)
