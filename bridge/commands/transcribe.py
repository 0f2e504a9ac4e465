"""`rtzr-bridge transcribe`: one file, and how it went."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bridge import logs
from bridge import transcribe as transcription
from bridge.commands.ending import WHOSE_TEXT, JsonOption, fail, print_json, run
from bridge.config import DEFAULT_CONFIG, ConfigError
from bridge.sinks.console import log_stream, terminal


def command(
    file: Annotated[Path, typer.Argument(help="WAV: mono, 16 bit, 8 or 16 kHz.", show_default=False)],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help=f"The YAML file; {DEFAULT_CONFIG}, if it is there, if none is given."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Up to eight times as fast as real time.")] = False,
    emulated: Annotated[bool, typer.Option("--emulator", help="Use an emulated RTZR, no account.")] = False,
    json_: JsonOption = False,
) -> None:
    """Send one file through the same gate and session as a call: to try your RTZR credentials.

    RTZR_CLIENT_ID and RTZR_CLIENT_SECRET are enough; where there is a configuration, its rtzr and gate hold.
    """
    try:
        recording = transcription.read(file)
        loaded = transcription.configured(config, os.environ, emulated=emulated)
    except (transcription.RecordingError, ConfigError) as error:
        fail(str(error), 2)
    console = terminal()
    logs.set_up("error" if json_ else "info", "brief", log_stream(console, style="dim"))
    if emulated and not json_:
        console.print(f"{WHOSE_TEXT}\n")
    try:
        outcome = run(
            transcription.run(
                recording, loaded, fast=fast, emulated=emulated, console=None if json_ else console
            )
        )
    except transcription.TranscribeError as error:
        fail(f"transcribe: {error}", 1)
    if json_:
        print_json(outcome.as_json())
    else:
        _say_how_it_went(outcome)
    raise typer.Exit(1 if outcome.reasons else 0)


def _say_how_it_went(outcome: transcription.Outcome) -> None:
    if outcome.reasons:
        typer.echo(f"transcribe: not complete: {', '.join(outcome.reasons)}", err=True)
    elif not outcome.finals:
        typer.echo("transcribe: complete, but nothing was recognised in it", err=True)
