"""The demo for a person: what is said as it is heard, and at its end how it went, on a terminal.

What is played and what is measured is `bridge.demo.demo`'s.
"""

import asyncio

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.demo import demo
from bridge.sinks.console import ConsoleSink
from bridge.wording import counted


async def run(console: Console, pbx: demo.Pbx) -> demo.Summary:
    """The demo, with what is said printed meanwhile. Raises DemoError."""
    sink = ConsoleSink(console=console)
    writing = asyncio.create_task(sink.run())
    try:
        return await demo.run(sink.deliver, pbx)
    finally:
        sink.close()
        await writing


def print_summary(console: Console, summary: demo.Summary) -> None:
    table = Table(
        "party", "what was said", "exact", "final after", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for utterance in summary.utterances:
        latency = utterance.end_of_speech_to_final_ms
        table.add_row(
            utterance.party,
            utterance.said,
            Text("yes", "green") if utterance.exact else Text("NO", "bold red"),
            f"{latency} ms" if latency is not None else "never",
        )
        if not utterance.exact:
            table.add_row("", Text(f"heard: {utterance.text or 'nothing'}", "red"))
    audio = summary.ledger
    console.print()
    console.print(table)
    console.print(
        f"\nfinal after: from the end of the speech to its final transcript, on this machine\n"
        f"RTZR (emulated): {counted(summary.tokens_issued, 'token')}, "
        f"{counted(summary.sockets_opened, 'socket')} opened (one a party), "
        f"{summary.sockets_open_at_end} open at the end\n"
        f"audio: {audio['arrived_ms']} ms arrived = {audio['sent_first_ms']} sent "
        f"+ {audio['withheld_ms']} withheld + {audio['lost_ms']} lost"
    )
