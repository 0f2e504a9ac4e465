"""`rtzr-bridge deliveries`: what waits for which receiver, since when and why; try it now, or drop it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from bridge.admin import completing
from bridge.admin.asking import (
    DEFAULT,
    ConfigOption,
    SocketOption,
    age,
    asked,
    columns,
    printable,
    show,
)
from bridge.commands.ending import JsonOption, fail
from bridge.wording import counted


class Action(StrEnum):
    RETRY = "retry"
    DROP = "drop"


def command(
    action: Annotated[
        Action | None, typer.Argument(help="What to do; nothing: show.", show_default=False)
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            help="The endpoint, such as webhook:crm.",
            show_default=False,
            autocompletion=completing.endpoints,
        ),
    ] = None,
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what waits in the outbox for each webhook and Redis stream, since when, and why.

    `retry NAME` tries it at once, though it wants nothing any more (410); without NAME, all of them.
    `drop NAME` forgets what waits for it: those events never reach it.
    """
    if name == "" or (action is Action.DROP and name is None):
        fail(f"deliveries: {action} what? give its NAME too", 2)
    what = f"/deliveries/{action}" if action else "/deliveries"
    order = ({"name": name} if name else {}) if action else None
    answer = asked("deliveries", config, socket, what, order, as_json=json_)
    show(answer, lambda: _text(action, answer), as_json=json_)


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
    return columns([_row(one) for one in deliveries])


def _row(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    since = f"for {age(one['waiting_s'])}" if one["waiting"] else ""
    return str(one["name"]), f"{one['waiting']} waiting", since, printable(_why(one))


def _why(one: Mapping[str, Any]) -> str:
    """How the last try ended, and what comes next."""
    parts = [str(one["error"])]
    match one["state"]:
        case "delivering":
            parts = _rests(one) or parts
        case "waiting":
            parts.append(_next(one["retry_in_s"]))
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
        f"{_resting(rest['calls'])}: {rest['reason']}; {_next(rest['retry_in_s'])} (call {rest['call']})"
        for rest in one["rests"]
    ]
    others = one["resting"] - sum(rest["calls"] for rest in one["rests"])
    return [*told, f"{_resting(others)} for other reasons"] if others else told


def _resting(calls: int) -> str:
    return counted(calls, "call rests", "calls rest")


def _next(s: float) -> str:
    """When it is tried again, short times to the second."""
    if s < 1:
        return "is tried now"
    return f"next try in {f'{s:.0f} s' if s < 120 else age(s)}"
