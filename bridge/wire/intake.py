"""AudioSocket's messages become a leg's frames, in call time; and what waits while the leg is not there yet.

Pure. Gives every message of audio exactly one fate. What a message is, is `audiosocket`'s concern; and whose,
`net/audiosocket`'s.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import attrgetter, itemgetter

from bridge.types import Codec, Frame
from bridge.wire.arrival import Arrival
from bridge.wire.audiosocket import Audio, Digit, Message

CODECS = (Codec.SLIN, Codec.SLIN16)
"""What may be asked for: Asterisk labels anything else as 8 kHz linear, and sends it as it is."""
KEPT_BYTES = 2 * 32_000
KEPT_MESSAGES = 200
"""What is kept for a leg that is not there yet: 2 s of 16 kHz. Beyond that the oldest goes."""


@dataclass(slots=True)
class IntakeCounters:
    """What became of a leg's messages of audio: received = accepted + malformed + empty."""

    received: int = 0
    accepted: int = 0
    """Became a frame."""
    malformed: int = 0
    """Of another rate than was asked for."""
    empty: int = 0

    digits: int = 0
    """Keys pressed. From here on: not fates of audio."""
    lost: int = 0
    """Times the PBX ended the connection, or got out of step on it."""


FATES = tuple(field.name for field in fields(IntakeCounters))
numbers = attrgetter(*FATES)
"""The counters as a tuple, in the order of `FATES`."""


class Intake:
    """What is behind one leg's connections. Times are call time in milliseconds."""

    __slots__ = ("_arrival", "_bytes_per_ms", "_codec", "counters")

    def __init__(self, codec: Codec) -> None:
        """Raises ValueError if `codec` is none of CODECS."""
        if codec not in CODECS:
            raise ValueError(f"AudioSocket carries {' or '.join(c.label for c in CODECS)}, not {codec.label}")
        self.counters = IntakeCounters()
        self._codec = codec
        self._bytes_per_ms = codec.bytes_per_ms
        self._arrival = Arrival()

    def push(self, messages: Sequence[Message], now_ms: float) -> list[Frame]:
        """The frames of messages that arrived together, spoken to the end just then."""
        good = [found for found in messages if isinstance(found, Audio) and self._wanted(found)]
        if len(good) < len(messages):
            self.counters.digits += sum(isinstance(found, Digit) for found in messages)
        end_ms = now_ms - sum([len(found.payload) for found in good]) / self._bytes_per_ms
        frames = []
        for found in good:
            length_ms = len(found.payload) / self._bytes_per_ms
            end_ms += length_ms
            frames.append(Frame(found.payload, self._arrival.place(length_ms, end_ms)))
        return frames

    def _wanted(self, audio: Audio) -> bool:
        counters = self.counters
        counters.received += 1
        if not audio.payload:
            counters.empty += 1
        elif audio.is_of(self._codec):
            counters.accepted += 1
            return True
        else:
            counters.malformed += 1
        return False


class Kept:
    """The last audio of a connection whose leg is not there yet."""

    __slots__ = ("_lots", "_size", "overrun")

    def __init__(self) -> None:
        self._lots: deque[tuple[float, Audio]] = deque()
        self._size = 0
        self.overrun = 0
        """Messages of audio that had to go."""

    def push(self, messages: Sequence[Message], arrived_s: float) -> None:
        for message in messages:
            if isinstance(message, Audio):
                self._lots.append((arrived_s, message))
                self._size += len(message.payload)
        while self._size > KEPT_BYTES or len(self._lots) > KEPT_MESSAGES:
            self._size -= len(self._lots.popleft()[1].payload)
            self.overrun += 1

    def lots(self) -> list[tuple[float, list[Audio]]]:
        """What arrived together, and when, oldest first."""
        return [(at_s, [audio for _, audio in lot]) for at_s, lot in groupby(self._lots, itemgetter(0))]
