"""`rtzr-bridge emulator`: the emulated RTZR as a server of its own."""

import asyncio
import os
import signal
from typing import Annotated

import typer

from bridge.commands.ending import FULL, fail, print_json, run
from bridge.emulator.knobs import turned
from bridge.emulator.server import Emulator, Knobs


def command(
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
        fail(f"--knob: {error}", 2)
    try:
        run(_emulate(knobs, host, port, as_json=json_))
    except OSError as error:
        if error.errno in FULL:  # it listens, but cannot say so
            raise
        fail(f"cannot listen on {host}:{port}: {error.strerror}; give another --host or --port", 2)


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
            print_json(urls)
        else:
            typer.echo(_EMULATOR_IS_UP.format(**urls))
        await stop.wait()


_EMULATOR_IS_UP = """\
An emulated RTZR: it hears code-book tones, no real speech. Ctrl-C ends it.

rtzr:
  auth_url: {auth_url}
  stream_url: {stream_url}

What it has counted: {stats_url}"""
