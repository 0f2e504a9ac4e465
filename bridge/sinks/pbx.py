"""Finals back into the PBX, for what is built on it already: an event of its own, or a variable.

What the PBX is told, and that it may be told late or not at all; how a request goes out is `bridge.pbx`'s.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bridge.sinks.queued import QueuedSink
from bridge.types import Event
from bridge.wire.pbxevents import Gone, PbxError, PbxRefused, PbxUnreachable

_FINAL = "rtzr.transcript.final"
_LONGEST = 900
"""Bytes of text: Asterisk drops a line of the manager interface beyond 1,024."""


class Told(Protocol):
    """The part of a `Pbx` that is needed."""

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        """An event of the PBX's own, about a channel."""
        ...

    async def set_variable(self, channel: str, name: str, value: str) -> None: ...


class PbxSink(QueuedSink):
    """Each final as a user event, or as the channel's variable, by `name`."""

    def __init__(self, pbx: Told, name: str, *, variable: bool) -> None:
        super().__init__()
        self._pbx = pbx
        self._name = name
        self._variable = variable

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

    async def _tell(self, event: Event) -> None:
        data = event.data
        if self._variable:
            await self._pbx.set_variable(data["channel"], self._name, shortened(data["text"]))
        else:
            await self._pbx.tell(self._name, data["channel"], _fields(event.subject, data))


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
