"""When a moment of a recording is due in its replay."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Clock:
    """`base`: the running loop's time at which the recording's time 0 is due."""

    base: float
    speed: float = 1.0
    waited: float = 0.0
    """Seconds that it was held for."""
    _held: float | None = None
    _bases: list[tuple[float, float]] = field(default_factory=list)
    """(until which time of the recording, base) of what was before each hold."""
    _going: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._going.set()

    def now(self) -> float:
        """The recording's time."""
        if self._held is not None:
            return self._held
        return (asyncio.get_running_loop().time() - self.base) * self.speed

    def was(self, at: float) -> float:
        """The running loop's time at which that time of the recording was due, or will be."""
        base = next((base for until, base in self._bases if at <= until), self.base)
        return base + at / self.speed

    def delay(self, at: float) -> float:
        """Seconds from now until that time of the recording; 0 if it is past."""
        return max(0.0, self.base + at / self.speed - asyncio.get_running_loop().time())

    async def until(self, at: float) -> None:
        await asyncio.sleep(self.delay(at))

    async def running(self) -> None:
        """Return at once, unless the recording's time is held."""
        await self._going.wait()

    def hold(self) -> None:
        """Let no time pass."""
        self._held = self.now()
        self._going.clear()

    def release(self) -> None:
        if self._held is not None:
            before, self.base = self.base, asyncio.get_running_loop().time() - self._held / self.speed
            self._bases.append((self._held, before))
            self.waited += self.base - before
            self._held = None
            self._going.set()
