"""`rtzr-bridge demo`: the demonstration, printed or on the live page."""

import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from bridge import logs, loops
from bridge.commands.ending import WHOSE_TEXT, JsonOption, fail, print_json, run
from bridge.demo import demo as demonstration
from bridge.demo import page, shown
from bridge.sinks.console import log_stream, terminal


def command(
    json_: JsonOption = False,
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
        console.print(f"{WHOSE_TEXT}\n")
        work = shown.run(console, pbx or "asterisk")
    try:
        summary = run(work)
    except demonstration.DemoError as error:
        fail(f"demo: {error}", 1)
    if json_:
        print_json(summary.as_json())
    else:
        shown.print_summary(console, summary)
    for fault in summary.faults():
        typer.echo(f"demo: {fault}", err=True)
    raise typer.Exit(0 if summary.passed else 1)


def _demo_page(console: Console, json_: bool, pbx: str | None) -> NoReturn:
    if json_:
        fail("demo: --page goes on until it is ended, and has no JSON to print; leave out one of the two", 2)
    if pbx == "asterisk":
        fail("demo: with --page, calls come through an emulated FreeSWITCH; leave out --pbx asterisk", 2)
    logs.set_up("warning", "brief", log_stream(console, style="dim"))
    console.print(WHOSE_TEXT)
    try:
        code = run(page.run(console, browse=console.is_terminal and sys.stdin.isatty()), loops.run_to_exit)
    except demonstration.DemoError as error:
        fail(f"demo: {error}", 1)
    raise typer.Exit(code)
