"""`rtzr-bridge demo --page`: the daemon as `rtzr-bridge run` has it, with its live page, before an RTZR and a
FreeSWITCH that are emulated: one call after another, until SIGTERM or Ctrl-C.
"""

import asyncio
import signal
import webbrowser
from contextlib import AsyncExitStack, suppress
from secrets import token_hex
from tempfile import TemporaryDirectory

from rich.console import Console

from bridge import daemon
from bridge.demo import stream
from bridge.demo.demo import KNOBS, DemoError, in_words
from bridge.demo.script import HOST
from bridge.emulator.freeswitch.switch import Switch
from bridge.emulator.server import Emulator
from bridge.serving import listener_at

_PORT = 8091
_PORTS = 20
"""So many are tried from there on."""
_BETWEEN_CALLS_S = 3.0
_ASKS_EACH_S = 0.05
_DRAIN_S = 2.0
"""For what is still on the way when the last call was hung up."""


async def run(console: Console, browse: bool) -> int:
    """The daemon's exit code; `browse`: open a browser, if there is one. Raises DemoError."""
    token = token_hex(16)
    with in_words():
        async with AsyncExitStack() as opened:
            port = free_port(_PORT)
            rtzr = await opened.enter_async_context(Emulator(KNOBS))
            switch = await opened.enter_async_context(stream.a_switch())
            socket = f"{opened.enter_context(TemporaryDirectory(prefix='rtzr-bridge-'))}/admin.sock"
            config = stream.configured(
                rtzr,
                switch,
                token,
                page={"bind": HOST, "port": port},
                admin={"socket": socket},
                rules=[{"name": "demo"}],
                drain_s=_DRAIN_S,
            )
            address = f"http://{HOST}:{port}/"
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(daemon.run(config, console))
                calling = tasks.create_task(_call(switch, console, (address, token, socket), browse))
                await asyncio.wait({running, calling}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    signal.raise_signal(signal.SIGTERM)  # the daemon's own way to an orderly end
                calling.cancel()
            return running.result()


def free_port(first: int) -> int:
    """The first that nobody has, from `first` on. Raises DemoError when all are taken."""
    for port in range(first, first + _PORTS):
        with suppress(OSError):
            listener_at(HOST, port).close()
            return port
    raise DemoError(f"ports {first} to {first + _PORTS - 1} of {HOST} are all taken; free one of them")


async def _call(switch: Switch, console: Console, place: tuple[str, str, str], browse: bool) -> None:
    """Calls, from when the page is there until Ctrl-C, which hangs up; `place`: address, token and socket."""
    address, token, socket = place
    port = int(address.rstrip("/").rpartition(":")[2])
    await _served(port)
    stop = asyncio.Event()

    def interrupted() -> None:
        signal.raise_signal(signal.SIGTERM) if stop.is_set() else stop.set()

    # The daemon has its own for both signals by now; SIGTERM remains its.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    link = f"{address}#/login/{token}"
    if port != _PORT:
        console.print(f"Port {_PORT} is taken; the page has {port}.")
    console.print(f"The live page, where this lets you in:  {link}", soft_wrap=True)
    console.print(f"From another terminal:  rtzr-bridge calls --socket {socket}", soft_wrap=True)
    console.print("(tail, why, pause, resume, status and drain too)")
    console.print("One call follows another there and here; Ctrl-C hangs up and ends it.\n")
    if browse:
        await asyncio.to_thread(open_browser, link)
    await switch.until(lambda: switch.followed)
    while not await _waited(stop, _BETWEEN_CALLS_S):
        await _one(switch, stop)


async def _one(switch: Switch, stop: asyncio.Event) -> None:
    """A call, hung up earlier when told to stop."""
    switch.streams.clear()  # of calls that are over
    switch.commands.clear()
    call = await stream.dial(switch)
    _, until_s = stream.speak(switch, call)
    await _waited(stop, until_s - asyncio.get_running_loop().time())
    await call.hang_up()


async def _waited(stop: asyncio.Event, seconds: float) -> bool:
    """Whether it was told to stop in that time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


async def _served(port: int) -> None:
    """Until the page is to be had."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return
        await asyncio.sleep(_ASKS_EACH_S)


def open_browser(link: str) -> None:
    """In a browser with a window of its own, if there is one: another would take this terminal."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(link)
