"""`rtzr-bridge run`: reads the configuration, and is the daemon until it is told to stop."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bridge import daemon, logs, loops
from bridge.commands.ending import fail, run
from bridge.config import DEFAULT_CONFIG, Config, ConfigError, load, yamltree
from bridge.config.faults import line_of
from bridge.reload.file import steady
from bridge.sinks.console import log_stream, terminal
from bridge.sinks.jsonl import JsonlSink


def command(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.")] = DEFAULT_CONFIG,
) -> None:
    """Run the daemon: follow the PBX, transcribe the calls that a rule chooses or its dialplan announces.

    Transcripts go to standard output and the sinks of the configuration, the log to standard error.
    SIGTERM or Ctrl-C lets live calls finish for drain_s, a second one ends at once. SIGHUP reads the YAML
    again, as `rtzr-bridge reload` does.
    """
    if not os.isatty(0):  # one that comes before the daemon listens for it would end it, and for good
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        fail(str(error), 2)
    _check_files(loaded, config)
    console = terminal()
    logs.set_up(loaded.log.level, loaded.log.format, log_stream(console))
    try:
        again = partial(steady, config, partial(load, environ=os.environ))
        code = run(daemon.run(loaded, console, again), loops.run_to_exit)
    except ConfigError as error:  # what only this machine can tell
        fail("\n".join(_in_file(config, line) for line in error.lines), 2)
    raise typer.Exit(code)


def _in_file(file: Path, fault: str) -> str:
    """A fault that was found after the file was read, `key: text`, as `load` would tell it."""
    key, _, text = fault.partition(": ")
    place = tuple(key.split("."))
    line = None
    if file.is_file():  # a pipe can be read only once
        line = yamltree.parse(file.read_text(encoding="utf-8-sig")).line(place)
    return line_of(file, yamltree.Fault(place, text, line))


def _check_files(config: Config, file: Path) -> None:
    path = config.sinks.jsonl.path
    if path is None:
        return
    try:
        JsonlSink(Path(path)).check()
    except OSError as error:
        fault = (
            f"sinks.jsonl.path: {path} cannot be written ({error.strerror}); "
            "give a file in a folder that exists and that this user may write to"
        )
        fail(_in_file(file, fault), 2)
