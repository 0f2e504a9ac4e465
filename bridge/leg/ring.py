"""The one hand-over between what receives a leg's audio and the coroutine that sends it.

Receive first, decide later: frames wait here, bounded, from the first packet on, whether or not RTZR is
connected. The receiving side pushes and never waits; the leg reads. The end of the stream is the only signal.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from bridge.types import Codec, Frame
from bridge.wire.mix import Mixer

_OWN, _GUEST = 0, 1
MIX_LAG_MS = 160.0
"""A tap sends in lumps and two never in step: less, and what is late would be lost."""

_TICK_S = 0.001
"""Loops round to it."""
_TRANSIT_MS = 100.0
"""How old audio may be when it comes from the PBX: what was said in a pause comes after its end."""


class Batch(NamedTuple):
    """What one read gives: frames in order, and whether they are the last."""

    frames: Sequence[Frame]
    ended: bool


class Ring:
    """Bounded in milliseconds of audio; the oldest frames go when it is full, counted in `evicted`."""

    __slots__ = (
        "_answered", "_answered_ms", "_bytes_per_ms", "_capacity_ms", "_codec", "_ends_ms", "_frames",
        "_host", "_mixer", "_now_ms", "_over", "_patience_s", "_reader", "_sides", "_silent_to_ms", "_timer",
        "_timer_s", "_waiting_ms", "_wanted", "_wanted_ms", "arrived_ms", "ended", "evicted_ms",
        "evicted_span", "flaws", "lag_ms", "mixed_ms", "paused_ms", "pauses",
    )  # fmt: skip

    def __init__(self, codec: Codec, capacity_ms: float) -> None:
        self._codec = codec
        self._bytes_per_ms = codec.bytes_per_ms
        self._capacity_ms = capacity_ms
        self._frames: deque[Frame] = deque()
        self._waiting_ms = 0.0
        self._wanted_ms = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._patience_s = 0.0
        """Until when the reader waits, by the loop."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self.ended = False
        self._over = asyncio.Event()
        self._wanted = asyncio.Event()
        self._answered = asyncio.Event()
        self._answered_ms: float | None = None
        self._host: Ring | None = None
        self._mixer: Mixer | None = None
        self._sides: set[int] = set()
        self._ends_ms = [-math.inf, -math.inf]
        """Where what each of two parties said ends."""
        self._now_ms: Callable[[], float] = lambda: 0.0
        self.lag_ms = 0.0
        """How much later than it was said audio comes out: two parties are waited for."""
        self.mixed_ms = 0.0
        """Of what arrived, what went into another leg's stream."""
        self.arrived_ms = 0.0
        self.evicted_ms = 0.0
        self.evicted_span = (0.0, 0.0)
        """Call time of the audio in `evicted_ms`, which the reader sets back to none once it has told it."""
        self.pauses = 0
        """How many have begun."""
        self.paused_ms = 0.0
        """Of what arrived, what a pause kept from the reader."""
        self._silent_to_ms = -math.inf
        """Nothing that was said before this call time is given to the reader."""
        self.flaws: list[str] = []
        """What the receiving side knows to be missing from the stream, in a word or two each."""

    def push(self, frames: Sequence[Frame]) -> None:
        """Append frames; wakes the reader once enough wait."""
        if self.pauses:
            frames = self._allowed(frames)
        if self._host is not None:
            ms = sum(self._codec.ms(len(frame.payload)) for frame in frames)
            self.arrived_ms += ms
            self.mixed_ms += ms
            self._host.blend(_GUEST, frames)
        elif self._mixer is not None:
            self.blend(_OWN, frames)
        else:
            self._append(frames)

    def _append(self, frames: Sequence[Frame]) -> None:
        size = 0
        for frame in frames:
            size += len(frame.payload)
        self._frames += frames
        self.arrived_ms += (ms := size / self._bytes_per_ms)
        self._waiting_ms += ms
        while self._waiting_ms > self._capacity_ms:
            self._evict()
        if self._waiting_ms >= self._wanted_ms:
            self._wake()

    def mix_in(self, guest: "Ring", now_ms: Callable[[], float]) -> None:
        """From now on the guest's audio goes into this stream too, both heard at once (`mix_legs`)."""
        self._mixer, self._now_ms, guest._host = Mixer(self._codec, lag_ms=MIX_LAG_MS), now_ms, self
        self._sides = {_OWN, _GUEST}
        self.lag_ms = MIX_LAG_MS

    def blend(self, side: int, frames: Sequence[Frame], *, over: bool = False) -> None:
        """Audio of one of two parties; `over`: its last. The stream ends with the second one."""
        if self._mixer is None:
            return
        self._mixer.push(side, self._apart(side, frames))
        if over:
            self._mixer.end(side)
            self._sides.discard(side)
        self._append(self._allowed(self._mixer.take(self._now_ms())))
        if self._mixer.late_ms or self._mixer.dropped_ms:
            self.flaw("mixed too late")
        if not self._sides:
            self._finish()

    def _apart(self, side: int, frames: Sequence[Frame]) -> list[Frame]:
        """One party's frames as a mixer bears them. It leaves out what is over another, as audio that draws
        back (`wire.arrival`) is a little, and what comes after its time was mixed, as after a stall: moved
        on, both are heard. What follows stays ahead until the party's next pause."""
        apart, end_ms = [], max(self._ends_ms[side], self._now_ms() - self.lag_ms)
        for frame in frames:
            one = frame if frame.at_ms >= end_ms else Frame(frame.payload, end_ms)
            end_ms = one.at_ms + len(one.payload) / self._bytes_per_ms
            apart.append(one)
            self._ends_ms[side] = end_ms
        return apart

    @property
    def mixes(self) -> bool:
        """Whether two parties are in this stream."""
        return self._mixer is not None

    @property
    def mixed(self) -> bool:
        """Whether this party's audio goes out in another leg's stream."""
        return self._host is not None

    def flaw(self, reason: str) -> None:
        """Something is missing from the stream, and not by the PBX's doing."""
        if reason not in self.flaws:
            self.flaws.append(reason)

    def pause(self) -> None:
        """From now on nothing that is said is given to the reader, and what waits is let go."""
        if self.paused:
            return
        self.pauses += 1
        self._silent_to_ms = math.inf
        self.paused_ms += self._waiting_ms
        self._frames.clear()
        self._waiting_ms = 0.0
        self._wake()

    def resume(self, at_ms: float) -> None:
        """What is said from call time `at_ms` on is given to the reader again."""
        if self.paused:
            self._silent_to_ms = at_ms + _TRANSIT_MS

    @property
    def paused(self) -> bool:
        return self._silent_to_ms == math.inf

    def _allowed(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Those that were said in no pause; the others are counted."""
        allowed = [frame for frame in frames if frame.at_ms >= self._silent_to_ms]
        size = sum(len(frame.payload) for frame in frames) - sum(len(frame.payload) for frame in allowed)
        self.arrived_ms += (ms := self._codec.ms(size))
        self.paused_ms += ms
        return allowed

    def answer(self, at_ms: float) -> None:
        """The leg was answered at call time `at_ms`; later ones change nothing."""
        if not self._answered.is_set():
            self._answered_ms = at_ms
            self._wanted.set()
            self._answered.set()

    def prepare(self) -> None:
        """The answer is near: a session may be opened ahead of it."""
        self._wanted.set()

    def end(self) -> None:
        """No frame will come any more."""
        if self._host is not None:
            self._host.blend(_GUEST, (), over=True)
        if self._mixer is not None and self._sides:
            self.blend(_OWN, (), over=True)
        else:
            self._finish()

    def _finish(self) -> None:
        self.ended = True
        self._over.set()
        self._wanted.set()
        self._answered.set()
        self._wake()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def waiting_ms(self) -> float:
        """Audio that came and was not read yet."""
        return self._waiting_ms

    async def over(self, timeout_s: float | None) -> None:
        """Wait until the stream ends, at most `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._over.wait()

    async def wanted(self) -> bool:
        """Wait until a session is wanted; False when the stream ended before."""
        await self._wanted.wait()
        return not self.ended or self._answered_ms is not None

    async def answered(self) -> float | None:
        """Wait for the answer: its call time, or None when the stream ended without one."""
        await self._answered.wait()
        return self._answered_ms

    async def read(self, wanted_ms: float, timeout_s: float) -> Batch:
        """Frames, once `wanted_ms` of them wait, the stream ends or `timeout_s` has passed."""
        if self._waiting_ms < wanted_ms and not self.ended:
            self._wanted_ms = wanted_ms
            loop = asyncio.get_running_loop()
            self._reader = reader = loop.create_future()
            self._remind(loop, timeout_s)
            try:
                await reader
            finally:
                self._reader = None
        return self.read_now()

    def read_now(self) -> Batch:
        """The frames that wait, be they few or none."""
        if self._mixer is not None:  # the last of what was said before both fell silent
            self._append(self._allowed(self._mixer.take(self._now_ms())))
        frames = tuple(self._frames)
        self._frames.clear()
        self._waiting_ms = 0.0
        return Batch(frames, self.ended)

    def _remind(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        """Wake the reader when its patience is over.

        Nearly every reader gets what it wants long before. So a timer that stands for no later is left alone,
        and asks again when it fires: to make and cancel one for each message is dear.
        """
        self._patience_s = loop.time() + timeout_s
        if self._timer is not None:
            if self._timer_s <= self._patience_s:
                return
            self._timer.cancel()
        self._timer_s = self._patience_s
        self._timer = loop.call_later(timeout_s, self._tire, loop)

    def _tire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        left_s = self._patience_s - loop.time()
        if left_s < _TICK_S:
            self._wake()
        elif self._reader is not None:
            self._remind(loop, left_s)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _evict(self) -> None:
        frame = self._frames.popleft()
        length = self._codec.ms(len(frame.payload))
        start_ms = self.evicted_span[0] if self.evicted_ms else frame.at_ms
        self.evicted_span = (start_ms, frame.at_ms + length)
        self.evicted_ms += length
        self._waiting_ms -= length
