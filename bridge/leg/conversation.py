"""One RTZR session of one leg: what the tape holds goes out at a bounded pace, what RTZR says comes in.

It ends for one of the reasons of `Ending`; what follows then is the leg's decision. Nothing here opens a
session, reads the PBX's audio or waits for a clock: the leg calls `step` at every turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import structlog

from bridge.types import Codec, Transcript
from bridge.wire.gate import Audio, GateSettings
from bridge.wire.hearing import Hearing
from bridge.wire.ledger import Ledger
from bridge.wire.pace import Pace
from bridge.wire.replay import Piece, Tape
from bridge.wire.rtzr import Result
from bridge.wire.timemap import TimeMap

_log = structlog.get_logger()

_BURST_MS = 500.0
"""What may go out at once: a connection's delay, a late tick."""
_MESSAGE_MS = 200.0
"""The longest message while catching up."""
_KEEPALIVE_MS = 100.0
_GRACE_MS = 1000.0
"""Once finals cover all voiced audio: how long RTZR may still say something of what we took for noise."""
_NOISE_MS = 3000.0
"""With less voiced audio than this unanswered, RTZR may well have nothing to say."""


class Session(Protocol):
    """What a leg needs of a socket to RTZR. The senders never wait, and return False once it is lost."""

    def send(self, audio: bytes) -> bool: ...
    def finalize(self) -> bool: ...
    def end(self) -> bool: ...
    def results(self) -> AsyncIterator[Result]: ...
    async def close(self) -> None: ...
    def abort(self) -> None: ...

    @property
    def unsent(self) -> bool:
        """Whether some of what it was given still waits on this host."""
        ...

    @property
    def clean(self) -> bool:
        """Whether RTZR closed it as the protocol says: it has nothing more to tell."""
        ...


class Ending(Enum):
    """How a session came to its end."""

    DONE = auto()
    """The stream has ended, and RTZR has said its last word."""
    LATE = auto()
    """The stream has ended, and the last word was not awaited any longer."""
    LOST = auto()
    MUTE = auto()
    """It took speech for a long time and said nothing."""
    ROTATED = auto()
    """It was old enough to be replaced, between two utterances."""
    EVICTED = auto()
    """Another leg is to have its channel."""
    PAUSED = auto()
    """Nothing more is to be heard, for now."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Milliseconds, and times real time; 0 switches `keepalive_ms`, `watchdog_ms` and `rotate_ms` off."""

    catch_up: float = 2.0
    drain_ms: float = 5000.0
    keepalive_ms: float = 10_000.0
    watchdog_ms: float = 15_000.0
    rotate_ms: float = 3_600_000.0


@dataclass(frozen=True, slots=True)
class LegSettings:
    gate: GateSettings
    session: SessionSettings = field(default_factory=SessionSettings)
    message_ms: int = 40
    ring_ms: float = 60_000.0
    """Audio kept until a final covers it."""
    outage_ms: float = 60_000.0
    """After hang-up: how long RTZR is tried for while there is something to be sent."""
    priority: int = 0
    options: Mapping[str, str] | None = None
    """Of the streaming query, where they differ from what the opener has."""


class Conversation:
    """A session in use. Its times are the loop's, its results come in call time."""

    __slots__ = (
        "_answered_ms", "_bytes_per_ms", "_codec", "_deadline_ms", "_hearing", "_leaving", "_ledger",
        "_loop", "_map", "_opened_ms", "_pace", "_paused", "_sent_ms", "_session", "_settings", "_tape",
        "_told", "_unanswered_ms", "results", "utterances",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        codec: Codec,
        tape: Tape,
        hearing: Hearing,
        ledger: Ledger,
        settings: SessionSettings,
        told: Callable[[Transcript], None],
    ) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._codec = codec
        self._bytes_per_ms = codec.bytes_per_ms
        self._tape = tape
        self._hearing = hearing
        self._ledger = ledger
        self._settings = settings
        self._told = told
        self._map = TimeMap()
        self._pace = Pace(settings.catch_up, _BURST_MS)
        self._leaving: Ending | None = None
        self._paused = False
        self._opened_ms = self._sent_ms = self._answered_ms = self._now_ms()
        self._deadline_ms = 0.0
        self._unanswered_ms = 0.0
        self.results = 0
        self.utterances = 0

    @property
    def age_ms(self) -> float:
        return self._now_ms() - self._opened_ms

    @property
    def catching_up(self) -> bool:
        """Whether audio goes out faster than it was said."""
        return self._map.sent_ms > self.age_ms + _BURST_MS

    def _now_ms(self) -> float:
        return self._loop.time() * 1000

    def pause(self) -> None:
        """Nothing more goes out on this session; what RTZR says of what it has is still awaited. Of an RTZR
        that does not read nothing is: what waits for it here would go out in the pause."""
        self._paused = True
        if self._session.unsent:
            self._session.abort()

    # One turn.

    def step(self, listening: asyncio.Task[None], *, over: bool, evicted: bool) -> Ending | None:
        """Send what may be sent; how the session ended, if it has. `over`: nothing more will be appended."""
        if listening.done():
            return self._closed()
        if self._leaving is not None:
            return self._awaited(self._leaving)
        now_ms = self._now_ms()
        if not (evicted or self._paused) and not self._speak(now_ms):
            return Ending.LOST
        if self._mute(now_ms):
            return Ending.MUTE
        ending = self._due(now_ms, over, evicted)
        return None if ending is None else self._leave(ending)

    def _speak(self, now_ms: float) -> bool:
        """Send as much of the tape as the pace allows; False once the socket is lost."""
        self._pace.refill(now_ms)
        while self._pace.ms > 0 and (pieces := self._tape.next(_MESSAGE_MS)):
            self._sent_ms = now_ms
            if not self._put(pieces, now_ms):
                return False
        patience_ms = self._settings.keepalive_ms
        if patience_ms and now_ms - self._sent_ms >= patience_ms:
            self._sent_ms = now_ms
            return self._keep_alive()
        return True

    def _put(self, pieces: Sequence[Piece], now_ms: float) -> bool:
        from_ms, heard = self._map.sent_ms, self._tape.unheard
        if pieces[0].ends:
            if not self._session.finalize():
                return False
        else:
            payloads = [self._payload(piece) for piece in pieces]
            for piece in pieces:
                self._map.append(piece.at_ms, piece.length_ms, again=piece.again)
            if not self._session.send(b"".join(payloads)):
                return False
            for piece, payload in zip(pieces, payloads, strict=True):
                self._account(piece, len(payload) / self._bytes_per_ms)
        self._tape.sent(pieces, from_ms)
        if not heard and self._tape.unheard:
            self._answered_ms = now_ms
        return True

    def _payload(self, piece: Piece) -> bytes:
        action = piece.action
        return action.payload if isinstance(action, Audio) else self._codec.silence(piece.length_ms)

    def _account(self, piece: Piece, ms: float) -> None:
        self._pace.ms -= ms
        self._ledger.sent += ms
        if piece.again:
            self._ledger.replayed += ms
        elif piece.arrived:
            self._ledger.sent_first += ms
        else:
            self._ledger.filled += ms
        if piece.voiced:
            self._unanswered_ms += ms

    def _keep_alive(self) -> bool:
        """RTZR may take a session without audio for a dead one; a ping is not known to count."""
        silence = self._codec.silence(_KEEPALIVE_MS)
        self._map.pad(_KEEPALIVE_MS)
        if not self._session.send(silence):
            return False
        self._ledger.sent += _KEEPALIVE_MS
        self._ledger.keepalive += _KEEPALIVE_MS
        return True

    # Its end.

    def _mute(self, now_ms: float) -> bool:
        patience_ms = self._settings.watchdog_ms
        if not patience_ms or not self._tape.unheard or self._unanswered_ms < _NOISE_MS:
            return False
        return now_ms - self._answered_ms >= patience_ms

    def _due(self, now_ms: float, over: bool, evicted: bool) -> Ending | None:
        """Why this session is to be left now, if it is."""
        if self._paused:
            return Ending.PAUSED
        if evicted:
            return Ending.EVICTED
        if over and self._tape.idle:
            return Ending.DONE
        old = 0 < self._settings.rotate_ms <= now_ms - self._opened_ms
        return Ending.ROTATED if old and not self._tape.unheard else None

    def _leave(self, ending: Ending) -> Ending | None:
        """Say that nothing follows; the last finals are awaited from now on."""
        self._leaving = ending
        self._deadline_ms = self._now_ms() + self._settings.drain_ms
        return None if self._session.end() else Ending.LOST

    def _awaited(self, ending: Ending) -> Ending | None:
        """Whether the wait for the last finals is over: by the boundary, not by the number of finals."""
        now_ms = self._now_ms()
        if not self._tape.unheard:
            self._deadline_ms = min(self._deadline_ms, now_ms + _GRACE_MS)
        if now_ms < self._deadline_ms:
            return None
        return self._after_all(ending, Ending.LATE)

    def _closed(self) -> Ending:
        ending = self._leaving
        if ending is None:
            return Ending.LOST
        return ending if self._session.clean else self._after_all(ending, Ending.LOST)

    def _after_all(self, ending: Ending, otherwise: Ending) -> Ending:
        if not self._tape.unheard or ending is Ending.PAUSED:
            return ending
        return otherwise if ending is Ending.DONE else Ending.LOST

    async def close(self, ending: Ending) -> None:
        """Let go of the socket; politely, where RTZR may still be there."""
        if ending in (Ending.LOST, Ending.MUTE):
            self._session.abort()
        await self._session.close()

    def abort(self) -> None:
        self._session.abort()

    def settle(self) -> None:
        """The session is over: what RTZR bills for it."""
        self._ledger.bill(self._map.sent_ms)

    # Hearing.

    async def listen(self) -> None:
        """Turn results into transcripts, until the socket closes. Its task is the leg's."""
        seen = -1
        async for result in self._session.results():
            if result.seq != seen:
                seen = result.seq
                self.utterances += 1
                if seen > 0:  # once a session is enough to see it
                    tell = _log.info if self.utterances == 2 else _log.debug
                    tell("socket reused", ms=round(self.age_ms), utterance=seen + 1)
            self._hear(result)

    def _hear(self, result: Result) -> None:
        self.results += 1
        self._answered_ms, self._unanswered_ms = self._now_ms(), 0.0
        if result.final:
            self._tape.cover(min(result.reach_ms, self._map.sent_ms))
        elif result.text:
            self._tape.partial(result.start_ms)
        transcript = self._hearing.transcript(result, self._map)
        if transcript is None:
            return
        if transcript.final:
            self._ledger.covered += transcript.end_ms - transcript.start_ms
        self._told(transcript)
