"""RTZR's emulator in a process of its own, so that its work does not stand in the bridge's way.

Both sides of it: `Far` starts the process; `python -m bench.far KNOBS` is the process. What it heard leaves
as marks (`truth`), never as audio.
"""

import json
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Self

from bench.aside import Answers, Aside, serve
from bench.lag import Lag, watched
from bench.loops import run
from bench.telephone import CODEC
from bench.truth import Range, marks, ranges
from bridge.emulator.server import Emulator, Knobs

_ROUNDING_MS = 20.0
"""A packet that is told but for its end is told: a word's end is found to a few milliseconds."""


class Far(Aside):
    """`async with Far(knobs) as rtzr`: an emulator that listens on loopback, and is asked for `stats`, `lag`
    and `heard`."""

    def __init__(self, knobs: Knobs) -> None:
        super().__init__("bench.far", asdict(knobs))
        self.auth_url = self.stream_url = ""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.auth_url, self.stream_url = self.greeting["auth_url"], self.greeting["stream_url"]
        return self


async def _process(knobs: Knobs) -> None:
    async with Emulator(knobs) as rtzr:
        with watched() as lag:
            await serve({"auth_url": rtzr.auth_url, "stream_url": rtzr.stream_url}, _answers(rtzr, lag))


def _answers(rtzr: Emulator, lag: Lag) -> Answers:
    async def stats(_: Any) -> dict[str, Any]:
        return dict(rtzr.stats().as_dict())

    async def late(_: Any) -> list[float]:
        return lag.late_ms

    async def heard(_: Any) -> dict[int, list[Range]]:
        return _heard(rtzr)

    return {"stats": stats, "lag": late, "heard": heard}


def _heard(rtzr: Emulator) -> dict[int, list[Range]]:
    """By leg, which packets finals told, or held nothing to tell, since this was asked last."""
    told = defaultdict[int, set[int]](set)
    for stream in rtzr.heard:
        for mark in marks(stream.payload):
            if CODEC.ms(mark.end) <= stream.told_ms + _ROUNDING_MS:
                told[mark.leg].add(mark.number)
    rtzr.heard.clear()
    return {leg: ranges(numbers) for leg, numbers in told.items()}


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # the benchmark is told too, and says it
        run(_process(Knobs(**json.loads(sys.argv[1]))))
