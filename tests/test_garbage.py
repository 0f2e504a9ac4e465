"""A leg leaves nothing to the collector, which comes seldom (bridge/load.py), however its sessions ended."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import random

import pytest

from bridge.config import Config
from bridge.net.ari import Ari
from bridge.quota import Governor
from bridge.types import Frame, LegId, NewLeg, Party, Role, Token
from bridge.wire.quota import QuotaSettings
from bridge.wire.rtzr import Unreachable
from bridge.wiring import build_desks, build_rtzr
from tests.net.handshake import welcome
from tests.net.tcp import Answer, http, server


class _Tokens:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def get(self, refused: Token | None = None) -> Token:
        if self._error is not None:
            raise self._error
        return Token("token", time.time() + 3600)


async def _refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(http("503 Away", "{}"))


async def _cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await welcome(reader, writer)
    writer.transport.abort()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.fixture(autouse=True)
async def _as_it_runs() -> None:
    """In debug mode the loop itself keeps frames."""
    asyncio.get_running_loop().set_debug(False)


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """By type, what was left to the collector."""
    found = Counter[str]()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def ours(found: Counter[str]) -> list[str]:
    """What is the bridge's. (A socket cut while nobody reads it leaves two of its library.)"""
    return [name for name in found if name.startswith("bridge.")]


async def _leg(number: int, port: int, tokens: _Tokens) -> None:
    """A leg that speaks for a while and hangs up."""
    config = Config.model_validate(
        {
            "gate": {"mode": "immediate"},
            "hangup": {"outage_s": 0, "drain_ms": 100},
            "rtzr": {"stream_url": f"ws://127.0.0.1:{port}/v1/transcribe:streaming"},
        }
    )
    loop = asyncio.get_running_loop()
    rtzr = build_rtzr(config, tokens)
    governor = Governor(rtzr, QuotaSettings(), clock=loop.time, random01=random)
    desks = build_desks(config, range(21_000, 21_400), governor, rtzr, lambda _: None)
    desk = await desks.begin(NewLeg(LegId("call", str(number)), Party(Role.CALLER), loop.time()))
    running = asyncio.create_task(desk.run())
    desk.answer(0.0)
    for at in range(25):
        desk.ring.push([Frame(b"\x55" * 160, at * 20.0)])
        await asyncio.sleep(0.005)
    desk.end("hung up")
    await running


@pytest.mark.parametrize("serve", [_refuses, _cuts, _hangs_up])
async def test_a_leg_that_rtzr_fails_leaves_nothing_to_the_collector(serve: Answer) -> None:
    async with server(serve) as port:
        await _leg(0, port, _Tokens())  # what is made once
        with collected() as found:
            await asyncio.gather(*(_leg(number, port, _Tokens()) for number in range(5)))
    assert ours(found) == []
    assert not found["websockets.asyncio.client.ClientConnection"]


async def test_nor_does_one_without_a_token() -> None:
    with collected() as found:
        await asyncio.gather(*(_leg(number, 9, _Tokens(Unreachable("away"))) for number in range(5)))
    assert ours(found) == []


@pytest.mark.parametrize("serve", [_refuses, _hangs_up])
async def test_nor_do_the_tries_to_reach_a_pbx(serve: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.net.lasting.BACKOFF_BASE_S", 0.001)
    monkeypatch.setattr("bridge.net.lasting.BACKOFF_CAP_S", 0.001)
    monkeypatch.setattr("bridge.net.lasting.HOPELESS_S", 0.001)

    async def follow(ari: Ari) -> None:
        async for _ in ari.events():
            pass

    came: asyncio.Queue[None] = asyncio.Queue()

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.put_nowait(None)
        await serve(reader, writer)

    async with server(counted) as port, Ari(f"http://127.0.0.1:{port}/ari", "user", "secret", "app") as ari:
        with collected() as found:
            following = asyncio.create_task(follow(ari))
            async with asyncio.timeout(10):
                for _ in range(5):
                    await came.get()
            following.cancel()
            await asyncio.wait({following})
            del following
    # The last try was cancelled on its way; Python 3.14 finds its frames, with what they held.
    assert found["websockets.asyncio.client.ClientConnection"] <= 1
    assert found["bridge.net.lasting.Lost"] <= 1
    assert set(ours(found)) <= {"bridge.net.lasting.Lost"}
