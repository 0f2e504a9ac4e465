"""The book and the daemon's state, as the page asks for them. It only asks; nothing waits for it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bridge.delivery.deliveries import EndpointReport
from bridge.types import CallId
from bridge.watching.book import Several
from bridge.watching.shown import call_json, timeline_json
from bridge.watching.status import Status
from bridge.watching.watch import Watch
from bridge.wire.wishes import By


class Delivering(Protocol):
    """The part of `bridge.delivery.deliveries` that is needed."""

    async def report(self) -> list[EndpointReport]: ...


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
        self._watch.catch_up()
        now_s = self._watch.unix_s
        return [call_json(call, now_s) for call in self._watch.book]

    def call(self, name: str) -> dict[str, Any] | None:
        self._watch.catch_up()
        try:
            call = self._watch.book.find(name)
        except Several:
            return None
        return None if call is None else call_json(call, self._watch.unix_s) | timeline_json(call)

    async def deliveries(self, call: str) -> list[dict[str, Any]]:
        return await owed(self._deliveries, self._outbox, CallId(call))

    async def status(self) -> dict[str, Any]:
        self._watch.catch_up()
        waiting = 0 if self._deliveries is None else sum(r.waiting for r in await self._deliveries.report())
        return self._status.as_json(self._watch.book, waiting)

    def pause(self, call: str, paused: bool, who: str) -> bool:
        return self._pause(CallId(call), paused, By.PAGE, who)
