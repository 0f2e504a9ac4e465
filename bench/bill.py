"""What a tap costs the PBX: CPU of a real Asterisk a tapped leg and second, by the tap and its encoding.

Calls whose parties both talk run through the tests' own Asterisk, the same number untapped and tapped in
turns; the difference of the two is the tap's. The daemon and RTZR are other processes, and not in the bill.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.aside import Aside
from bench.load import QUIET, streams, urls
from bench.outcome import Advance, Outcome
from bench.pbx import speech
from bridge.types import Codec
from bridge.wire import g711
from tests.asterisk import install
from tests.asterisk.pbx import Asterisk, Script

CODECS = ("ulaw", "alaw", "slin")
_CALLS = 15
_ROUNDS = 3
_SETTLE_S, _SECONDS = 2.0, 6.0
_TALK: Script = [(0.1, "talk")] * 3
"""A prompt of 20 s each."""
_ALL_CHANNELS = "__AST_CHANNEL_ALL_TOPIC"
"""How ARI names a subscription to all of them."""
_PATIENCE_S = 30.0
_COLUMNS = ("tap", "encoding", "untapped ms/leg-s", "tapped ms/leg-s", "the tap's")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    calls: int = _CALLS
    rounds: int = _ROUNDS
    seconds: float = _SECONDS


def work() -> int:
    """How much `run` advances in all."""
    return len(CODECS) * _ROUNDS


async def run(advance: Advance) -> Outcome:
    """A row for each encoding."""
    if not install.ready():
        reason = install.why_not() or "it is not installed: python -m tests.asterisk.install"
        return Outcome({}, _COLUMNS, [], missed=[f"no Asterisk to be measured: {reason}"])
    return outcome(await bill(Size(), CODECS, advance))


async def bill(size: Size, codecs: tuple[str, ...], advance: Advance) -> list[dict[str, Any]]:
    """The rows. Raises TimeoutError when a tap does not come up."""
    pbx = await asyncio.to_thread(Asterisk().__enter__)
    try:
        linear = b"".join(speech(Codec.SLIN))
        pbx.prompt("talk", g711.swap(linear))
        return [await _row(pbx, codec, size, advance) for codec in codecs]
    finally:
        await asyncio.to_thread(pbx.close)


async def _row(pbx: Asterisk, codec: str, size: Size, advance: Advance) -> dict[str, Any]:
    pairs = []
    async with _daemon(pbx, codec) as sink:
        for _ in range(size.rounds):
            untapped = await _cost(pbx, sink, size, "unannounced")
            pairs.append((untapped, await _cost(pbx, sink, size, "from-phones")))
            advance(1)
    bare, tapped = (median(column) for column in zip(*pairs, strict=True))
    return {
        "tap": "ChanSpy to RTP",
        "codec": codec,
        "legs": 2 * size.calls,
        "untapped_ms_per_leg_s": round(bare, 3),
        "tapped_ms_per_leg_s": round(tapped, 3),
        "tap_ms_per_leg_s": round(median(with_tap - without for without, with_tap in pairs), 3),
        "rounds": [[round(figure, 3) for figure in pair] for pair in pairs],
    }


async def _cost(pbx: Asterisk, sink: Aside, size: Size, context: str) -> float:
    """Asterisk's CPU for calls through this context of its dialplan, in ms a leg-second."""
    legs = 2 * size.calls
    for _ in range(size.calls):
        await asyncio.to_thread(pbx.two_party_call, _TALK, _TALK, ring_s=0.2, context=context)
    await streams(sink, legs if context == "from-phones" else 0)
    await asyncio.sleep(_SETTLE_S)
    before = machine.cpu_ms([pbx.pid])
    await asyncio.sleep(size.seconds)
    cost = (machine.cpu_ms([pbx.pid]) - before) / size.seconds / legs
    await asyncio.to_thread(pbx.hangup_all)
    await streams(sink, 0)
    return cost


@asynccontextmanager
async def _daemon(pbx: Asterisk, codec: str) -> AsyncIterator[Aside]:
    """The real daemon beside this Asterisk, and the RTZR that it streams to."""
    with tempfile.TemporaryDirectory() as name:
        async with Aside("bench.sink", {"tls": None, "partials_s": 0}) as sink:
            config = Path(name) / "bridge.yaml"
            config.write_text(json.dumps(_config(pbx, sink.greeting["port"], codec)))
            settings = {"config": str(config), "uvloop": True, "secrets": {"ARI_PASSWORD": pbx.password}}
            async with Aside("bench.host", settings):
                await _followed(pbx)
                yield sink


async def _followed(pbx: Asterisk) -> None:
    """Wait until the daemon has subscribed to this PBX's channels. Raises TimeoutError."""

    def follows() -> bool:
        return any(_ALL_CHANNELS in app["channel_ids"] for app in pbx.ari("GET", "applications"))

    async with asyncio.timeout(_PATIENCE_S):
        while not await asyncio.to_thread(follows):  # noqa: ASYNC110 - only the PBX knows
            await asyncio.sleep(0.1)


def _config(pbx: Asterisk, sink: int, codec: str) -> dict[str, Any]:
    return {
        "rtzr": urls(sink),
        "asterisk": {"ari_url": pbx.ari_url, "username": pbx.username},
        "media": {"first_port": 51_000, "last_port": 51_400, "codec": codec, "port_rest_s": 2},
        "gate": {"mode": "immediate"},
        **QUIET,
    }


def outcome(rows: list[dict[str, Any]]) -> Outcome:
    """The rows as a table. There is no target: it is for who chooses a tap."""
    note = "untapped: two Local channels a leg, one of which plays; no network, no SIP"
    return Outcome({"machine": machine.described(), "rows": rows}, _COLUMNS, table_rows(rows), [note])


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row's cells, in the order of the columns."""
    keys = ("untapped_ms_per_leg_s", "tapped_ms_per_leg_s", "tap_ms_per_leg_s")
    return [[row["tap"], row["codec"], *(f"{row[key]:.2f}" for key in keys)] for row in rows]
