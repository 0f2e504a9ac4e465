"""The commands: what is read from the command line and the environment, and what is printed.

No protocol and no decision about a call: a command loads the configuration, runs one coroutine and shows
what it returned. Exit codes: 0 done, 1 it failed, 2 the configuration or the arguments are wrong.
"""

import asyncio
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bridge import daemon, logs
from bridge import demo as demonstration
from bridge import transcribe as transcription
from bridge.config import Config, ConfigError, load
from bridge.emulator.server import Knobs, serve
from bridge.sinks.console import ConsoleSink

DEFAULT_CONFIG = Path("/etc/rtzr-bridge/bridge.yaml")

app = typer.Typer(
    name="rtzr-bridge",
    help="Taps PBX calls and turns each speaker's audio into live RTZR transcripts.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

_T = TypeVar("_T")
_ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The YAML file.", show_default=True)]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def main() -> None:
    app()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine, on uvloop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _load(path: Path, *, asterisk: bool) -> Config:
    try:
        return load(path, os.environ, asterisk=asterisk)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@app.command()
def run(config: _ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the daemon: follow the PBX, transcribe its announced calls."""
    loaded = _load(config, asterisk=True)
    logs.set_up(loaded.log.level, loaded.log.format)
    raise typer.Exit(_run(daemon.run(loaded)))


@app.command()
def demo(json_: _Json = False) -> None:
    """Show it work here: an emulated RTZR, two telephones, six Korean sentences, half a minute."""
    logs.set_up("warning" if json_ else "info", "console")
    console = Console(highlight=False, soft_wrap=True)
    if json_:
        summary = _run(demonstration.run(lambda _event: None))
        typer.echo(json.dumps(summary.as_json(), ensure_ascii=False, indent=2))
    else:
        console.print("The text below is the emulator's: it knows a code book of tones, not real speech.\n")
        summary = _run(_shown_demo(console))
        _print_summary(console, summary)
    raise typer.Exit(0 if summary.passed else 1)


async def _shown_demo(console: Console) -> demonstration.Summary:
    sink = ConsoleSink(console=console)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run())
        try:
            return await demonstration.run(sink.deliver)
        finally:
            sink.close()


def _print_summary(console: Console, summary: demonstration.Summary) -> None:
    table = Table("party", "said", "word for word", "end of speech to final", title="\nWhat came back")
    for utterance in summary.utterances:
        latency = utterance.end_of_speech_to_final_ms
        table.add_row(
            utterance.party,
            utterance.said,
            "[green]yes[/]" if utterance.exact else f"[red]no: {utterance.text or 'nothing'}[/]",
            f"{latency} ms" if latency is not None else "-",
        )
    console.print(table)
    audio = summary.ledger
    console.print(
        f"{summary.tokens_issued} token, {summary.sockets_opened} sockets opened (one a leg), "
        f"{summary.sockets_open_at_end} open at the end\n"
        f"audio: {audio['arrived_ms']} ms arrived = {audio['sent_ms']} sent "
        f"+ {audio['withheld_ms']} withheld + {audio['lost_ms']} lost; "
        f"{audio['filled_ms']} ms of silence filled in"
    )


@app.command()
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8600,
    auth_delay_ms: Annotated[float, typer.Option(help="Delay of the authentication answer.")] = 0,
    connect_delay_ms: Annotated[float, typer.Option(help="Delay of the WebSocket handshake.")] = 0,
    recognition_ms: Annotated[float, typer.Option(help="From a known end of utterance to its final.")] = 0,
    engine_speed: Annotated[float, typer.Option(help="Audio worked off, in times real time.")] = 5.0,
    token_life_s: Annotated[float, typer.Option(help="Life of a token.")] = 21_600,
    max_streams: Annotated[int, typer.Option(help="Streams at once; 0 for no limit.")] = 0,
) -> None:
    """Run an RTZR that hears code-book tones, for tests without a cloud bill. Never real speech."""
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
    base = f"{host}:{port}/v1"
    typer.echo(
        f"rtzr.auth_url:   http://{base}/authenticate\nrtzr.stream_url: ws://{base}/transcribe:streaming"
    )
    typer.echo("It hears code-book tones, not real speech. Ctrl-C ends it.")
    try:
        _run(serve(knobs, host, port))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except OSError as error:
        typer.echo(f"cannot listen on {host}:{port}: {error.strerror}; give another --port", err=True)
        raise typer.Exit(2) from None


@app.command()
def transcribe(
    file: Annotated[Path, typer.Argument(help="WAV: mono, 16 bit, 8 or 16 kHz.")],
    config: _ConfigFile = DEFAULT_CONFIG,
    fast: Annotated[bool, typer.Option("--fast", help="Faster than real time.")] = False,
    emulated: Annotated[bool, typer.Option("--emulator", help="Use an emulated RTZR, no account.")] = False,
    json_: _Json = False,
) -> None:
    """Send one file through the same gate and session as a call: to try your RTZR credentials."""
    try:
        recording = transcription.read(file)
    except transcription.RecordingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    logs.set_up("warning" if json_ else "info", "console")
    loaded = Config() if emulated else _load(config, asterisk=False)
    outcome = _run(transcription.run(recording, loaded, fast=fast, emulated=emulated, show=not json_))
    if json_:
        typer.echo(json.dumps(outcome.as_json(), ensure_ascii=False, indent=2))
    elif outcome.reasons:
        typer.echo(f"not complete: {'; '.join(outcome.reasons)}", err=True)
    raise typer.Exit(1 if outcome.reasons else 0)
