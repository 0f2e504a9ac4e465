"""ARI's connection where no PBX is to be had: it tries for ever, ever less often, and never raises.

Against the real Asterisk it is tested in tests/asterisk/test_ari.py.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.net import lasting
from bridge.net.ari import Ari, AriRefused
from bridge.wire.pbxevents import PbxUnreachable
from tests.net.tcp import answering, server
from tests.orders import order


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "BACKOFF_BASE_S", 0.01)
    monkeypatch.setattr(lasting, "BACKOFF_CAP_S", 0.05)
    monkeypatch.setattr(lasting, "HOPELESS_S", 0.05)


def client(port: int, **changed: Any) -> Ari:
    values = {"timeout_s": 0.3, "random01": lambda: 0.999, **changed}
    return Ari(f"http://127.0.0.1:{port}/ari", "rtzr", "ari-password", "rtzr-bridge", **values)


@asynccontextmanager
async def counting(answer: bytes | None) -> AsyncIterator[tuple[int, list[float]]]:
    """A port that answers every request so (None: never); and when each connection came."""
    came: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(asyncio.get_running_loop().time())
        if answer is None:
            await reader.read(-1)
        else:
            await answering(answer)(reader, writer)

    async with server(serve) as port:
        yield port, came


async def follow(one: Ari, enough: Callable[[], bool]) -> list[object]:
    """Ask for events until `enough`; what came."""
    seen: list[object] = []

    async def listen() -> None:
        async with aclosing(one.events()) as events:
            seen.extend([event async for event in events])

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(10):
        while not enough() and not listening.done():  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0.005)
    assert not listening.done(), "it goes on for ever"
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    return seen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def test_where_nothing_listens_it_tries_again_and_never_raises() -> None:
    with capture_logs() as logs:
        async with client(free_port()) as one:
            assert await follow(one, lambda: len(logs) >= 5) == []
            assert (one.counters.connected, one.counters.disconnected) == (0, 0)
    assert {log["event"] for log in logs} == {"ari not connected"}
    assert [log["log_level"] for log in logs[:5]] == ["warning", "info", "info", "info", "info"]
    assert "onnect" in logs[0]["reason"]
    assert "ari-password" not in repr(logs)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: nonsense\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["nothing", "close", "ssh", "200", "404", "500", "302"],
)
async def test_whatever_answers_instead_of_a_pbx_it_goes_on(answer: bytes | None) -> None:
    async with counting(answer) as (port, came), client(port) as one:
        assert await follow(one, lambda: len(came) >= 3) == []
        assert one.counters.connected == 0


async def test_it_waits_ever_longer_up_to_the_cap() -> None:
    async with counting(b"") as (port, came), client(port) as one:
        await follow(one, lambda: len(came) >= 7)
    waits = [later - earlier for earlier, later in pairwise(came)]
    assert waits[0] >= 0.015
    assert waits[1] >= 0.035
    assert all(wait >= 0.045 for wait in waits[2:])


async def test_a_wrong_password_is_told_once_and_tried_at_the_cap_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with capture_logs() as logs:
        async with counting(refusal) as (port, came), client(port, random01=lambda: 0.0) as one:
            await follow(one, lambda: len(came) >= 4)
            assert one.counters.refused >= 3
    assert [log["log_level"] for log in logs].count("error") == 1
    assert came[3] - came[0] >= 0.14, "without the cap, and with no jitter, it would not have waited at all"
    assert "ari-password" not in repr(logs)


async def test_a_wrong_url_is_told_with_its_mend() -> None:
    nothing_there = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with capture_logs() as logs:
        async with counting(nothing_there) as (port, came), client(port) as one:
            await follow(one, lambda: len(came) >= 4)
    warned = [log for log in logs if log["log_level"] == "warning"]
    assert [log["reason"] for log in warned] == ["HTTP 404"]
    assert "must end in /ari" in warned[0]["mend"]


async def test_what_a_user_may_not_ask_is_told_once_with_its_mend() -> None:
    body = b'{"message":"Write access denied"}'
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with capture_logs() as logs:
        async with counting(refusal) as (port, _), client(port) as one:
            for _again in range(2):
                with pytest.raises(AriRefused):
                    await one.attach(order())
    (told,) = [log for log in logs if log["log_level"] == "error"]
    assert told["reason"] == "HTTP 403 Write access denied"
    assert "read_only = no" in told["mend"]


async def test_requests_to_nobody_say_so_and_are_counted() -> None:
    async with client(free_port()) as one:
        for request in (one.channels(), one.bridges(), one.variable("1.1", "X"), one.hangup("1.1")):
            with pytest.raises(PbxUnreachable):
                await request
        with pytest.raises(PbxUnreachable):
            await one.attach(order())
        assert one.counters.requested == one.counters.failed == 5


async def test_a_pbx_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    async with counting(None) as (port, _), client(port) as one, asyncio.timeout(2):
        with pytest.raises(PbxUnreachable):
            await one.channels()


@pytest.mark.parametrize("error", [AttributeError("getpeername"), OSError("not connected")])
async def test_a_socket_that_is_cut_while_it_is_looked_at_is_unreachable_too(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Seen with anyio below httpx: a tap must be tried again, and not be lost with its leg."""

    async def cut(*_: object, **__: object) -> None:
        raise error

    async with client(9) as one:
        monkeypatch.setattr(one._http, "request", cut)
        with pytest.raises(PbxUnreachable):
            await one.channels()
        assert one.counters.failed == 1
