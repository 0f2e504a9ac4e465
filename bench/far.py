"""RTZR's emulator in a process of its own, so that its work does not stand in the bridge's way.

Both sides of it: `Far` starts the process and asks it questions over its pipes; `python -m bench.far KNOBS`
is the process. It ends with its pipe, however the benchmark came to its end. What it heard leaves as marks
(`truth`), never as audio.
"""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.lag import Lag, watched
from bench.loops import run
from bench.telephone import CODEC
from bench.truth import Range, marks, ranges
from bridge.emulator.server import Emulator, Knobs

_ROOT = Path(__file__).parent.parent
_LONGEST_ANSWER = 1 << 26
_PATIENCE_S = 20.0
_ROUNDING_MS = 20.0
"""A packet that is told but for its end is told: a word's end is found to a few milliseconds."""


class FarError(RuntimeError):
    """The emulator's process did not start, or is gone."""


class Far:
    """`async with Far(knobs) as rtzr`: an emulator that listens on loopback from entry to exit."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._process: asyncio.subprocess.Process | None = None
        self.auth_url = self.stream_url = ""

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.far", json.dumps(asdict(self._knobs)),
            cwd=_ROOT, stdin=pipe, stdout=pipe, limit=_LONGEST_ANSWER,
        )  # fmt: skip
        urls = await self._answer()
        self.auth_url, self.stream_url = urls["auth_url"], urls["stream_url"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def ask(self, question: str) -> Any:
        """`stats`, `lag` or `heard`. Raises FarError."""
        if self._process is None or self._process.stdin is None:
            raise FarError("the emulator was not started")
        self._process.stdin.write(f"{question}\n".encode())
        return await self._answer()

    async def _answer(self) -> Any:
        if self._process is None or self._process.stdout is None:
            raise FarError("the emulator was not started")
        async with asyncio.timeout(_PATIENCE_S):
            line = await self._process.stdout.readline()
        if not line:
            raise FarError("the emulator's process has ended")
        return json.loads(line)


async def _serve(knobs: Knobs) -> None:
    """The process: one line of JSON for each line asked, until nobody can ask any more."""
    questions = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    async with Emulator(knobs) as rtzr:
        with watched() as lag:
            answers = _answers(rtzr, lag)
            _tell({"auth_url": rtzr.auth_url, "stream_url": rtzr.stream_url})
            while question := (await questions.readline()).decode().strip():
                _tell(answers[question]())


def _answers(rtzr: Emulator, lag: Lag) -> dict[str, Callable[[], Any]]:
    return {
        "stats": lambda: rtzr.stats().as_dict(),
        "lag": lambda: lag.late_ms,
        "heard": lambda: _heard(rtzr),
    }


def _heard(rtzr: Emulator) -> dict[int, list[Range]]:
    """By leg, which packets finals told, or held nothing to tell, since this was asked last."""
    told = defaultdict[int, set[int]](set)
    for stream in rtzr.heard:
        for mark in marks(stream.payload):
            if CODEC.ms(mark.end) <= stream.told_ms + _ROUNDING_MS:
                told[mark.leg].add(mark.number)
    rtzr.heard.clear()
    return {leg: ranges(numbers) for leg, numbers in told.items()}


def _tell(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # the benchmark is told too, and says it
        run(_serve(Knobs(**json.loads(sys.argv[1]))))
