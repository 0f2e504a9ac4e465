"""A PBX that has what it is given, and remembers what it was asked to do."""

from typing import cast

from bridge.pbx import Pbx
from bridge.wire.pbxevents import Bridge, Channel, PbxUnreachable


class FakePbx:
    """As much of a `bridge.pbx.Pbx` as is asked beside the events; `as_pbx` says that it is one."""

    def __init__(self, *live: Channel) -> None:
        self.live = live
        self.meetings: tuple[Bridge, ...] = ()
        self.variables: dict[tuple[str, str], str] = {}
        """By channel id and name."""
        self.absent: set[str] = set()
        """What it does not answer to: a request's name, or a channel's id."""
        self.done: list[tuple[str, str]] = []

    def _ask(self, *what: str) -> None:
        if self.absent & set(what):
            raise PbxUnreachable("ReadTimeout")

    async def channels(self) -> tuple[Channel, ...]:
        self._ask("channels")
        return self.live

    async def bridges(self) -> tuple[Bridge, ...]:
        return self.meetings

    async def variable(self, channel: str, name: str) -> str | None:
        self._ask("variable", channel)
        return self.variables.get((channel, name))

    async def hangup(self, channel: str) -> None:
        self._do("hangup", channel)

    async def destroy_bridge(self, bridge: str) -> None:
        self._do("destroy_bridge", bridge)

    async def give_back(self, channel: str) -> None:
        self._do("give_back", channel)

    def _do(self, what: str, whom: str) -> None:
        self._ask(what, whom)
        self.done.append((what, whom))


def as_pbx(fake: FakePbx) -> Pbx:
    return cast("Pbx", fake)  # the rest of it is not asked
