"""The command line: which commands there are, and what surrounds each of them.

No protocol and no decision about a call. A command is loaded when it is called for: a question to the daemon
does not wait for the daemon's own parts. Exit codes: `bridge.commands.ending`.
"""

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bridge import VERSION
from bridge.commands.ending import FULL, INTERRUPTED

COMMANDS = {
    "run": ("bridge.commands.run:command", "Follow the PBX, transcribe its calls."),
    "demo": ("bridge.commands.demo:command", "Show it work on this machine alone."),
    "emulator": ("bridge.commands.emulator:command", "Run an emulated RTZR, for tests."),
    "transcribe": ("bridge.commands.transcribe:command", "Send one WAV file, to try credentials."),
    "calls": ("bridge.admin.calls:calls", "Show the calls in progress."),
    "tail": ("bridge.admin.tail:command", "Show what is said, as it is said."),
    "why": ("bridge.admin.calls:why", "Tell what happened in a call."),
    "status": ("bridge.admin.calls:status", "Show how the daemon does."),
    "drain": ("bridge.admin.calls:drain", "Let calls finish, then end the daemon."),
    "check": ("bridge.checks.check:command", "Try everything that a call will need."),
    "pause": ("bridge.admin.pausecommand:pause", "Hear a call no more, for now."),
    "resume": ("bridge.admin.pausecommand:resume", "Hear a paused call again."),
    "deliveries": ("bridge.admin.deliveries:command", "Show what waits for receivers; retry or drop it."),
    "explain": ("bridge.explain.explain:command", "Say which rule chooses a call, and why."),
    "reload": ("bridge.reload.command:command", "Have the daemon read its YAML again."),
    "simulate": ("bridge.simulate.command:command", "Play recordings as calls; count what is lost."),
    "schema": ("bridge.schema.command:command", "Print the events' or the YAML's schema."),
}
"""By name: the function that the command is, and what the list of commands says of it."""
_SETTINGS: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}


class _Commands(TyperGroup):
    """Completion is installed as docs/install.md says; Typer's own options for it stay out of --help."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)
        for one in found:
            if one.name in ("install_completion", "show_completion"):
                one.hidden = True
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and _loaded(str(name)), rest


def _loaded(name: str) -> Any:
    module, _, function = COMMANDS[name][0].partition(":")
    alone = typer.Typer(add_completion=False, **_SETTINGS)
    try:
        alone.command(name)(getattr(import_module(module), function))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    return typer.main.get_command(alone)


app = typer.Typer(
    name="rtzr-bridge",
    help="Taps PBX calls and turns each speaker's audio into live RTZR transcripts.",
    no_args_is_help=True,
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_SETTINGS,
)


def _not_loaded() -> None:
    """What stands in the list of commands until one is called for."""


for _name, (_where, _short_help) in COMMANDS.items():
    app.command(_name, short_help=_short_help)(_not_loaded)


def main() -> None:
    _open_closed_streams()
    _speak_korean()
    try:
        app()
    except OSError as error:
        if error.errno not in FULL:
            raise
        with contextlib.suppress(OSError):
            typer.echo(f"standard output cannot be written ({error.strerror})", err=True)
        sys.exit(1)
    finally:
        _let_go()


def _open_closed_streams() -> None:
    """Where the shell closed one (2>&-), the first socket would take its number, and what is printed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays


def _let_go() -> None:
    """What nobody takes any more is given up: else the interpreter complains and ends with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _speak_korean() -> None:
    """Under LANG=C Python would print no Hangul at all; an encoding that has Hangul is kept."""
    for stream in (sys.stdout, sys.stderr):
        try:
            "가".encode(stream.encoding)
            encoding = stream.encoding
        except UnicodeEncodeError:
            encoding = "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace")  # type: ignore[union-attr]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rtzr-bridge {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
