"""`rtzr-bridge pause CALL` and `rtzr-bridge resume CALL`."""

from pathlib import Path
from typing import Annotated

import typer

from bridge.admin import completing
from bridge.admin.asking import DEFAULT, ConfigOption, SocketOption, asked, part, show
from bridge.commands.ending import JsonOption

_HELP = "The call's id or a leg's, or how it begins."


def pause(
    call: Annotated[
        str, typer.Argument(help=_HELP, show_default=False, autocompletion=completing.heard_calls)
    ],
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
) -> None:
    """From now on nothing that is said in a call leaves this host or is kept, until it is resumed.

    Exits with 1 if no such call is live, more than one begins so, or no daemon answers.
    """
    _order("pause", call, config, socket, as_json=json_)


def resume(
    call: Annotated[
        str, typer.Argument(help=_HELP, show_default=False, autocompletion=completing.paused_calls)
    ],
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
) -> None:
    """What is said in a call is transcribed from now on: the end of a pause, or consent to begin.

    Exits with 1 if no such call is live, more than one begins so, or no daemon answers.
    """
    _order("resume", call, config, socket, as_json=json_)


def _order(what: str, call: str, config: Path, socket: Path | None, *, as_json: bool) -> None:
    answer = asked(what, config, socket, f"/calls/{part(call)}/{what}", {}, as_json=as_json)
    state = "is paused" if answer["paused"] else "is heard"
    show(answer, lambda: f"{answer['id']}: {state}", as_json=as_json)
