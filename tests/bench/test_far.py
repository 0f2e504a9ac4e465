"""bench/far.py: an emulator in a process of its own that answers, and ends with the one who asks."""

import asyncio

import pytest

from bench.aside import AsideError
from bench.far import Far
from bench.telephone import CODEC
from bench.truth import mark
from bridge.emulator.server import Knobs
from bridge.net.rtzr import Rtzr, Tokens

KNOBS = Knobs(record=True)


async def test_it_counts_and_tells_which_packets_it_told() -> None:
    async with Far(KNOBS) as far, Tokens(
        far.auth_url, KNOBS.client_id, KNOBS.client_secret, renew_before_s=600, timeout_s=5
    ) as tokens:  # fmt: skip
        session = await Rtzr(tokens, far.stream_url, {}, timeout_s=5).open(CODEC)
        for number in (3, 4, 5, 9):
            assert session.send(mark(CODEC.silence(20), 7, number))
        assert session.end()
        async with asyncio.timeout(5):
            assert [result async for result in session.results()] == []
        await session.close()
        assert await far.ask("heard") == {"7": [[3, 5], [9, 9]]}
        assert await far.ask("heard") == {}
        stats = await far.ask("stats")
        assert (stats["tokens_issued"], stats["sockets_opened"], stats["sockets_open"]) == (1, 1, 0)
        assert isinstance(await far.ask("lag"), list)


async def test_who_did_not_start_it_cannot_ask() -> None:
    with pytest.raises(AsideError, match="not started"):
        await Far(KNOBS).ask("stats")
