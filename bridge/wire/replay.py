"""The tape of one leg: what the gate let through and no final covers yet, so a lost socket loses nothing.

Pure bookkeeping in two halves: what waits to be sent, and what was sent on the present session and may have
to go out again. Bounded; what falls off unsent is a loss, and is told as one. No socket, no clock: positions
are the session's own milliseconds (audio sent on it), times are call time.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bridge.types import Codec, GapReason
from bridge.wire.gate import Action, Audio, EndOfUtterance, Silence

TAIL_MS = 250.0
"""Voiced audio that ends so soon after a final is what the VAD hears of the voice's end, and not a word."""
_SEAM_MS = 1.0
_TRAIL_MS = 800.0
"""Sent again after a voice: enough for RTZR to find by itself that it has ended (`epd_time` 0.5 and more)."""
_PARTIAL_MS = 3000.0
"""So long after RTZR began to hear what is no voice to us, it has told so by a partial."""
_JOIN_MS = 0.01
_LONGEST_MS = 100
"""What is evicted, or begins a replay, is whole pieces: they stay short."""


@dataclass(slots=True)
class Piece:
    """One action of the gate on its way; what is asked of it for every message is worked out once."""

    action: Action
    at_ms: float
    """Call time of its start; an end of utterance has the voice's end."""
    length_ms: float
    voiced: bool = False
    arrived: bool = False
    """Whether it came from the PBX; silence to fill with was made here."""
    ends: bool = False
    """An end of utterance: no audio, and a message of its own."""
    sent_to_ms: float = 0.0
    """Where it ends in the session that it was last sent on."""
    again: bool = False
    """It was sent before, on a socket that was lost."""


@dataclass(slots=True)
class Loss:
    """Audio that no session will get: call time from its first to its last, and how much it is."""

    start_ms: float
    end_ms: float
    ms: float
    reason: GapReason
    sent_ms: float = 0.0
    """Of `ms`, what had been sent once, on a socket that was lost before a final came of it."""


@dataclass(slots=True)
class Tape:
    """`capacity_ms` bounds both halves together; `lead_ms` from before a voice is sent again with it."""

    codec: Codec
    capacity_ms: float
    lead_ms: float = 300.0
    waiting_ms: float = 0.0
    """Audio to be sent."""
    voiced_to_ms: float = 0.0
    """Session position at which the last voiced audio that was sent ends."""
    covered_ms: float = -TAIL_MS
    """How far this session's finals reach; before the first one, nowhere."""
    _sent_ms: float = 0.0
    _heard_from_ms: float | None = None
    """Where RTZR says that the utterance under way begins."""
    _waiting: deque[Piece] = field(default_factory=deque)
    _sent: deque[Piece] = field(default_factory=deque)
    _dropped: Loss | None = None
    """Voiced, sent on this session, too old to be kept: lost if the session is, before a final ..."""
    _dropped_to_ms: float = 0.0
    """... reaches so far."""
    _losses: list[Loss] = field(default_factory=list)
    _seam: bool = False
    """Something was sent since the last loss: the next one is another gap."""
    _bytes_per_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self._bytes_per_ms = self.codec.bytes_per_ms

    # What is to be sent.

    def append(self, actions: Iterable[Action], reason: GapReason = GapReason.RING) -> None:
        """Take what the gate decided; over capacity the oldest goes, unsent for `reason`."""
        for piece in self._pieces(actions):
            self._waiting.append(piece)
            self.waiting_ms += piece.length_ms
        while self.waiting_ms + self._sent_ms > self.capacity_ms:
            if self._sent:
                self._drop()
            else:
                self._lose(self._pop(), reason)

    def next(self, most_ms: float) -> Sequence[Piece]:
        """What goes out next in one message: audio of about `most_ms`, or one end of utterance."""
        pieces: list[Piece] = []
        ms = 0.0
        for piece in self._waiting:
            if piece.ends:
                return pieces or [piece]
            if pieces and ms + piece.length_ms > most_ms:
                break
            pieces.append(piece)
            ms += piece.length_ms
        return pieces

    def sent(self, pieces: Sequence[Piece], from_ms: float) -> None:
        """`pieces`, which `next` gave, went out at session position `from_ms`."""
        self._seam = True
        for piece in pieces:
            self._sent.append(self._pop())
            from_ms += piece.length_ms
            piece.sent_to_ms = from_ms
            self._sent_ms += piece.length_ms
            if piece.voiced:
                self.voiced_to_ms = from_ms
        if not self.unheard:
            self._forget(self.lead_ms + _PARTIAL_MS)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting

    # What RTZR tells.

    @property
    def unheard(self) -> bool:
        """Whether something was sent that no final covers: voiced audio, or what RTZR has a partial of."""
        return self._heard_from_ms is not None or self.voiced_to_ms > self.covered_ms + TAIL_MS

    def partial(self, start_ms: float) -> None:
        """RTZR hears something that begins at session position `start_ms`."""
        self._heard_from_ms = start_ms

    def cover(self, end_ms: float) -> None:
        """A final reaches session position `end_ms`: nothing before it will be needed again."""
        self._heard_from_ms = None
        if end_ms > 0:
            self.covered_ms = max(self.covered_ms, end_ms)
        while self._sent and self._sent[0].sent_to_ms <= self.covered_ms:
            self._sent_ms -= self._sent.popleft().length_ms
        self._trim_dropped()

    def _trim_dropped(self) -> None:
        lost, left_ms = self._dropped, self._dropped_to_ms - self.covered_ms
        if lost is None or left_ms <= 0:
            self._dropped = None
        elif left_ms < lost.ms:
            lost.start_ms, lost.ms, lost.sent_ms = lost.end_ms - left_ms, left_ms, left_ms

    @property
    def needed_from_ms(self) -> float | None:
        """Call time of the oldest audio that may still be needed; None when there is none."""
        if self._dropped is not None:
            return self._dropped.start_ms
        for half in (self._sent if self.unheard else (), self._waiting):
            for piece in half:
                return piece.at_ms
        return None

    # A session ends.

    def rewind(self) -> float:
        """The socket is gone: what it was sent and no final covers is to be sent again; its milliseconds.

        Only what is near a voice, or where RTZR said that it heard one: unvoiced audio is moved on over.
        """
        if self._dropped is not None:
            self._losses.append(self._dropped)
            self._dropped, self._seam = None, True
        near = self._near_voices()
        again = [piece for piece in self._sent if _within(piece, near)]
        self._sent.clear()
        self._sent_ms = self.voiced_to_ms = 0.0
        self.covered_ms, self._heard_from_ms = -TAIL_MS, None
        ms = sum(piece.length_ms for piece in again)
        for piece in again:
            piece.again = True
        self._waiting.extendleft(reversed(again))
        self.waiting_ms += ms
        return ms

    def _near_voices(self) -> list[tuple[float, float]]:
        """Session positions from `lead_ms` before each uncovered voice to `_TRAIL_MS` after it."""
        near = [(start - self.lead_ms, end + _TRAIL_MS) for start, end in self._voices()]
        if self._heard_from_ms is not None:
            near.append((self._heard_from_ms - self.lead_ms, math.inf))
        return near

    def _voices(self) -> Iterator[tuple[float, float]]:
        """Runs of voiced audio, in session positions, that no final covers."""
        start = end = -math.inf
        for piece in self._sent:
            if not piece.voiced:
                continue
            begin = piece.sent_to_ms - piece.length_ms
            if begin - end > _SEAM_MS:
                if start > -math.inf and not self._tail(start, end):
                    yield start, end
                start = begin
            end = piece.sent_to_ms
        open_end = bool(self._sent) and self._sent[-1].voiced  # it may be a word that has only begun
        if start > -math.inf and (open_end or not self._tail(start, end)):
            yield start, end

    def _tail(self, start_ms: float, end_ms: float) -> bool:
        """Whether a run of voice is only the end of what a final covers."""
        return start_ms <= self.covered_ms + _SEAM_MS and end_ms - self.covered_ms <= TAIL_MS

    # What is lost.

    def give_up(self, reason: GapReason) -> None:
        """Nothing that waits will be sent any more."""
        while self._waiting:
            self._lose(self._pop(), reason)

    def hush(self) -> tuple[float, float]:
        """A pause: nothing that waits will be sent, and that is no loss. How much audio that is, and how much
        of it had been sent once; in milliseconds."""
        gone = [self._pop() for _ in range(len(self._waiting))]
        self._seam = True
        arrived = [piece for piece in gone if piece.arrived]
        sent_ms = sum(piece.length_ms for piece in arrived if piece.again)
        return sum(piece.length_ms for piece in arrived), sent_ms

    def losses(self, *, all_of_them: bool = False) -> list[Loss]:
        """The losses to which nothing will be added, each once; with `all_of_them` the last one too."""
        if not self._losses or self._seam or all_of_them:
            done, self._losses = self._losses, []
        else:
            done, self._losses = self._losses[:-1], self._losses[-1:]
        return done

    @property
    def losing(self) -> Loss | None:
        """The loss that may still grow."""
        return self._losses[-1] if self._losses else None

    def _lose(self, piece: Piece, reason: GapReason) -> None:
        if not piece.arrived:
            return
        end_ms = piece.at_ms + piece.length_ms
        if self._seam or not self._losses or self._losses[-1].reason is not reason:
            self._losses.append(Loss(piece.at_ms, end_ms, 0.0, reason))
            self._seam = False
        loss = self._losses[-1]
        loss.start_ms, loss.end_ms = min(loss.start_ms, piece.at_ms), max(loss.end_ms, end_ms)
        loss.ms += piece.length_ms
        if piece.again:
            loss.sent_ms += piece.length_ms

    # Halves.

    def _drop(self) -> None:
        piece = self._sent.popleft()
        self._sent_ms -= piece.length_ms
        if not piece.voiced:
            return
        end_ms = piece.at_ms + piece.length_ms
        if self._dropped is None:
            self._dropped = Loss(piece.at_ms, end_ms, 0.0, GapReason.RING)
        self._dropped.end_ms, self._dropped_to_ms = end_ms, piece.sent_to_ms
        self._dropped.ms += piece.length_ms
        self._dropped.sent_ms += piece.length_ms

    def _pop(self) -> Piece:
        piece = self._waiting.popleft()
        self.waiting_ms -= piece.length_ms
        return piece

    def _forget(self, keep_ms: float) -> None:
        while self._sent and self._sent_ms - self._sent[0].length_ms >= keep_ms:
            self._sent_ms -= self._sent.popleft().length_ms

    def _pieces(self, actions: Iterable[Action]) -> list[Piece]:
        """A piece for each action, but audio without a seam in one: objects weigh more than packets."""
        pieces: list[Piece] = []
        payloads: list[bytes] = []
        end_ms = 0.0
        for action in actions:
            if not isinstance(action, Audio):
                _fill(pieces, payloads)
                payloads = []
                pieces.append(_made_here(action))
                continue
            length_ms = len(action.payload) / self._bytes_per_ms
            if payloads and _goes_on(pieces[-1], end_ms, action):
                pieces[-1].length_ms += length_ms
                payloads.append(action.payload)
            else:
                _fill(pieces, payloads)
                payloads = [action.payload]
                pieces.append(Piece(action, action.at_ms, length_ms, action.voiced, True))
                end_ms = action.at_ms
            end_ms += length_ms
        _fill(pieces, payloads)
        return pieces


def _made_here(action: Silence | EndOfUtterance) -> Piece:
    """The piece of what no packet brought."""
    if isinstance(action, Silence):
        return Piece(action, action.at_ms, action.length_ms)
    return Piece(action, action.voice_end_ms, 0.0, ends=True)


def _goes_on(piece: Piece, end_ms: float, audio: Audio) -> bool:
    """Whether `audio` belongs into the piece, which ends at `end_ms`."""
    return (
        piece.voiced is audio.voiced
        and abs(audio.at_ms - end_ms) < _JOIN_MS
        and piece.length_ms < _LONGEST_MS
    )


def _fill(pieces: Sequence[Piece], payloads: Sequence[bytes]) -> None:
    """The last piece gets all its audio, in one go."""
    if len(payloads) > 1:
        last = pieces[-1]
        last.action = Audio(b"".join(payloads), last.at_ms, last.voiced)


def _within(piece: Piece, near: Sequence[tuple[float, float]]) -> bool:
    begin = piece.sent_to_ms - piece.length_ms
    return any(begin <= end and piece.sent_to_ms > start for start, end in near)
