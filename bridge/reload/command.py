"""`rtzr-bridge reload`: have the running daemon read its YAML again, or say what that would change."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.admin.asking import (
    DEFAULT,
    ConfigOption,
    SocketOption,
    place,
    printable,
    told,
)
from bridge.admin.client import ask
from bridge.commands.ending import JsonOption, fail, print_json
from bridge.reload.changes import RESTART
from bridge.waiting import waited

_LONGEST = 200


def command(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what would be.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show every key's old and new value, before anything changes.")
    ] = False,
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
) -> None:
    """Have the running daemon read its YAML again: for new calls; live ones keep what they began with.

    A file with a fault changes nothing. What needs a restart is named, and left as it is. Secrets are read
    anew from the files that *_FILE variables name; variables themselves are as they were at the start.
    Exits with 2 where the YAML has a fault.
    """
    with told("reload", as_json=json_), waited("the daemon reads its YAML", quiet=json_):
        done = _ask(place(config, socket), check=check, diff=diff and not json_)
    if json_:
        print_json(done)
    elif done["ok"]:
        typer.echo("\n".join(_text(done, check=check)))
    if not done["ok"]:
        fail("\n".join([*map(printable, done["faults"]), "reload: nothing has changed"]), 2)


def _ask(path: Path, *, check: bool, diff: bool) -> dict[str, Any]:
    """What the daemon answers; with `diff` what would change is shown first. Raises NoAnswer."""
    if check or diff:
        would = ask(path, "/reload", {"check": True})
        for line in _diff(would) if diff else ():
            typer.echo(line)
        if check or not would["ok"]:
            return would
    return ask(path, "/reload", {"check": False})


def _text(done: Mapping[str, Any], *, check: bool) -> Iterator[str]:
    """What is changed, a line each, and what is not."""
    live = [change for change in done["changes"] if change["effect"] != RESTART]
    waiting = [change for change in done["changes"] if change["effect"] == RESTART]
    if not done["changes"]:
        yield "nothing is different"
    for change in live:
        yield f"{'would change' if check else 'changed'} ({change['effect']}): {printable(change['key'])}"
    for change in waiting:
        yield f"{RESTART}, left as it is: {printable(change['key'])}"


def _diff(would: Mapping[str, Any]) -> Iterator[str]:
    """Every key with both values; of a secret, only that it is another one."""
    for change in would["changes"]:
        key = printable(change["key"])
        if key.startswith("environment."):
            yield f"  {key}: another secret ({change['effect']})"
            continue
        yield f"  {key}: {_value(change['old'])} -> {_value(change['new'])} ({change['effect']})"


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
