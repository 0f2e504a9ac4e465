"""Runs a benchmark's coroutine on the event loop that the bridge itself runs on."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bridge.loops import new_loop

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)
