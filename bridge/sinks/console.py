"""Live text for a person at a terminal: speakers in colour, partials that change in place, finals that stay.

On something else than a terminal only finals are printed, one plain line each. Log lines for the same
terminal go through `LogLines`, so that they stand above what changes in place and do not tear it.
"""

import io
import sys
from collections.abc import Sequence
from typing import Any, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.sinks.queued import BlockingSink
from bridge.types import CallId, Event

_COLOURS = {"caller": "cyan", "callee": "green"}


class ConsoleSink(BlockingSink):
    """Prints transcripts; `partials` only where the terminal can take them back, and below them there what
    is given, as it changes."""

    def __init__(
        self,
        *,
        partials: bool = True,
        console: Console | None = None,
        below: Sequence[RenderableType] = (),
    ) -> None:
        super().__init__()
        self._console = console or terminal()
        self._partials = partials and self._console.is_terminal
        self._saying: dict[str, Table | Text] = {}
        self._marks = _CallMarks()
        self._voices = _Voices()
        self._below = below
        self._live = Live(
            Group(*below),
            console=self._console,
            auto_refresh=bool(below) and self._partials,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    async def run(self) -> None:
        if not self._partials:
            return await super().run()
        with self._live:
            return await super().run()

    def write(self, events: Sequence[Event]) -> bool:
        for event in events:
            self._show(event)
        if self._partials:
            self._live.update(Group(*self._saying.values(), *self._below), refresh=True)
        return self._partials or any(event.type == "rtzr.transcript.final" for event in events)

    def _show(self, event: Event) -> None:
        leg = str(event.data.get("leg", ""))
        match event.type:
            case "rtzr.call.started":
                self._marks.begin(event.subject)
            case "rtzr.call.merged":
                self._meet(event)
            case "rtzr.call.paused" | "rtzr.call.resumed":
                self._tell_pause(event)
            case "rtzr.leg.started":
                self._voices.begin(event.subject, event.data)
            case "rtzr.transcript.partial" if self._partials:
                self._saying[leg] = self._line(event, partial=True)
            case "rtzr.transcript.final":
                self._saying.pop(leg, None)
                self._print(self._line(event, partial=False))
            case "rtzr.leg.ended":
                self._saying.pop(leg, None)
            case "rtzr.call.ended":
                self._marks.end(event.subject)
                self._voices.end(event.subject)

    def _meet(self, event: Event) -> None:
        """Two calls hear each other from now on."""
        marks = [self._marks.mark(call) for call in (event.subject, event.data["into"])]
        if all(mark for mark, _ in marks):
            self._print(Text(f"{marks[0][0]} has come to {marks[1][0]}", style="dim"))

    def _tell_pause(self, event: Event) -> None:
        mark, _ = self._marks.mark(event.subject)
        what = "paused" if event.type == "rtzr.call.paused" else "resumed"
        self._print(Text(f"{mark or 'the call'} is {what}", style="dim"))

    def _print(self, what: Table | Text) -> None:
        self._console.print(what, soft_wrap=not self._console.is_terminal)

    def _line(self, event: Event, *, partial: bool) -> Table | Text:
        mark, is_new = self._marks.mark(event.subject)
        if is_new:
            self._print(Text(f"{mark} is call {event.subject}", style="dim"))
        who = self._voices.name(event.subject, event.data)
        parts = _parts(mark, who, event.data, partial=partial)
        return _row(parts) if self._console.is_terminal else Text("  ").join(parts)


class _Voices:
    """Who is to be named beside the role: after a transfer a call has two callees."""

    def __init__(self) -> None:
        self._of: dict[CallId, dict[str, set[str]]] = {}

    def begin(self, call: CallId, data: dict[str, Any]) -> None:
        party = data["party"]
        self._of.setdefault(call, {}).setdefault(str(party["role"]), set()).add(str(party.get("number", "")))

    def end(self, call: CallId) -> None:
        self._of.pop(call, None)

    def name(self, call: CallId, data: dict[str, Any]) -> str:
        role, number = str(data["party"]["role"]), str(data["party"].get("number", ""))
        several = len(self._of.get(call, {}).get(role, ())) > 1
        return f"{role:<6} {_printable(number)}".rstrip() if several else f"{role:<6}"


class _CallMarks:
    """`#2` for the second of several calls: numbers that begin again when no call is live."""

    def __init__(self) -> None:
        self._numbers: dict[CallId, int] = {}
        self._marked: set[CallId] = set()
        self._last = 0

    def begin(self, call: CallId) -> None:
        if not self._numbers:
            self._last = 0
        self._last += 1
        self._numbers.setdefault(call, self._last)

    def end(self, call: CallId) -> None:
        self._numbers.pop(call, None)
        self._marked.discard(call)

    def mark(self, call: CallId) -> tuple[str, bool]:
        """The call's mark, empty while it is the only one, and whether it was never shown before.

        A call that was marked once stays so: the reader has learned it.
        """
        number = self._numbers.get(call)
        if number is None or (len(self._numbers) < 2 and call not in self._marked):
            return "", False
        is_new = call not in self._marked
        self._marked.add(call)
        return f"#{number}", is_new


class LogLines(io.TextIOBase):
    """A text stream whose lines appear above the live region of `console`, in `style` if one is given."""

    def __init__(self, console: Console, style: str = "") -> None:
        super().__init__()
        self._console = console
        self._style = style
        self._begun = ""

    def isatty(self) -> bool:
        """Whether to send colours: not when the lines get a style of their own."""
        return not self._style

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._console.print(Text.from_ansi(line, style=self._style), soft_wrap=True)
        return len(text)


class _Terminal(Console):
    """Rich's own would end the process when the reader of its output goes away."""

    def on_broken_pipe(self) -> None:
        del self._buffer[:]  # it keeps what it could not write, for ever
        raise  # the BrokenPipeError that is being handled: BlockingSink counts it


def terminal() -> Console:
    """Standard output, as this program writes to it: no guessing of what in a line may be a number."""
    return _Terminal(highlight=False, markup=False, emoji=False)


def log_stream(console: Console, style: str = "") -> TextIO:
    """Where the log goes: standard error; through `console` where both are the same person's terminal."""
    if console.is_terminal and sys.stderr.isatty():
        return cast("TextIO", LogLines(console, style))
    return sys.stderr


def _parts(mark: str, who: str, data: dict[str, Any], *, partial: bool) -> list[Text]:
    role = str(data["party"]["role"])
    said = f"{_printable(data['text'])}{' …' if partial else ''}"
    parts = [
        Text(call_time(data["start_ms"]), style="dim"),
        Text(who, style=f"bold {_COLOURS.get(role, 'white')}"),
        Text(said, style="italic dim" if partial else ""),
    ]
    return [Text(mark, style="bold"), *parts] if mark else parts


def _row(parts: list[Text]) -> Table:
    """One line, or more with the text under the text, where it is longer than the terminal is wide."""
    row = Table.grid(padding=(0, 2))
    for _ in parts[:-1]:
        row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(*parts)
    return row


def _printable(text: str) -> str:
    """Text of the network's for a terminal: nothing in it may move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def call_time(ms: int) -> str:
    """`83250` as `01:23.2`."""
    minutes, rest = divmod(max(ms, 0), 60_000)
    return f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000 // 100}"
