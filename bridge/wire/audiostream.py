"""FreeSWITCH's mod_audio_stream and mod_audio_fork as values: one connection's messages become frames.

Pure, but for what an `AudioStream` remembers of its leg. Both modules send signed 16-bit samples, in the
host's order, which is little-endian on all we know, with no header, number or time, and nothing that says
their rate or how many channels they have. The WebSockets are in `bridge.net.audiostream`. Sources: recordings
of both modules, named in the text (tests/captures/freeswitch).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from bridge.types import Codec, Frame
from bridge.wire import g711
from bridge.wire.arrival import GAP_MS, Arrival
from bridge.wire.bucket import Bucket

Buffer = bytes | bytearray | memoryview

WIDTH = 2
"""Bytes a sample."""
FRAME_MS = 20
"""The longest frame that is made, however long a message is."""
LONGEST_MS = 5000
"""A message that holds more audio is malformed: mod_audio_fork keeps so much at most
(MOD_AUDIO_FORK_BUFFER_SECS) until it is connected, and sends it as one (fork-jambonz-09)."""
LONGEST = LONGEST_MS * 2 * Codec.SLIN24.bytes_per_ms
"""Bytes of the longest message that is none: stereo at 24 kHz."""

TEXTS_PER_S = 50.0
MOST_TEXTS = 500
"""So many at once, and then so many a second: what the operator's own `send_text` may be; more is a flood."""

_SETTLE_MS = 500.0
"""What piled up while a connection was slow, or a network stood, comes in a burst and then no more."""
_WINDOW_MS = 2000.0
_TOLERANCE = 0.25
_LIKENESS = 0.15
"""Both halves of a window have to agree: a burst or a stutter is in one of them, a wrong rate in both."""


@dataclass(slots=True)
class StreamCounters:
    """What became of one leg's messages: received = accepted + malformed + finished."""

    received: int = 0
    """Binary messages."""
    accepted: int = 0
    """Became audio; a sample that a message cuts in two becomes audio with the next."""
    malformed: int = 0
    """Longer than any of either module."""
    finished: int = 0
    """Empty: mod_audio_fork's graceful-shutdown, after which the server has to close."""

    texts: int = 0
    """Text messages; none of them tells us anything. From here on: not fates of audio."""
    flooded: int = 0
    """Of them, those that were too many: their connection was dropped."""
    halved: int = 0
    """Connections that ended within a sample."""
    unpaired: int = 0
    """Frames of the other party, of a stereo stream of which only the leg's own is wanted."""
    mismatched: int = 0
    """Connections whose audio came at another rate than was asked for."""
    undelivered: int = 0
    """Frames that whoever they were for refused."""
    replaced: int = 0
    """Connections that another one of the same leg took the place of; what they still bring is not read."""
    broken: int = 0
    """Connections that ended for a breach of the WebSocket protocol, such as a message too big."""


AUDIOSTREAM_FATES: tuple[str, ...] = tuple(item.name for item in fields(StreamCounters))
numbers = attrgetter(*AUDIOSTREAM_FATES)
"""The counters as a tuple, in the order of `AUDIOSTREAM_FATES`."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Bytes a second that should come, and that do."""

    expected: int
    measured: int


class Pace:
    """Whether one connection's bytes come at the rate that was asked for: judged once, over the first two
    seconds in which audio came evenly. `now_ms` never goes back."""

    __slots__ = ("_bytes_per_ms", "_from_ms", "_half", "_last_ms", "_ready_ms", "_size", "judged")

    def __init__(self, bytes_per_ms: float) -> None:
        self._bytes_per_ms = bytes_per_ms
        self.judged = False
        self._last_ms = -math.inf
        self._ready_ms = 0.0
        """When what had piled up has come."""
        self._from_ms: float | None = None
        """Since when bytes are counted."""
        self._size = 0
        self._half: tuple[float, int] | None = None
        """After how many ms the first half of the window was over, and how many bytes it had."""

    def take(self, size: int, now_ms: float) -> Mismatch | None:
        """`size` bytes have arrived; what is wrong with the rate, if that is found now."""
        silent_ms, self._last_ms = now_ms - self._last_ms - size / self._bytes_per_ms, now_ms
        if silent_ms >= GAP_MS:  # the first, or after a hold, or after the network stood still
            self._from_ms, self._ready_ms = None, now_ms + _SETTLE_MS
        elif self._from_ms is not None:
            return self._count(size, now_ms - self._from_ms)
        elif now_ms >= self._ready_ms:  # its bytes are of the time before
            self._from_ms, self._size, self._half = now_ms, 0, None
        return None

    def _count(self, size: int, took_ms: float) -> Mismatch | None:
        self._size += size
        if self._half is None:
            if took_ms >= _WINDOW_MS / 2:
                self._half = took_ms, self._size
            return None
        if took_ms - self._half[0] < _WINDOW_MS / 2:
            return None
        return self._judge(took_ms, *self._half)

    def _judge(self, took_ms: float, half_ms: float, half: int) -> Mismatch | None:
        first, second = half / half_ms, (self._size - half) / (took_ms - half_ms)
        measured = self._size / took_ms
        self._from_ms = None
        if abs(measured / self._bytes_per_ms - 1) <= _TOLERANCE:
            self.judged = True
        elif abs(first - second) <= _LIKENESS * max(first, second):
            self.judged = True
            return Mismatch(round(1000 * self._bytes_per_ms), round(1000 * measured))
        return None


Heard = tuple[list[Frame], list[Frame]]
"""Frames of the leg's own party, and of the other one where the stream is stereo."""


class AudioStream:
    """One leg's messages become its frames, in call time: milliseconds; `now_ms` never goes back."""

    __slots__ = (
        "_arrival", "_bytes_per_ms", "_carried", "_frame", "_pace", "_sample", "_stereo", "_texts",
        "counters", "mismatch", "over",
    )  # fmt: skip

    def __init__(self, codec: Codec, channels: int = 1) -> None:
        """`codec` is linear; of two channels the first is the party of the leg that the stream was started
        on, the second is what FreeSWITCH says to it (mas-04). Raises ValueError for anything else."""
        if codec.width != WIDTH or channels not in (1, 2):
            raise ValueError(f"mod_audio_stream sends linear samples, mono or stereo, not {codec.label}")
        self.counters = StreamCounters()
        self.over = False
        """This connection is to be closed: mod_audio_fork has said its last."""
        self.mismatch: Mismatch | None = None
        """At which rate audio came, if at another than was asked for."""
        self._stereo = channels == 2
        self._sample = WIDTH * channels
        self._bytes_per_ms = codec.bytes_per_ms * channels
        self._frame = FRAME_MS * codec.bytes_per_ms
        """Bytes of the longest frame."""
        self._carried = b""
        """The beginning of a sample."""
        self._arrival = Arrival()
        self._pace = Pace(self._bytes_per_ms)
        self._texts = Bucket(TEXTS_PER_S, MOST_TEXTS)

    def restart(self) -> None:
        """A connection has ended, and another may follow. Frames still do not overlap."""
        self.over = False
        self.counters.halved += bool(self._carried)
        self._carried = b""
        self._pace = Pace(self._bytes_per_ms)

    def text(self, now_ms: float) -> bool:
        """Counts a text message: metadata, which may come after audio (mas-11), or any other. False if there
        are so many that the connection is to be dropped."""
        self.counters.texts += 1
        if self._texts.take(now_ms / 1000):
            return True
        self.counters.flooded += 1
        return False

    def audio(self, messages: Sequence[Buffer], now_ms: float) -> Heard:
        """The frames of binary messages that arrived together at `now_ms`, oldest first."""
        pcm = self._whole(messages)
        if not pcm:
            return [], []
        if not self._pace.judged:
            self._measure(len(pcm), now_ms)
        if not self._stereo:
            return self._cut(pcm, self._starts(len(pcm), now_ms)), []
        own, other = g711.split(pcm)
        starts = self._starts(len(own), now_ms)
        return self._cut(own, starts), self._cut(other, starts)

    def _starts(self, size: int, now_ms: float) -> list[float]:
        """When the frames of `size` bytes of one channel began."""
        most = self._frame
        if size <= most:  # as FreeSWITCH sends it
            return [self._arrival.place(size * FRAME_MS / most, now_ms)]
        lengths_ms = [min(most, size - at) * FRAME_MS / most for at in range(0, size, most)]
        spoken_ms = now_ms - size * FRAME_MS / most
        starts = []
        for length_ms in lengths_ms:
            spoken_ms += length_ms
            starts.append(self._arrival.place(length_ms, spoken_ms))
        return starts

    def _whole(self, messages: Sequence[Buffer]) -> bytes:
        """The samples that are complete by now."""
        if len(messages) == 1 and not self._carried:
            size = len(messages[0])
            if 0 < size <= LONGEST and not size % self._sample:  # as nearly all are
                self.counters.received += 1
                self.counters.accepted += 1
                return bytes(messages[0])
        self.counters.received += len(messages)
        good = [message for message in messages if 0 < len(message) <= LONGEST]
        self.counters.accepted += len(good)
        if len(good) < len(messages):
            self._refuse(messages)
        pcm = b"".join((self._carried, *good))
        whole = len(pcm) - len(pcm) % self._sample
        self._carried = pcm[whole:]
        return pcm[:whole]

    def _refuse(self, messages: Sequence[Buffer]) -> None:
        for message in messages:
            if not message:
                self.counters.finished += 1
                self.over = True
            elif len(message) > LONGEST:
                self.counters.malformed += 1

    def _measure(self, size: int, now_ms: float) -> None:
        if (mismatch := self._pace.take(size, now_ms)) is not None:
            self.mismatch = mismatch
            self.counters.mismatched += 1

    def _cut(self, pcm: bytes, starts: Sequence[float]) -> list[Frame]:
        """One channel's audio in frames that begin at `starts`."""
        if len(starts) == 1:
            return [Frame(pcm, starts[0])]
        most = self._frame
        return [Frame(pcm[n * most : (n + 1) * most], at_ms) for n, at_ms in enumerate(starts)]
