"""bridge/loops.py: no name that hangs holds up another, and nothing that hangs the end of the process."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import loops
from bridge.net.webhook import WebhookSender
from bridge.outbox.stored import Unreachable
from bridge.wire.address import Reach
from bridge.wire.webhook import key
from tests.net.receiver import SECRET, receiving, stored

ROOT = Path(__file__).parent.parent


On = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[loops.new_loop, loops.by_name(asyncio.SelectorEventLoop)], ids=["usual", "plain"])
def on(request: pytest.FixtureRequest) -> On:
    """Runs a coroutine on the bridge's loop."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return run


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that were asked for; those with `hang` in them are not found before the test is over."""
    real, over = socket.getaddrinfo, threading.Event()
    asked: list[str] = []

    def getaddrinfo(host: Any, *given: Any, **how: Any) -> Any:
        asked.append(str(host))
        if "hang" in str(host):
            over.wait(60)
        return real(host, *given, **how)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()


def hook(name: str, url: str, timeout_s: float) -> WebhookSender:
    return WebhookSender(name, url, [key(SECRET)], timeout_s=timeout_s, reach=Reach(private=True))


async def told(number: int) -> str:
    async with hook("webhook:away", f"http://hang{number}.example/x?key=hunter2", 2) as away:
        with pytest.raises(Unreachable) as error:
            await asyncio.gather(*(away.send([stored(n, f"{n}")]) for n in range(4)))
        return str(error.value)


def test_webhooks_whose_names_hang_starve_nobody(on: On, hung: list[str]) -> None:
    async def work() -> None:
        texts = await asyncio.gather(*(told(n) for n in range(12)))
        assert set(texts) == {f"the name hang{n}.example was not found in time" for n in range(12)}
        async with receiving() as receiver, asyncio.timeout(5):
            async with hook("webhook:good", f"http://localhost:{receiver.port}/hook", 5) as good:
                await good.send([stored(1)])
            _, writer = await asyncio.open_connection("localhost", receiver.port)  # Redis and RTZR do so
            writer.close()
            await writer.wait_closed()
            found = await asyncio.get_running_loop().getaddrinfo("localhost", 1)  # and httpx so
            assert found[0][4][1] == 1
            assert await asyncio.to_thread(lambda: 1) == 1
            assert len(receiver.got) == 1
        assert len([host for host in hung if "hang" in host]) == 12, "one thread for each, whoever asks"

    begun = time.monotonic()
    on(work())
    assert time.monotonic() - begun < 15


def test_nor_do_connections_by_name(on: On, hung: list[str]) -> None:
    async def work() -> None:
        for n in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await asyncio.open_connection(f"hang{n}.example", 6379)
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: 1) == 1
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("localhost", 1)

    on(work())
    assert "hang9.example" in hung


def test_each_address_of_a_name_is_tried(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *given: Any, **how: Any) -> Any:
        if host != "two.example":
            return real(host, port, *given, **how)
        return [*real("127.77.0.1", port, *given, **how), *real("127.0.0.1", port, *given, **how)]

    async def work() -> None:
        async with receiving() as receiver, asyncio.timeout(5):
            _, writer = await asyncio.open_connection("two.example", receiver.port)
            assert writer.get_extra_info("peername")[0] == "127.0.0.1"
            writer.close()
            await writer.wait_closed()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    on(work())


HANGS = """
import asyncio, socket, sys, time
from bridge import loops

def hangs(*_given, **_how):
    time.sleep(60)

async def {what}():
    loop = asyncio.get_running_loop()
    if "{what}" == "name":
        socket.getaddrinfo = hangs
        work = [loop.getaddrinfo("hang.example", 1), asyncio.open_connection("hang.example", 1)]
    else:
        work = [asyncio.to_thread(hangs)]
    tasks = [asyncio.ensure_future(one) for one in work]
    await asyncio.wait(tasks, timeout=0.1)
    for task in tasks:
        task.cancel()
    print("over")
    return 7

loops._CLOSING_S = {closing_s}
sys.exit(loops.run_to_exit({what}()))
"""


@pytest.mark.parametrize(("what", "closing_s"), [("name", 60), ("thread", 0.2)])
def test_a_process_ends_though_something_hangs(what: str, closing_s: float) -> None:
    """A name at once, whatever else after a while; with its exit code, and what it printed."""
    code = HANGS.format(what=what, closing_s=closing_s)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (7, "over")
    assert ("thread that hangs" in done.stdout + done.stderr) is (what == "thread")


def test_an_end_where_nothing_hangs_is_the_usual_one() -> None:
    async def work() -> int:
        return 3

    assert loops.run_to_exit(work()) == 3
    for one in threading.enumerate():
        if one.name == "end":
            one.join(5)
            assert not one.is_alive()
