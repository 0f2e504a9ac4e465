"""An emulated FreeSWITCH in a thread of its own, beside a daemon that is a process: what no recording has."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.freeswitch.call import Call
from bridge.emulator.freeswitch.channel import Channel
from bridge.emulator.freeswitch.knobs import SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch

T = TypeVar("T")

LEAD_S = 0.4
"""From the bridge on, until somebody speaks: his stream is there by then."""


class SwitchThread:
    """Its methods may be called by a test that blocks."""

    def __init__(self, knobs: SwitchKnobs | None = None) -> None:
        self.switch = Switch(knobs or SwitchKnobs())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="switch")

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.switch.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.do(self.switch.__aexit__(kind, error, trace))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    @property
    def port(self) -> int:
        return self.switch.port

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the switch's thread, to its end."""
        return self.begin(work).result(60)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin it in the switch's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, caller: str = "1001", called: str = "2000", **options: Any) -> Call:
        """A call that rings, is answered, and goes on."""
        return self.do(self.begun(caller, called, **options))

    def say(self, *said: tuple[Channel, int]) -> None:
        """One after the other, each its sentence of the code book; when all is said, a moment more."""
        self.do(self.said(*said))

    def say_at_once(self, *said: tuple[Channel, int]) -> None:
        """All at the same time."""
        self.do(self._said_at_once(said))

    # In the switch's thread.

    async def begun(self, caller: str, called: str, **options: Any) -> Call:
        call = self.switch.call(caller, called, **options)
        await call.ring()
        await asyncio.sleep(0.1)
        await call.answer()
        return call

    async def _said_at_once(self, said: tuple[tuple[Channel, int], ...]) -> None:
        await asyncio.gather(*(self.said(one) for one in said))

    async def said(self, *said: tuple[Channel, int]) -> None:
        loop = asyncio.get_running_loop()
        at_s = loop.time() + LEAD_S
        for party, number in said:
            self.switch.say(party, say(SENTENCES[number]), at_s)
            at_s += spoken_ms(SENTENCES[number]) / 1000 + 0.7
        await asyncio.sleep(at_s - loop.time())

    def streamed(self, party: Channel) -> bool:
        """Whether its voice is on the way."""
        return any(stream.frames_sent for stream in party.streams.values())

    async def cut(self) -> None:
        """The event socket's connections, all of them."""
        self.switch.close_esl()

    async def drop(self) -> None:
        """The streams' connections, all of them."""
        self.switch.drop_streams()

    async def meet(self, one: Channel, other: Channel) -> None:
        """`uuid_bridge` of two who talk to others."""
        self.switch.join(one, other)
