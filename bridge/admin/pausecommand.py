"""`rtzr-bridge pause CALL` and `rtzr-bridge resume CALL`."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from bridge.admin.client import NoAnswer, ask
from bridge.admin.command import fail, socket_of
from bridge.config import DEFAULT_CONFIG, ConfigError

_Call = Annotated[str, typer.Argument(help="The call's id or a leg's, or how it begins.", show_default=False)]
_Config = Annotated[Path, typer.Option("--config", "-c", help="The daemon's YAML file.")]
_Socket = Annotated[
    Path | None, typer.Option("--socket", help="The daemon's admin.socket; then no YAML is read.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def pause(
    call: _Call, config: _Config = DEFAULT_CONFIG, socket: _Socket = None, json_: _Json = False
) -> None:
    """From now on nothing that is said in a call leaves this host or is kept, until it is resumed."""
    _order("pause", call, config, socket, json_)


def resume(
    call: _Call, config: _Config = DEFAULT_CONFIG, socket: _Socket = None, json_: _Json = False
) -> None:
    """What is said in a call is transcribed from now on: the end of a pause, or consent to begin."""
    _order("resume", call, config, socket, json_)


def _order(what: str, call: str, config: Path, socket: Path | None, json_: bool) -> None:
    try:
        answer = ask(socket or socket_of(config), f"/calls/{quote(call)}/{what}", {})
    except ConfigError as error:
        fail(str(error), 2)
    except NoAnswer as error:
        fail(f"{what}: {error}", 1)
    state = "is paused" if answer["paused"] else "is heard"
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=2) if json_ else f"{answer['id']}: {state}")
