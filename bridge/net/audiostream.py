"""The media server of FreeSWITCH: mod_audio_stream and mod_audio_fork connect here, each stream for one leg.

A stream's address is `ws://host:port/<key>`, and the key its only pass: the headers of these modules are too
odd to ask anything of. What is read then is the affair of `bridge.net.mediainlet`; which leg is streamed, and
what becomes of a stream that is lost, of whoever commands FreeSWITCH. Sources: recordings of both modules, by
name (tests/captures/freeswitch).
"""

import re
from collections.abc import Callable, Sequence

import structlog
from websockets.datastructures import Headers

from bridge.net.mediainlet import Deliver, Inlet, Message
from bridge.net.mediaserver import MediaServer
from bridge.types import Codec, Frame
from bridge.wire.audiostream import AudioStream, numbers
from bridge.wire.bucket import Bucket

_log = structlog.get_logger()

CONNECTIONS_PER_S = 0.5
MOST_CONNECTIONS = 10
"""So many at once of one leg, and then so many a second. Two streams with one key would else drive each other
out without end: mod_audio_stream up to 1.0.2 is back 2 ms after a close, and gives up where it is refused."""
_LONGEST_AGENT = 100

Pair = Callable[[list[Frame]], bool]
"""Whom the other party's audio is for; False: nobody takes it."""


class AudioStreamInlet(Inlet[AudioStream]):
    """One leg's. Connections come and go: the key is good until the inlet is closed."""

    __slots__ = ("_connections", "_other", "_told", "agent")

    lasts = True

    def __init__(
        self,
        stream: AudioStream,
        clock: Callable[[], float],
        deliver: Deliver,
        other: Pair | None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(stream, clock, deliver, None, forget)
        self.agent = ""
        """What the last connection said it was: mod_audio_stream up to 1.0.2 tells, others do not."""
        self._other = other
        self._connections = Bucket(CONNECTIONS_PER_S, MOST_CONNECTIONS)
        self._told = False

    @property
    def mismatched(self) -> bool:
        """Whether audio came at another rate than was asked for."""
        return self.stream.mismatch is not None

    def tally(self) -> tuple[int, ...]:
        """All counters so far, in the order of `AUDIOSTREAM_FATES`."""
        counted: tuple[int, ...] = numbers(self.stream.counters)
        return counted

    def meet(self, headers: Headers) -> bool:
        agents = headers.get_all("User-Agent")
        self.agent = agents[0][:_LONGEST_AGENT] if agents else ""
        return self._connections.take(self.clock() / 1000)

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

    def expect(
        self,
        key: str,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        *,
        channels: int = 1,
        other: Pair | None = None,
    ) -> AudioStreamInlet:
        """The inlet of a leg whose stream is asked for as `/<key>`, a secret of 32 to 128 letters, digits and
        `_-`.

        `codec` is linear, `channels` 2 for a stereo stream. `clock` gives call time now in ms; `deliver` gets
        frames, oldest first, one list a wake-up, and must not wait; `other` gets the other party's of a
        stereo stream, which are counted as `unpaired` if nobody takes them. The key holds until the inlet is
        closed: one that has lost its connection waits for another, and a second connection replaces the
        first. Raises ValueError for a key or a codec that will not do.
        """
        stream = AudioStream(codec, channels)
        return self.await_with(key, lambda forget: AudioStreamInlet(stream, clock, deliver, other, forget))

    def key_of(self, path: str) -> str | None:
        return path.partition("?")[0].removeprefix("/")
