"""`rtzr-bridge simulate`: what is read from the command line, and the table of what came of it."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bridge import logs
from bridge.commands.ending import JsonOption, fail, print_json, run
from bridge.config import DEFAULT_CONFIG, Config, ConfigError
from bridge.config.values import loopback
from bridge.emulator.knobs import DEFAULTS, Knobs, turned
from bridge.simulate import simulation
from bridge.simulate.outcome import CallOutcome, Outcome
from bridge.simulate.recording import SimulateError, read
from bridge.simulate.trouble import Fault
from bridge.sinks.console import terminal
from bridge.transcribe import configured
from bridge.wire.fates import MISSED
from bridge.wording import counted

_MOST_ROWS = 30


def command(
    files: Annotated[
        list[Path], typer.Argument(help="WAV (8 or 16 kHz, left: caller) or pcap files.", show_default=False)
    ],
    calls: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="How many calls; one for each recording.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Calls begun in a second.")] = 1.0,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help=f"The YAML file; {DEFAULT_CONFIG}, if it is there, without --emulator."
        ),
    ] = None,
    emulated: Annotated[bool, typer.Option("--emulator", help="Use an emulated RTZR, no account.")] = False,
    fault: Annotated[
        list[Fault] | None, typer.Option(help="What goes wrong with the emulated RTZR; repeat it.")
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any knob, such as recognition_ms=300; repeat it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before RTZR hears and bills.")] = False,
    json_: JsonOption = False,
) -> None:
    """Play recordings as calls, over RTP through the path of real calls, and count what is lost.

    With --emulator nothing leaves this machine and nothing is billed; it hears code-book tones, no real
    speech, so of real speech only its milliseconds are accounted for. Without it RTZR hears and bills: you
    are asked first. Exits with 1 if words were lost, 2 if a file or an option is wrong, 130 after Ctrl-C.
    """
    if (fault or knob) and not emulated:
        fail("simulate: --fault and --knob are for the emulated RTZR; add --emulator", 2)
    try:
        recordings = [recording for file in files for recording in read(file)]
        loaded = configured(config, os.environ, emulated=emulated)
        plan = simulation.Plan(
            recordings,
            calls or len(recordings),
            rate,
            emulated,
            frozenset(fault or ()),
            _turned(knob or []),
        )
    except (SimulateError, ConfigError) as error:
        fail(str(error), 2)
    if not emulated:
        _ask(plan, loaded, yes=yes)
    logs.set_up("error", "brief")
    outcome = _played(plan, loaded, quiet=json_)
    if json_:
        print_json(outcome.as_json())
    else:
        _show(terminal(), outcome)
    raise typer.Exit(1 if outcome.failed else 0)


def _turned(knobs: list[str]) -> Knobs:
    try:
        return turned(DEFAULTS, knobs)
    except ValueError as error:
        fail(f"--knob: {error}", 2)


def _ask(plan: simulation.Plan, config: Config, *, yes: bool) -> None:
    """Who hears it and what it may cost, before anything leaves this machine; an RTZR on it costs nothing."""
    host = urlsplit(config.rtzr.stream_url).hostname or ""
    if loopback(host):
        return
    won = simulation.expected_won(plan, config)
    typer.echo(
        f"{host} hears {counted(plan.calls, 'call')} and bills about {won:.2f} won, without VAT", err=True
    )
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail("simulate: add --yes if this is meant, or --emulator for an RTZR that costs nothing", 2)
    typer.confirm("Is this meant?", abort=True, err=True)


def _played(plan: simulation.Plan, config: Config, *, quiet: bool) -> Outcome:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet)
    try:
        with bar:
            task = bar.add_task("calls", total=plan.calls)

            def progress(begun: int, over: int) -> None:
                bar.update(task, completed=over, description=f"calls: {begun} begun, over")

            return run(simulation.run(plan, config, progress))
    except OSError as error:
        fail(f"simulate: {error.strerror or error}; it needs UDP and TCP on loopback", 1)


def _show(console: Console, outcome: Outcome) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("call", no_wrap=True)
    table.add_column("recording", overflow="ellipsis", no_wrap=True, max_width=24)
    for column in ("words", "missing", "lost ms", "p50 ms", "p99 ms", "won"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    worst = sorted(outcome.calls, key=lambda call: not call.failed)[:_MOST_ROWS]
    for call in worst:
        table.add_row(*_row(call), style="red" if call.failed else "")
    console.print(table)
    if len(outcome.calls) > _MOST_ROWS:
        console.print(f"... and {len(outcome.calls) - _MOST_ROWS} more")
    for line in _summary(outcome):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _row(call: CallOutcome) -> Iterator[str]:
    shown = call.as_json()
    yield from (call.id, call.recording)
    for key in ("words", "words_missing", "lost_ms", "latency_p50_ms", "latency_p99_ms", "won"):
        yield "-" if shown[key] is None else str(shown[key])
    yield str(shown["verdict"])


def _summary(outcome: Outcome) -> Iterator[str]:
    shown = outcome.as_json()
    lost = ", ".join(f"{reason} {ms} ms" for reason, ms in shown["lost"].items()) or "nothing"
    yield ""
    yield f"{counted(shown['calls'], 'call')}, {shown['partial']} of them partial; audio lost: {lost}"
    yield from _on_the_way(shown["packets"])
    yield f"{shown['words']} words came, {shown['words_missing']} missing, {shown['words_doubled']} twice"
    why = Counter(reason for call in outcome.calls for reason in call.reasons)
    if why:
        yield "not complete: " + ", ".join(f"{reason} ({number})" for reason, number in why.most_common())
    if shown["latency_p50_ms"] is not None:
        yield f"final after: p50 {shown['latency_p50_ms']} ms, p99 {shown['latency_p99_ms']} ms"
    bill = "RTZR would bill" if outcome.emulated else "RTZR bills"
    yield f"{counted(shown['sessions'], 'session')}; {bill} {shown['won']} won, without VAT"
    if outcome.emulated:
        trouble = f", with {', '.join(outcome.faults)}" if outcome.faults else ""
        yield f"RTZR was emulated{trouble}: it hears code-book tones, no real speech, and nothing was billed"


def _on_the_way(packets: dict[str, int]) -> Iterator[str]:
    """What became of the packets; that some are lost in a recording is no fault of the bridge's."""
    sent, received = packets["sent"], packets.get("received", 0)
    missed = ", ".join(f"{fate} {packets[fate]}" for fate in MISSED if packets.get(fate))
    yield f"{sent} packets sent, {received} received" + (f"; of the streams: {missed}" if missed else "")
    if packets.get("lost") and received >= sent:
        yield "those lost are lost in the recording; no words of theirs are counted as missing"
