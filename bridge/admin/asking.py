"""What every command shares that asks the running daemon: its options, the question, and plain columns.

What is asked and how the answer reads is the command's; how it goes over the socket, `bridge.admin.client`'s.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer
from rich.cells import cell_len

from bridge.admin.client import NoAnswer, ask
from bridge.commands.ending import fail, print_json
from bridge.config import DEFAULT_CONFIG, ConfigError, load
from bridge.waiting import waited

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The daemon's YAML file.")]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="The daemon's admin.socket; then no YAML is read.")
]

DEFAULT = DEFAULT_CONFIG


def asked(
    command: str,
    config: Path,
    socket: Path | None,
    what: str,
    order: Mapping[str, Any] | None = None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """The daemon's answer to `what` (as of `client.ask`). What stands in the way is told, as of `told`."""
    with told(command, as_json=as_json), waited("the daemon is asked", quiet=as_json):
        return ask(place(config, socket), what, order)


@contextmanager
def told(command: str, *, as_json: bool) -> Iterator[None]:
    """What goes wrong in the body ends the command with a line on standard error: with 2 where the
    configuration is wrong, else with 1. With `as_json` there is a document then too: `{"error": "..."}`."""
    try:
        yield
    except ConfigError as error:
        _fail_told(str(error), 2, as_json=as_json)
    except NoAnswer as error:
        _fail_told(f"{command}: {printable(str(error))}", 1, as_json=as_json)


def _fail_told(text: str, code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": text}, ensure_ascii=False))
    fail(text, code)


def part(name: str) -> str:
    """Any text as one part of a path: `..` would be another path."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def place(config: Path, socket: Path | None) -> Path:
    """Where the daemon listens: `socket`, or by its configuration; no secret is needed for that. Raises
    ConfigError."""
    if socket is not None:
        return socket
    path = load(config, os.environ, pbx=False, rtzr=False).admin.socket
    if path is None:
        text = "admin.socket: is not set; set it and start the daemon again, or give --socket"
        raise ConfigError([f"{config}: {text}"])
    return Path(path)


def show(answer: Mapping[str, Any], text: Callable[[], str], *, as_json: bool) -> None:
    """One JSON document, or the text."""
    if as_json:
        print_json(answer)
    else:
        typer.echo(text())


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, its columns below each other: Hangul is two wide. The last one has no end."""
    if not rows:
        return []
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    padded = [
        [*(text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=False)), row[-1]]
        for row in rows
    ]
    return ["  ".join(row).rstrip() for row in padded]


def printable(text: str) -> str:
    """Text of the network's for a terminal: nothing in it may move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def age(s: float) -> str:
    """A time in its biggest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if s >= length:
            return f"{s // length:.0f} {unit}"
    return f"{s:.0f} s"
