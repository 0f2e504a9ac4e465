"""`rtzr-bridge tail`: what is said, as it is said, at somebody's terminal or in a pipe.

What a line looks like is `bridge.sinks.console`'s, as on the daemon's own standard output.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from bridge import loops
from bridge.admin import completing
from bridge.admin.asking import DEFAULT, ConfigOption, SocketOption, place, told
from bridge.admin.client import follow
from bridge.commands.ending import INTERRUPTED
from bridge.sinks.console import ConsoleSink, terminal
from bridge.types import Event


def command(
    call: Annotated[
        str | None,
        typer.Argument(
            help="Only this call: its id, a leg's, or how it begins.",
            show_default=False,
            autocompletion=completing.live_calls,
        ),
    ] = None,
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print each event as JSON, one a line.")] = False,
) -> None:
    """Show what is said from now on, of all calls, or of one until it ends.

    On a terminal the text changes while it is said; in a pipe there is one line for each final.
    Exits with 0 when the call or the daemon has ended, with 1 if there is no such call or no daemon answers,
    with 130 after Ctrl-C.
    """
    with told("tail", as_json=json_):
        path = place(config, socket)
        try:
            loops.run(_print(path, call) if json_ else _show(path, call))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except _Gone:
            raise typer.Exit(1) from None


def _events(path: Path, call: str | None) -> AsyncGenerator[dict[str, Any], None]:
    return follow(path, "/tail" if call is None else f"/tail?call={quote(call, safe='')}")


async def _print(path: Path, call: str | None) -> None:
    async with aclosing(_events(path, call)) as events:
        async for event in events:
            typer.echo(json.dumps(event, ensure_ascii=False))


class _Gone(Exception):
    """Nobody reads what is printed any more, as behind `| head`."""


class _Printed(ConsoleSink):
    """As the daemon's own; that one goes on without a reader."""

    async def put(self, events: Sequence[Event]) -> bool:
        try:
            return await super().put(events)
        except BrokenPipeError:
            raise _Gone from None


async def _show(path: Path, call: str | None) -> None:
    sink = _Printed(console=terminal())
    writing = asyncio.create_task(sink.run())
    try:
        async with aclosing(_events(path, call)) as events:
            async for one in events:
                if writing.done():
                    break
                sink.deliver(Event(one["id"], one["type"], one["subject"], one["time"], one["data"]))
    finally:
        sink.close()
        await writing
