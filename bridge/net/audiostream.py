"""The media server of FreeSWITCH: mod_audio_stream and mod_audio_fork connect here, each stream for one leg.

A stream's address is `ws://host:port/<key>`, and the key its only pass: the headers of these modules are too
odd to ask anything of. What is read then is the affair of `bridge.net.mediainlet`; which leg is streamed, and
what becomes of a stream that is lost, of whoever commands FreeSWITCH. Sources: recordings of both modules, by
name (tests/captures/freeswitch).
"""

import asyncio
import re
from collections.abc import Callable, Sequence

import structlog
from websockets.datastructures import Headers
from websockets.frames import CloseCode

from bridge.net.mediainlet import Connection, Deliver, Inlet, Message
from bridge.net.mediaserver import MediaServer
from bridge.types import Codec, Frame
from bridge.wire.audiostream import AudioStream, numbers
from bridge.wire.bucket import Bucket

_log = structlog.get_logger()

CONNECTIONS_PER_S = 0.5
MOST_CONNECTIONS = 10
"""So many at once of one leg, and then so many a second. Two streams with one key would else drive each other
out without end: mod_audio_stream up to 1.0.2 is back 2 ms after a close, and gives up where it is refused."""
ENDED_S = 0.5
"""After a close in order: the call's own end may come behind it, and says why; or the stream comes again."""
AGAIN_S = 0.3
"""After any other end: the generation that connects again by itself has done so within 2 ms."""
SILENT_S = 2.0
"""A stream without audio that was up for so long has said that something is wrong."""
_SILENT_MEND = "is the party on hold? else STREAM_BUFFER_SIZE is no multiple of the codec's packet time"
_LONGEST_AGENT = 100

Pair = Callable[[list[Frame]], bool]
"""Takes the other party's frames; whether there is one."""
Over = Callable[[bool], None]
"""Is told that no stream comes any more, and whether the last one was closed in order."""


class AudioStreamInlet(Inlet[AudioStream]):
    """One leg's. Connections come and go: the key is good until the inlet is closed."""

    __slots__ = (
        "_closing", "_connected_s", "_connections", "_cut", "_loop", "_other", "_over", "_since_s", "_timer",
        "_told", "agent", "arrived",
    )  # fmt: skip

    lasts = True

    def __init__(
        self,
        stream: AudioStream,
        clock: Callable[[], float],
        deliver: Deliver,
        other: Pair | None,
        over: Over | None = None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(stream, clock, deliver, None, forget)
        self.arrived = asyncio.Event()
        """A connection has been there."""
        self._over = over
        self.agent = ""
        """What the last connection said it was: mod_audio_stream up to 1.0.2 tells, others do not."""
        self._other = other
        self._connections = Bucket(CONNECTIONS_PER_S, MOST_CONNECTIONS)
        self._told = False
        self._cut = False
        """Whether the last connection ended otherwise than in order, and not by us."""
        self._since_s: float | None = None
        """When the connection that is there came about."""
        self._closing = False
        self._connected_s = 0.0
        """For how long there was one before."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        """For audio, while a connection is there, or for another connection."""

    @property
    def flaw(self) -> str:
        """What is missing from what came, if anything is."""
        if self.stream.mismatch is not None:
            return "rate mismatch"
        if self._connected_s >= SILENT_S and not self.stream.counters.accepted:
            return "no audio"
        return "stream lost" if self._cut else ""

    def tally(self) -> tuple[int, ...]:
        """All counters so far, in the order of `AUDIOSTREAM_FATES`."""
        counted: tuple[int, ...] = numbers(self.stream.counters)
        return counted

    def meet(self, headers: Headers) -> bool:
        agents = headers.get_all("User-Agent")
        self.agent = agents[0][:_LONGEST_AGENT] if agents else ""
        return self._connections.take(self.clock() / 1000)

    def attach(self, connection: Connection) -> None:
        super().attach(connection)
        self.arrived.set()
        self._cut = False
        self._since_s = self._loop.time()
        self._in(2 * SILENT_S, self._tell_silent)

    def lost(self, close_code: int | None, broken: bool) -> None:
        super().lost(close_code, broken)
        if self._since_s is not None:
            self._connected_s += self._loop.time() - self._since_s
            self._since_s = None
        in_order = close_code == CloseCode.NORMAL_CLOSURE  # hung up, or stopped: no more is told
        self._cut = not (in_order or self._closing)
        self._in(ENDED_S if in_order else AGAIN_S, lambda: self._end(in_order))

    async def close(self) -> None:
        self._closing = True
        await super().close()
        if self._timer is not None:
            self._timer.cancel()

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, what)

    def _end(self, in_order: bool) -> None:
        if self._over is not None:
            self._over(in_order)

    def _tell_silent(self) -> None:
        if not self.stream.counters.received:
            _log.warning("stream is connected, and no audio comes", after_s=2 * SILENT_S, mend=_SILENT_MEND)

    def hear(self, messages: Sequence[Message], now_ms: float) -> None:
        stream = self.stream
        own, other = stream.audio(messages, now_ms)
        if own:
            self.hand_on(own, self._deliver)
        if other:
            self.hand_on(other, self._pair)
        if stream.mismatch is not None and not self._told:
            self._tell()
        if stream.over and self._connection is not None:
            self._connection.shut()

    def told(self, text: str) -> bool:  # noqa: ARG002 - whatever it says
        return self.stream.text(self.clock())

    def _pair(self, frames: list[Frame]) -> None:
        if self._other is None or not self._other(frames):
            self.stream.counters.unpaired += len(frames)

    def _tell(self) -> None:
        if (mismatch := self.stream.mismatch) is not None:
            self._told = True
            _log.warning(
                "audio at another rate than was asked for",
                expected=mismatch.expected,
                measured=mismatch.measured,
                unit="bytes a second",
                mend="the stream was started as stereo or at another rate",
            )


class AudioStreamServer(MediaServer[AudioStreamInlet]):
    """Where FreeSWITCH connects its streams.

    The subprotocol that mod_audio_fork offers is not chosen, which it bears (fork-*-02). Nor is compression,
    which any of them may offer: what is not accepted is not in use (RFC 7692 section 7).
    """

    max_size = 1 << 19
    key = re.compile(r"[A-Za-z0-9_-]{32,128}")
    key_is = "32 to 128 letters, digits and _-"
    patience_s = 2.0
    """mod_audio_stream gives up after 1 s (mas-12)."""

    def expect(
        self,
        key: str,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        *,
        channels: int = 1,
        other: Pair | None = None,
        over: Over | None = None,
    ) -> AudioStreamInlet:
        """The inlet of a leg whose stream is asked for as `/<key>`, a secret of 32 to 128 letters, digits and
        `_-`.

        `codec` is linear, `channels` 2 for a stereo stream. `clock` gives call time now in ms; `deliver` gets
        frames, oldest first, one list a wake-up, and must not wait; `other` gets the other party's of a
        stereo stream, which are counted as `unpaired` if nobody takes them. The key holds until the inlet is
        closed: one that has lost its connection waits for another, and a second connection replaces the
        first. `over` is called whenever a stream has ended and no other has come. Raises
        ValueError for a key or a codec that will not do.
        """
        stream = AudioStream(codec, channels)
        return self.await_with(
            key, lambda forget: AudioStreamInlet(stream, clock, deliver, other, over, forget)
        )

    def key_of(self, path: str) -> str | None:
        return path.partition("?")[0].removeprefix("/")
