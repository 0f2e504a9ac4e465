"""One accepted WebSocket in front of its engine: the two tasks, the timer, and what the session costs.

What is heard and when it is due is decided in `engine`; who may dial is decided in `server`.
"""

import asyncio
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from bridge.emulator.engine import Engine
from bridge.emulator.knobs import Knobs
from bridge.emulator.query import StreamQuery

LEAST_BILLED_S = 10.0
"""RTZR rounds a shorter session up to this."""
SLICE_BYTES = 32_768
"""A longer message is heard in slices, with a turn for the other streams after each."""


class Stream:
    """One accepted WebSocket: it hears on one side and speaks on the other, until EOS or the client's end."""

    def __init__(self, ws: WebSocket, query: StreamQuery, knobs: Knobs) -> None:
        self._ws = ws
        self.engine = Engine(
            query,
            speed=knobs.engine_speed,
            recognition_ms=knobs.recognition_ms,
            partial_ms=knobs.partial_ms,
        )
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def billed_s(self) -> float:
        return max(LEAST_BILLED_S, self.engine.received_s)

    async def run(self) -> bool:
        """Serves the client. True: its EOS was read and every result sent; False: it went away before."""
        try:
            async with asyncio.TaskGroup() as tasks:
                sides = [tasks.create_task(self._listen()), tasks.create_task(self._speak())]
                await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
                for side in sides:
                    side.cancel()
        finally:
            self._disarm()
        return self.engine.drained

    async def _listen(self) -> None:
        """Reads until the client is gone, also after EOS: one that does not wait frees its channel."""
        while (message := await self._ws.receive())["type"] == "websocket.receive":
            payload, text = message.get("bytes"), message.get("text")
            if payload is not None:
                await self._hear(payload)
            elif text == "EOS":
                self.engine.eos(self._now_ms())
                self._wake.set()
            elif text is not None and _is_finalize(text):
                self.engine.finalize(self._now_ms())
                self._arm()

    async def _hear(self, payload: bytes) -> None:
        arrived_ms = self._now_ms()
        for start in range(0, len(payload), SLICE_BYTES):
            if start:
                await asyncio.sleep(0)
            self.engine.hear(payload[start : start + SLICE_BYTES], arrived_ms)
        self._arm()

    async def _speak(self) -> None:
        try:
            while not self.engine.drained:
                await self._wake.wait()
                self._wake.clear()
                for result in self.engine.due(self._now_ms()):
                    await self._ws.send_text(json.dumps(result, ensure_ascii=False))
                self._arm()
        except WebSocketDisconnect:
            return  # the listening side reads of it too

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
