"""How late an event loop is: a benchmark's figures are worth no more than its loop was on time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.outcome import percentile

_TICK_S = 0.01


@dataclass(slots=True)
class Lag:
    """How much later than asked for the loop's ticks came, in milliseconds."""

    late_ms: list[float] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        return percentile(self.late_ms, 0.99) if self.late_ms else 0.0

    @property
    def worst_ms(self) -> float:
        return max(self.late_ms, default=0.0)

    def told(self, whose: str) -> str:
        """A line for people."""
        return f"lag of {whose}: {self.p99_ms:.1f} ms at p99, {self.worst_ms:.1f} ms at worst"

    async def watch(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.late_ms.append((loop.time() - due_s) * 1000)


@contextmanager
def watched() -> Iterator[Lag]:
    """The running loop's lag while the block lasts."""
    lag = Lag()
    task = asyncio.get_running_loop().create_task(lag.watch())
    try:
        yield lag
    finally:
        task.cancel()
