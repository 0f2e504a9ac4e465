"""One accepted WebSocket in front of its engine: the two tasks, the timer, and what the session costs.

What is heard and when it is due is decided in `engine`; who may dial is decided in `server`.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from bridge.emulator.engine import Engine
from bridge.emulator.faults import Cut, Faults
from bridge.emulator.knobs import Knobs
from bridge.emulator.query import StreamQuery

LEAST_BILLED_S = 10.0
"""RTZR rounds a shorter session up to this."""
SLICE_BYTES = 32_768
"""A longer message is heard in slices, with a turn for the other streams after each."""


@dataclass(slots=True)
class Heard:
    """What one stream heard, with `record`."""

    query: StreamQuery
    payload: bytearray = field(default_factory=bytearray, repr=False)
    told_ms: float = 0.0
    """Up to where all of it has been told by finals, or was nothing to tell; set when the stream ends."""
    complete: bool = False
    """Whether it ended by EOS, with everything told."""


class Stream:
    """One accepted WebSocket: it hears on one side and speaks on the other, until EOS or the client's end."""

    def __init__(self, ws: WebSocket, query: StreamQuery, knobs: Knobs, token_ends_s: float = inf) -> None:
        self.ws = ws
        self._knobs = knobs
        self.engine = Engine(
            query,
            speed=knobs.engine_speed,
            recognition_ms=knobs.recognition_ms,
            partial_ms=knobs.partial_ms,
            late_final_ms=knobs.late_final_ms,
        )
        self._loop = asyncio.get_running_loop()
        self._faults = Faults(knobs, self._now_ms(), token_ends_s * 1000)
        self.record = Heard(query) if knobs.record else None
        self.reset = False
        """Whether its connection is to be reset."""
        self._heard_s = 0.0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def billed_s(self) -> float:
        return max(LEAST_BILLED_S, self.engine.received_s)

    async def run(self) -> bool:
        """Serves the client. True: its EOS was read and every result sent; False: it went away before."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = (self._listen(), self._speak(), self._watch())
                sides = [tasks.create_task(side) for side in work]
                await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
                for side in sides:
                    side.cancel()
        finally:
            self._disarm()
            self._keep_told()
        return self.engine.drained and not self.reset

    async def _listen(self) -> None:
        """Reads until the client is gone, also after EOS: one that does not wait frees its channel."""
        while (message := await self.ws.receive())["type"] == "websocket.receive":
            payload, text = message.get("bytes"), message.get("text")
            if self._knobs.read_delay_ms:
                await asyncio.sleep(self._knobs.read_delay_ms / 1000)
            if payload is not None:
                if await self._hear(payload):
                    return
            elif text == "EOS":
                if self._knobs.eos == "reset":
                    self.reset = True
                    return
                self.engine.eos(self._now_ms())
                self._wake.set()
            elif text is not None and _is_finalize(text):
                self.engine.finalize(self._now_ms())
                self._arm()

    async def _hear(self, payload: bytes) -> bool:
        """Takes audio; whether it was the last that this stream takes."""
        arrived_ms = self._now_ms()
        if self.record is not None:
            self.record.payload += payload
        for start in range(0, len(payload), SLICE_BYTES):
            if start:
                await asyncio.sleep(0)
            self.engine.hear(payload[start : start + SLICE_BYTES], arrived_ms)
        self._arm()
        before_s, self._heard_s = self._heard_s, self.engine.received_s
        return await self._end(self._faults.hear((self._heard_s - before_s) * 1000, arrived_ms))

    async def _end(self, fault: int | Cut | None) -> bool:
        if fault is Cut.RESET:
            self.reset = True
        elif fault is not None:
            await self._close(fault)
        return fault is not None

    async def _close(self, code: int) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the client may be gone already
            await self.ws.close(code)

    async def _watch(self) -> None:
        """Closes the stream when time alone does."""
        while (due_ms := self._faults.due_ms()) is not None:
            wait_ms = due_ms - self._now_ms()
            if wait_ms <= 0:
                return await self._close(self._knobs.close_code)
            await asyncio.sleep(wait_ms / 1000)
        return await asyncio.Event().wait() and None

    def _keep_told(self) -> None:
        if self.record is not None:
            self.record.told_ms, self.record.complete = self.engine.told_ms, self.engine.drained

    async def _speak(self) -> None:
        try:
            while not self.engine.drained:
                await self._wake.wait()
                self._wake.clear()
                for result in self.engine.due(self._now_ms()):
                    await self._say(result)
                self._arm()
            if self._knobs.eos == "stay":
                await asyncio.Event().wait()
        except WebSocketDisconnect:
            return  # the listening side reads of it too

    async def _say(self, result: dict[str, Any]) -> None:
        for message in self._faults.messages(result):
            text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
            await self.ws.send_text(text)

    def _arm(self) -> None:
        """Wakes the speaker when the next result is due. Results keep their order: an armed timer stands."""
        due_ms = self.engine.next_due_ms
        if due_ms is not None and self._timer is None:
            self._timer = self._loop.call_at(due_ms / 1000, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now_ms(self) -> float:
        return self._loop.time() * 1000


def _is_finalize(text: str) -> bool:
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False  # text RTZR does not know is ignored
    return isinstance(message, dict) and message.get("type") == "Finalize"
