"""One started stream of a replay: the recorded connections made to the URL that we were given.

Times are those of the recording; `Clock` tells when they are due here. What the recorded server did to the
connection (close it, break it off) the replay does from FreeSWITCH's side, for the real server would not.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.freeswitch.clock import Clock
from tests.freeswitch.media import MediaConnection, UpgradeRefused, connect
from tests.freeswitch.recording import Headers, Script, Sent
from tests.freeswitch.voices import Voice

STALLED_S = 0.5
"""Where the recorded audio came so long after the start, it waited for the other party, as it will here."""
LINGER_S = 2.0
"""How long a server has to close after the frame of no bytes."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, and how long it may last."""

    url: str
    mix: str
    rate: int
    ends: float
    """When the leg is hung up, and with it the stream."""
    again: bool
    """Whether this leg had a stream before."""


@dataclass(frozen=True, slots=True)
class Tell:
    """What a stream has its module say."""

    event: Callable[[Headers], None]
    """A recorded event."""
    lost: Callable[[MediaConnection], None]
    """The server has closed."""
    refused: Callable[[str], None]
    """The server took no connection, though the recorded one did."""


@dataclass(slots=True, eq=False)
class Stream:
    """Plays a script once."""

    script: Script
    order: Order
    voice: Voice
    clock: Clock
    rng: random.Random
    tell: Tell
    connections: list[MediaConnection] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of each audio frame that was sent."""
    times: list[tuple[float, float]] = field(default_factory=list)
    """(ms of audio before it, Unix time) of each."""
    latest: float = 0.0
    """By how many seconds a frame was sent after its time at most: what follows it comes in a lump."""
    _spoken_ms: float = 0.0
    refused: str = ""
    lost: bool = False
    """The server has closed, and was not to."""
    stopped: bool = False
    stop_text: str = ""
    _shift: float = 0.0
    _from: float = 0.0
    _next: float = 0.0
    _alarm: asyncio.Future[None] | None = None
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def slow(self) -> bool:
        """Whether the recorded server took its time to answer."""
        connects = [step.at for step in self.script.sent if step.op == "connect"]
        return bool(connects) and connects[0] - self.script.at > STALLED_S

    def said_at(self, ms: float) -> float:
        """The Unix time at which that place of the audio was spoken."""
        before, at = max(one for one in self.times if one[0] <= ms)
        return at + (ms - before) / 1000

    def stop(self, text: str) -> None:
        """End it with a Close, after a last text."""
        self.stop_text = text
        self.stopped = True
        self._wake()

    async def play(self) -> None:
        """From the start to the end of the last connection."""
        await self.clock.running()
        frames = self.script.frames
        stalled = bool(frames) and frames[0].at - self.script.at > STALLED_S and not self.slow
        if stalled and not self.order.again:
            self._from = self.clock.now()
        else:
            self._shift = self.clock.now() - self.script.at
        try:
            await self._steps()
        except (UpgradeRefused, OSError, TimeoutError) as error:
            self.refused = repr(error)
            self.tell.refused(self.refused)
        finally:
            await self._end()

    async def _end(self) -> None:
        for connection in self.connections:
            connection.drop()
        for reader in self._readers:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _steps(self) -> None:
        script = self.script
        steps: list[tuple[float, Sent | Headers]] = [(step.at, step) for step in script.sent]
        if script.with_call:
            del steps[-1]  # the end of the call is what counts, not when it was recorded
        steps += script.events
        for at, step in sorted(steps, key=lambda step: step[0]):
            if at + self._shift >= self.order.ends or self.stopped:
                break
            if isinstance(step, Sent) and step.op in ("binary", "ping", "pong") and at < self._from:
                continue
            await self._wait(max(at + self._shift, self._from))
            if self._server_closed() or self.stopped:
                break
            await self._do(step)
        await self._last()

    async def _do(self, step: Sent | Headers) -> None:
        if not isinstance(step, Sent):
            self.tell.event(step)
            return
        match step.op:
            case "connect":
                connection = await connect(self.order.url, self.script.requests[step.conn], self.rng)
                self.connections.append(connection)
                self._readers.append(asyncio.create_task(connection.read(self._wake)))
            case "binary":
                self._speak(step.at + self._shift, self.script.frame_ms(step.size), fill=step.fill)
                self._next = step.at + self._shift + self.script.cadence_s
            case "close":
                await self._connection.close(step.payload)
            case "gone":
                self._connection.drop()
            case "reset":
                self._connection.reset()
            case op:
                self._connection.send(op, step.payload)

    async def _wait(self, at: float) -> None:
        """Until then; not so long if it is stopped, or the server closes."""
        if self.stopped or (self.connections and self._connection.by_server):
            return
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(self.clock.delay(at), self._wake)
        try:
            await self._alarm
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    @property
    def _connection(self) -> MediaConnection:
        return self.connections[-1]

    @property
    def _open(self) -> bool:
        return bool(self.connections) and not (self._connection.closing or self._connection.closed.is_set())

    def _server_closed(self) -> bool:
        """Whether the server was the first to close, which is for the module to tell."""
        if not self.connections or not self._connection.closed.is_set() or not self._connection.by_server:
            return False
        if not self.lost:
            self.lost = True
            self.tell.lost(self._connection)
        return True

    def _speak(self, at: float, ms: float, *, fill: bool = False) -> None:
        audio = self.voice.next(ms, fill=fill)
        self.sizes.append(len(audio))
        late = self.clock.now() - at
        self.times.append((self._spoken_ms, time.time() - ms / 1000))  # its audio is over when it is sent
        self.latest = max(self.latest, late / self.clock.speed)
        self._spoken_ms += ms
        self._connection.send("binary", audio)

    async def _last(self) -> None:
        """The recorded frames are sent, and the call goes on: so does the audio. Then the end."""
        if self._server_closed() or not self._open:
            return
        if self.script.graceful:
            await self._wait(self.order.ends + LINGER_S)
            self._server_closed()
            return
        frames = self.script.frames
        while frames and self._next < self.order.ends and not self.stopped:
            await self._wait(self._next)
            if self._server_closed():
                return
            self._speak(self._next, self.script.frame_ms(frames[-1].size))
            self._next += self.script.cadence_s
        await self._wait(self.order.ends)
        await self._close()

    async def _close(self) -> None:
        closes = [step for step in self.script.sent if step.op in ("close", "gone", "reset")]
        if closes and closes[-1].op == "gone" and not self.stopped:
            self._connection.drop()
            return
        if self.stop_text:
            self._connection.send("text", self.stop_text.encode())
        payload = closes[-1].payload if closes else b""
        await self._connection.close(payload or (1000).to_bytes(2, "big"))
