"""bridge/net/names.py: each name has its own thread, and nobody waits for one that hangs."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.net.names import Names, is_address


class Resolver:
    """The system's, which hangs at every name with `hang` in it until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, *given: Any, **how: Any) -> Any:
        self.asked.append(host)
        if "hang" not in str(host):
            return self._real(host, *given, **how)
        self.go.wait(60)
        if "never" in str(host):
            raise socket.gaierror(socket.EAI_AGAIN, "no server answered")
        return self._real("127.0.0.1", *given, **how)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    one = Resolver(monkeypatch)
    yield one
    one.go.set()


async def given_up(names: Names, host: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await names.look_up(host, 80)


async def test_it_says_what_the_system_says() -> None:
    names = Names()
    assert list(await names.look_up("localhost", 80, type=socket.SOCK_STREAM)) == socket.getaddrinfo(
        "localhost", 80, type=socket.SOCK_STREAM
    )
    with pytest.raises(socket.gaierror):
        await names.look_up("no.such.name.invalid")
    with pytest.raises(UnicodeError):
        await names.look_up("a" * 64 + ".example")
    assert names.under_way == 0


async def test_names_that_hang_hold_up_no_other_and_have_one_thread_each(resolver: Resolver) -> None:
    names = Names()
    for _ in range(5):
        await asyncio.gather(*(given_up(names, f"hang{n}.example") for n in range(10)))
    assert names.under_way == 10
    async with asyncio.timeout(5):
        assert await names.look_up("localhost", 80)
    assert sorted(resolver.asked) == sorted([*(f"hang{n}.example" for n in range(10)), "localhost"])


async def test_who_asks_later_gets_the_answer_to_the_first(resolver: Resolver) -> None:
    names = Names()
    await given_up(names, "hang.example")
    later = [asyncio.create_task(names.look_up("hang.example", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    resolver.go.set()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*later)
    assert {found[0][4] for found in answers} == {("127.0.0.1", 80)}
    assert (resolver.asked, names.under_way) == (["hang.example"], 0)


async def test_a_failure_that_nobody_waits_for_is_no_matter(resolver: Resolver) -> None:
    names = Names()
    await given_up(names, "never.hang.example")
    resolver.go.set()
    async with asyncio.timeout(5):
        with pytest.raises(socket.gaierror):
            await names.look_up("never.hang.example", 80)


async def test_there_are_no_more_threads_than_are_allowed(resolver: Resolver) -> None:
    names = Names(most=2)
    for host in ("hang1", "hang2"):
        await given_up(names, host)
    with pytest.raises(socket.gaierror, match="too many names"):
        await names.look_up("localhost", 80)
    assert await names.look_up("127.0.0.1", 80), "nobody is asked for an address"
    resolver.go.set()
    async with asyncio.timeout(5):
        await names.look_up("hang1", 80)
        await names.look_up("hang2", 80)
        assert await names.look_up("localhost", 80)


async def test_where_no_thread_is_to_be_had_a_look_up_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Names()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(socket.gaierror, match="no thread"):
            await names.look_up("localhost")
    assert await names.look_up("localhost")


def test_an_answer_after_the_loop_is_closed_is_no_matter(resolver: Resolver) -> None:
    before = threading.enumerate()
    with asyncio.Runner() as runner:
        runner.run(given_up(Names(), "hang.example"))
        (thread,) = (one for one in threading.enumerate() if one.name == "look-up" and one not in before)
    resolver.go.set()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", b"10.0.0.1", "fe80::1%eth0", "", None])
def test_what_is_an_address(host: Any) -> None:
    assert is_address(host)


@pytest.mark.parametrize("host", ["localhost", "127.1", b"crm.example", "1.2.3.4.5"])
def test_what_is_none(host: Any) -> None:
    assert not is_address(host)
