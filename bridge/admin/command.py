"""`rtzr-bridge deliveries`: what waits for which receiver, since when and why; try it now, or drop it."""

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from bridge.admin.client import NoAnswer, ask
from bridge.config import DEFAULT_CONFIG, ConfigError, load


class Action(StrEnum):
    RETRY = "retry"
    DROP = "drop"


def command(
    action: Annotated[
        Action | None, typer.Argument(help="What to do; nothing: show.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="The endpoint, such as webhook:crm.", show_default=False)
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="The daemon's YAML file.")] = DEFAULT_CONFIG,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="The daemon's admin.socket; then no YAML is read.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Show what waits in the outbox for each webhook and Redis stream, since when, and why.

    `retry NAME` tries it at once, though it wants nothing any more (410); without NAME, all of them.
    `drop NAME` forgets what waits for it: those events never reach it.
    """
    if action is Action.DROP and name is None:
        _fail("deliveries: drop what? give its NAME too", 2)
    try:
        path = socket or socket_of(config)
        order = {"name": name} if name else {}
        answer = ask(path, f"/deliveries/{action}", order) if action else ask(path, "/deliveries")
    except ConfigError as error:
        _fail(str(error), 2)
    except NoAnswer as error:
        _fail(f"deliveries: {error}", 1)
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=2) if json_ else _text(action, answer))


def socket_of(config: Path) -> Path:
    """Where the daemon listens, by its configuration; no secret is needed for that. Raises ConfigError."""
    path = load(config, os.environ, pbx=False, rtzr=False).admin.socket
    if path is None:
        text = "admin.socket: is not set; set it and start the daemon again, or give --socket"
        raise ConfigError([f"{config}: {text}"])
    return Path(path)


def _text(action: Action | None, answer: Mapping[str, Any]) -> str:
    match action:
        case Action.RETRY:
            return f"{answer['name'] or 'every endpoint'}: is tried now"
        case Action.DROP:
            return f"{answer['name']}: {answer['dropped']} dropped"
    lines = [f"degraded: {answer['degraded']}"] if answer["degraded"] else []
    if not answer["outbox"]:
        lines.append("the daemon has no outbox, so nothing waits; see outbox.path")
    elif not answer["deliveries"]:
        lines.append("no endpoint: nothing waits")
    return "\n".join([*lines, *_table(answer["deliveries"])])


def _table(deliveries: list[dict[str, Any]]) -> list[str]:
    """A line for each, in columns."""
    rows = [_row(one) for one in deliveries]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]


def _row(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    since = f"for {_age(one['waiting_s'])}" if one["waiting"] else ""
    return str(one["name"]), f"{one['waiting']} waiting", since, _printable(_why(one))


def _why(one: Mapping[str, Any]) -> str:
    """How the last try ended, and what comes next."""
    parts = [str(one["error"])]
    match one["state"]:
        case "delivering":
            parts = _rests(one) or parts
        case "waiting":
            parts.append(f"next try in {_wait(one['retry_in_s'])}")
        case "gone":
            parts.append(f"it wants nothing any more; rtzr-bridge deliveries retry {one['name']}")
        case "unknown":
            parts.append("no such endpoint in the configuration")
    if one["given_up"]:
        parts.append(f"{one['given_up']} given up")
    return "; ".join(filter(None, parts))


def _rests(one: Mapping[str, Any]) -> list[str]:
    """Which calls do not go on though others do."""
    told = [
        f"{_resting(rest['calls'])}: {rest['reason']}; next try in {_wait(rest['retry_in_s'])} "
        f"(call {rest['call']})"
        for rest in one["rests"]
    ]
    others = one["resting"] - sum(rest["calls"] for rest in one["rests"])
    return [*told, f"{_resting(others)} for other reasons"] if others else told


def _resting(calls: int) -> str:
    return "1 call rests" if calls == 1 else f"{calls} calls rest"


def _wait(s: float) -> str:
    """As `_age`, but short times to the second."""
    return f"{s:.0f} s" if s < 120 else _age(s)


def _age(s: float) -> str:
    """A time in its biggest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if s >= length:
            return f"{s // length:.0f} {unit}"
    return f"{s:.0f} s"


def _printable(text: str) -> str:
    """Why a receiver did not answer is partly its own text: nothing in it may move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code) from None
