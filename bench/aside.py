"""A part of a benchmark in a process of its own: it is started, asked over its pipes, and ends with them.

Both sides: `Aside` starts the process, `serve` is what the process does. A question and its answer are a line
of JSON each.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parent.parent
_LONGEST = 1 << 26
_PATIENCE_S = 60.0
_DEBUG = "PYTHONASYNCIODEBUG"

Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]


class AsideError(RuntimeError):
    """The process did not start, or is gone."""


class Aside:
    """`async with Aside("bench.sink", argument) as sink`; `argument` is JSON."""

    def __init__(self, module: str, argument: Any, cores: set[int] | None = None, **environ: str) -> None:
        """`cores`: which ones it may use."""
        self._module = module
        self._argument = json.dumps(argument)
        self._cores = cores
        # What a part costs is not told by an event loop in debug mode, which the tests ask for.
        self._environ = {key: value for key, value in os.environ.items() if key != _DEBUG} | environ
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self.greeting: Any = None
        """What it said first."""

    @property
    def pid(self) -> int:
        return self._running().pid

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, self._argument,
            cwd=_ROOT, stdin=pipe, stdout=pipe, limit=_LONGEST, env=self._environ,
        )  # fmt: skip
        if self._cores:
            os.sched_setaffinity(self._process.pid, self._cores)
        self.greeting = await self._answer()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def ask(self, question: str, argument: Any = None) -> Any:
        """One question at a time, whoever asks. Raises AsideError."""
        stdin = self._running().stdin
        if stdin is None:
            raise AsideError(f"{self._module} cannot be asked")
        async with self._asking:
            stdin.write(json.dumps([question, argument]).encode() + b"\n")
            return await self._answer()

    async def _answer(self) -> Any:
        stdout = self._running().stdout
        async with asyncio.timeout(_PATIENCE_S):
            line = b"" if stdout is None else await stdout.readline()
        if not line:
            raise AsideError(f"{self._module} has ended; what it complained of is above")
        return json.loads(line)

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise AsideError(f"{self._module} was not started")
        return self._process


async def serve(greeting: Any, answers: Answers) -> None:
    """In the process: greet, then answer until nobody can ask any more."""
    questions = asyncio.StreamReader(limit=_LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    _tell(greeting)
    while line := await questions.readline():
        question, argument = json.loads(line)
        _tell(await answers[question](argument))


def _tell(answer: Any) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
