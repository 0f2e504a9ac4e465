"""Live text for a person at a terminal: speakers in colour, partials that change in place, finals that stay.

On something else than a terminal only finals are printed, one plain line each.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from bridge.sinks.queued import QueuedSink
from bridge.types import Event

_COLOURS = {"caller": "cyan", "callee": "green"}


class ConsoleSink(QueuedSink):
    """Prints transcripts; `partials` only where the terminal can take them back."""

    def __init__(self, *, partials: bool = True, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._partials = partials and self._console.is_terminal
        self._saying: dict[str, Text] = {}
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    async def run(self) -> None:
        if not self._partials:
            return await super().run()
        with self._live:
            return await super().run()

    async def write(self, events: Sequence[Event]) -> None:
        for event in events:
            self._show(event)
        if self._partials:
            self._live.update(Group(*self._saying.values()), refresh=True)

    def _show(self, event: Event) -> None:
        leg = str(event.data.get("leg", ""))
        if event.type == "rtzr.transcript.partial":
            self._saying[leg] = _line(event.data, partial=True)
        elif event.type == "rtzr.transcript.final":
            self._saying.pop(leg, None)
            self._console.print(_line(event.data, partial=False))
        elif event.type == "rtzr.leg.ended":
            self._saying.pop(leg, None)


def _line(data: dict[str, Any], *, partial: bool) -> Text:
    role = str(data["party"]["role"])
    line = Text(no_wrap=partial, overflow="ellipsis" if partial else None)
    line.append(call_time(data["start_ms"]), style="dim")
    line.append(f"  {role:<7}", style=f"bold {_COLOURS.get(role, 'white')}")
    line.append(f" {data['text']}{' …' if partial else ''}", style="italic dim" if partial else "")
    return line


def call_time(ms: int) -> str:
    """`83250` as `01:23.2`."""
    minutes, rest = divmod(max(ms, 0), 60_000)
    return f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000 // 100}"
