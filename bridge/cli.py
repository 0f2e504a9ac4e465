"""The commands: what is read from the command line and the environment, and what is printed.

No protocol and no decision about a call: a command loads the configuration, runs one coroutine and shows
what it returned. Exit codes: 0 done, 1 it failed, 2 the configuration or the arguments are wrong, 130 Ctrl-C.
"""

import asyncio
import contextlib
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from typer.core import TyperGroup

from bridge import VERSION, daemon, logs, loops
from bridge import transcribe as transcription
from bridge.admin import calls, pausecommand, tail
from bridge.admin import command as deliveries
from bridge.checks import check
from bridge.config import DEFAULT_CONFIG, Config, ConfigError, load, yamltree
from bridge.config.faults import line_of
from bridge.demo import demo as demonstration
from bridge.demo import page, shown
from bridge.emulator.knobs import turned
from bridge.emulator.server import Emulator, Knobs
from bridge.explain import explain
from bridge.reload import command as reloading
from bridge.reload.file import steady
from bridge.schema import command as schema
from bridge.simulate import command as simulate
from bridge.sinks.console import log_stream, terminal
from bridge.sinks.jsonl import JsonlSink

_INTERRUPTED = 130
_WHOSE_TEXT = "This text is the emulator's: it hears a code book of tones, no real speech."
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Commands(TyperGroup):
    """Completion is installed as docs/install.md says; Typer's own options for it stay out of --help."""

    def get_params(self, ctx: Any) -> list[Any]:
        found: list[Any] = super().get_params(ctx)
        for one in found:
            if one.name in ("install_completion", "show_completion"):
                one.hidden = True
        return found


app = typer.Typer(
    name="rtzr-bridge",
    help="Taps PBX calls and turns each speaker's audio into live RTZR transcripts.",
    no_args_is_help=True,
    cls=_Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_T = TypeVar("_T")
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def main() -> None:
    _open_closed_streams()
    _speak_korean()
    try:
        app()
    except OSError as error:
        if error.errno not in _FULL:
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


def _run(work: Coroutine[Any, Any, _T], by: Callable[[Coroutine[Any, Any, _T]], _T] = loops.run) -> _T:
    """Run a coroutine, on uvloop where the platform has it; Ctrl-C ends it without a word."""
    try:
        return by(work)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code) from None


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


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


@app.command(short_help="Follow the PBX, transcribe its calls.")
def run(
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
        _fail(str(error), 2)
    _check_files(loaded, config)
    console = terminal()
    logs.set_up(loaded.log.level, loaded.log.format, log_stream(console))
    try:
        again = partial(steady, config, partial(load, environ=os.environ))
        code = _run(daemon.run(loaded, console, again), loops.run_to_exit)
    except ConfigError as error:  # what only this machine can tell
        _fail("\n".join(_in_file(config, line) for line in error.lines), 2)
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
        _fail(_in_file(file, fault), 2)


@app.command(short_help="Show it work on this machine alone.")
def demo(
    json_: _Json = False,
    pbx: Annotated[
        demonstration.Pbx | None,
        typer.Option(
            help="Whose way the audio takes: RTP, or FreeSWITCH's streams.", show_default="asterisk"
        ),
    ] = None,
    page_: Annotated[
        bool, typer.Option("--page", help="Show call after call on the live page, until Ctrl-C.")
    ] = False,
) -> None:
    """Show it work here: an emulated RTZR, two telephones, six Korean sentences, a quarter of a minute.

    Exits with 0 only if every sentence came back word for word, under the right speaker. With --page it is
    the daemon that hears them, through an emulated FreeSWITCH, until it is ended.
    """
    console = terminal()
    if page_:
        _demo_page(console, json_, pbx)
    if json_:
        logs.set_up("error", "brief")
        work = demonstration.run(lambda _event: None, pbx or "asterisk")
    else:
        logs.set_up("info", "brief", log_stream(console, style="dim"))
        console.print(f"{_WHOSE_TEXT}\n")
        work = shown.run(console, pbx or "asterisk")
    try:
        summary = _run(work)
    except demonstration.DemoError as error:
        _fail(f"demo: {error}", 1)
    if json_:
        _print_json(summary.as_json())
    else:
        shown.print_summary(console, summary)
    for fault in summary.faults():
        typer.echo(f"demo: {fault}", err=True)
    raise typer.Exit(0 if summary.passed else 1)


def _demo_page(console: Console, json_: bool, pbx: str | None) -> NoReturn:
    if json_:
        _fail("demo: --page goes on until it is ended, and has no JSON to print; leave out one of the two", 2)
    if pbx == "asterisk":
        _fail("demo: with --page, calls come through an emulated FreeSWITCH; leave out --pbx asterisk", 2)
    logs.set_up("warning", "brief", log_stream(console, style="dim"))
    console.print(_WHOSE_TEXT)
    try:
        code = _run(page.run(console, browse=console.is_terminal and sys.stdin.isatty()), loops.run_to_exit)
    except demonstration.DemoError as error:
        _fail(f"demo: {error}", 1)
    raise typer.Exit(code)


@app.command(short_help="Run an emulated RTZR, for tests.")
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8600,
    auth_delay_ms: Annotated[float, typer.Option(min=0, help="Delay of the authentication answer.")] = 0,
    connect_delay_ms: Annotated[float, typer.Option(min=0, help="Delay of the WebSocket handshake.")] = 0,
    recognition_ms: Annotated[
        float, typer.Option(min=0, help="From a known end of utterance to its final.")
    ] = 0,
    engine_speed: Annotated[
        float, typer.Option(min=0.01, help="Audio worked off, in times real time.")
    ] = 5.0,
    token_life_s: Annotated[float, typer.Option(min=0, help="Life of a token.")] = 21_600,
    max_streams: Annotated[int, typer.Option(min=0, help="Streams at once; 0 for no limit.")] = 0,
    knob: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other knob, such as mute=true; repeat it."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the addresses as JSON.")] = False,
) -> None:
    """Run an RTZR that hears code-book tones, for tests without a cloud bill. Never real speech.

    Its credentials are RTZR_CLIENT_ID and RTZR_CLIENT_SECRET where they are set, else demo and demo-secret.
    """
    usual = Knobs()
    knobs = Knobs(
        client_id=os.environ.get("RTZR_CLIENT_ID", usual.client_id),
        client_secret=os.environ.get("RTZR_CLIENT_SECRET", usual.client_secret),
        auth_delay_ms=auth_delay_ms,
        connect_delay_ms=connect_delay_ms,
        recognition_ms=recognition_ms,
        engine_speed=engine_speed,
        token_life_s=token_life_s,
        max_streams=max_streams,
    )
    try:
        knobs = turned(knobs, knob or [])
    except ValueError as error:
        _fail(f"--knob: {error}", 2)
    try:
        _run(_emulate(knobs, host, port, as_json=json_))
    except OSError as error:
        if error.errno in _FULL:  # it listens, but cannot say so
            raise
        _fail(f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port", 2)


async def _emulate(knobs: Knobs, host: str, port: int, *, as_json: bool) -> None:
    """Until SIGTERM or Ctrl-C, which is how it is meant to end."""
    stop = asyncio.Event()
    async with Emulator(knobs, host, port) as running:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        urls = {
            "auth_url": running.auth_url,
            "stream_url": running.stream_url,
            "stats_url": running.stats_url,
        }
        if as_json:
            _print_json(urls)
        else:
            typer.echo(_EMULATOR_IS_UP.format(**urls))
        await stop.wait()


_EMULATOR_IS_UP = """\
An emulated RTZR: it hears code-book tones, no real speech. Ctrl-C ends it.

rtzr:
  auth_url: {auth_url}
  stream_url: {stream_url}

What it has counted: {stats_url}"""


@app.command(short_help="Send one WAV file, to try credentials.")
def transcribe(
    file: Annotated[Path, typer.Argument(help="WAV: mono, 16 bit, 8 or 16 kHz.", show_default=False)],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help=f"The YAML file; {DEFAULT_CONFIG}, if it is there, if none is given."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Up to eight times as fast as real time.")] = False,
    emulated: Annotated[bool, typer.Option("--emulator", help="Use an emulated RTZR, no account.")] = False,
    json_: _Json = False,
) -> None:
    """Send one file through the same gate and session as a call: to try your RTZR credentials.

    RTZR_CLIENT_ID and RTZR_CLIENT_SECRET are enough; where there is a configuration, its rtzr and gate hold.
    """
    try:
        recording = transcription.read(file)
        loaded = _for_a_file(config, emulated=emulated)
    except (transcription.RecordingError, ConfigError) as error:
        _fail(str(error), 2)
    console = terminal()
    logs.set_up("error" if json_ else "info", "brief", log_stream(console, style="dim"))
    if emulated and not json_:
        console.print(f"{_WHOSE_TEXT}\n")
    try:
        outcome = _run(
            transcription.run(
                recording, loaded, fast=fast, emulated=emulated, console=None if json_ else console
            )
        )
    except transcription.TranscribeError as error:
        _fail(f"transcribe: {error}", 1)
    if json_:
        _print_json(outcome.as_json())
    else:
        _say_how_it_went(outcome)
    raise typer.Exit(1 if outcome.reasons else 0)


def _for_a_file(config: Path | None, *, emulated: bool) -> Config:
    """What the YAML says; all defaults where none was named and none is there. Raises ConfigError."""
    if emulated and config is None:
        return Config()
    if config is None and not DEFAULT_CONFIG.exists():
        return transcription.defaults(os.environ)
    return load(config or DEFAULT_CONFIG, os.environ, pbx=False)


app.command("calls", short_help="Show the calls in progress.")(calls.calls)
app.command("tail", short_help="Show what is said, as it is said.")(tail.command)
app.command("why", short_help="Tell what happened in a call.")(calls.why)
app.command("status", short_help="Show how the daemon does.")(calls.status)
app.command("drain", short_help="Let calls finish, then end the daemon.")(calls.drain)
app.command("check", short_help="Try everything that a call will need.")(check.command)
app.command("pause", short_help="Hear a call no more, for now.")(pausecommand.pause)
app.command("resume", short_help="Hear a paused call again.")(pausecommand.resume)
app.command("deliveries", short_help="Show what waits for receivers; retry or drop it.")(deliveries.command)
app.command("explain", short_help="Say which rule chooses a call, and why.")(explain.command)
app.command("reload", short_help="Have the daemon read its YAML again.")(reloading.command)
app.command("simulate", short_help="Play recordings as calls; count what is lost.")(simulate.command)
app.command("schema", short_help="Print the events' or the YAML's schema.")(schema.command)


def _say_how_it_went(outcome: transcription.Outcome) -> None:
    if outcome.reasons:
        typer.echo(f"transcribe: not complete: {', '.join(outcome.reasons)}", err=True)
    elif not outcome.finals:
        typer.echo("transcribe: complete, but nothing was recognised in it", err=True)
