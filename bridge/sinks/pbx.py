"""Finals back into the PBX, for what is built on it already: an event of its own, or a variable.

What the PBX is told, and that it may be told late or not at all; how a request goes out is `bridge.pbx`'s.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bridge.sinks.queued import QueuedSink
from bridge.types import Event
from bridge.wire.pbxevents import Gone, PbxError, PbxRefused, PbxUnreachable

_FINAL = "rtzr.transcript.final"
_LONGEST = 900
"""Bytes of text: Asterisk drops a line of the manager interface beyond 1,024. What ARI is told comes out
there too, and a line break in it would be the end of a header."""


class Tells(Protocol):
    """The part of a PBX that is needed for events."""

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        """An event of the PBX's own, about a channel. Raises Gone, PbxRefused, PbxUnreachable, PbxError."""
        ...


class Sets(Protocol):
    """The part that is needed for variables."""

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        """As `tell`."""
        ...


class PbxSink(QueuedSink):
    """Each final, told by `tell`: `as_event` or `as_variable`."""

    def __init__(self, tell: Callable[[Event], Awaitable[None]]) -> None:
        super().__init__()
        self._tell = tell

    async def put(self, events: Sequence[Event]) -> bool:
        finals = [event for event in events if event.type == _FINAL]
        for event in finals:
            try:
                await self._tell(event)
            except Gone:
                continue  # who hung up needs no variable
            except (PbxRefused, PbxUnreachable, PbxError) as error:
                raise OSError(f"{type(error).__name__} {error}".strip()) from None
        return bool(finals)


def as_event(pbx: Tells, name: str) -> Callable[[Event], Awaitable[None]]:
    """A final is a user event of this name."""

    async def tell(event: Event) -> None:
        await pbx.tell(name, event.data["channel"], _fields(event.subject, event.data))

    return tell


def as_variable(pbx: Sets, name: str) -> Callable[[Event], Awaitable[None]]:
    """The channel's variable of this name is its latest final."""

    async def tell(event: Event) -> None:
        await pbx.set_variable(event.data["channel"], name, shortened(event.data["text"]))

    return tell


def _fields(call: str, data: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Call": call,
        "Role": data["party"]["role"],
        "StartMs": str(data["start_ms"]),
        "EndMs": str(data["end_ms"]),
        "Text": shortened(data["text"]),
    }


def shortened(text: str) -> str:
    """On one line, and not longer than the PBX reads; the end is what was said last, so that is kept."""
    line = " ".join(text.split())
    kept = line.encode("utf-8", "replace")[-_LONGEST:]
    return kept.decode("utf-8", "ignore")
