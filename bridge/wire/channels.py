"""How many channels RTZR has for us, as its refusals teach it, and when it may be worth another try.

Policy only: time and chance are arguments. RTZR counts concurrent streams per organisation and does not say
how many we may have, nor which code it gives for one too many, nor how soon a closed stream is free again.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bridge.wire.backoff import full_jitter

_SPENT_REFUSALS = 3


class OnFull(StrEnum):
    WAIT = "wait"
    LOWEST_PRIORITY_OUT = "lowest_priority_out"
    MIX_LEGS = "mix_legs"
    """For the quota the same as `wait`: what a leg does while it waits is its own affair."""


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """What the YAML's `quota` section says, and the pace, which only tests change."""

    max_sessions: int = 0
    """RTZR streams at once; 0: no limit known."""
    reserve: int = 0
    """Of them (or of the learnt limit), kept free for legs of priority above 0; one at least is for all."""
    on_full: OnFull = OnFull.WAIT
    alarm: float = 0.8
    """Share of `max_sessions` in use that is worth an alarm."""
    probe_s: float = 600.0
    """How often to try while the quota is spent."""
    knock_s: float = 1.0
    """First bound of the backoff while channels are full: 1, 2, 4, 8, ... seconds, full jitter."""
    knock_most_s: float = 30.0
    pause_s: float = 0.1
    """Between the release of a session of ours and the next try; doubled whenever that was too soon."""
    pause_most_s: float = 5.0
    at_once_s: float = 1.0
    """A session closed so soon after the handshake was refused that way."""
    proof_s: float = 2.0
    """A session beyond the learnt limit shows, so long after, that there is room for more."""
    forget_s: float = 60.0
    """The learnt limit is forgotten so long after the last refusal. More than `knock_most_s`."""
    spent_within_s: float = 60.0
    settle_s: float = 5.0
    """So long after a release a refusal may be the fault of the session that was released."""
    rate: float = 10.0
    """Dials a second while they fail, after `burst`: no retry storm, and yet every leg of a site that lost
    RTZR is back within seconds, for the first success lifts the bound. RTZR sells 20 streams as its basic
    plan, so a burst of 50 is all that most sites ever have."""
    burst: int = 50


@dataclass(frozen=True, slots=True)
class Dial:
    """What has to be known of a dial to learn from its outcome."""

    round: int
    early: bool
    """Whether we had released a session shortly before."""


class Channels:
    """What is known of RTZR's channels. `held` is always the number of sessions that we hold ourselves."""

    def __init__(self, settings: QuotaSettings) -> None:
        self._settings = settings
        self.limit: int | None = None
        """Sessions we held when RTZR last refused one more; None while it does not."""
        self.spent = False
        self.knock_s = -math.inf
        """When a dial in the face of refusals may be tried."""
        self._round = 0
        self._attempt = 0
        self._refused_s = self._released_s = -math.inf
        self._proof_s: float | None = None
        self._growth = 1
        self._pause_s = settings.pause_s
        self._freed: deque[float] = deque()
        """When each channel that we released lately may be tried."""
        self._strikes: deque[float] = deque(maxlen=_SPENT_REFUSALS)
        self._guess: tuple[float, int] | None = None
        """When a socket was last closed at once, and how many sessions we held."""

    @property
    def unripe(self) -> int:
        """Channels that we released and that RTZR may not have free yet."""
        return len(self._freed)

    def dial(self, now_s: float) -> Dial:
        return Dial(self._round, now_s < self._released_s + self._settings.settle_s)

    def opened(self, dial: Dial, held: int, now_s: float) -> None:
        self.spent = False
        self._strikes.clear()
        if dial.early:
            self._pause_s = max(self._settings.pause_s, self._pause_s / 2)
        if self.limit is not None and held > self.limit:
            self.limit = held
            self.knock_s = self._proof_s = now_s + self._settings.proof_s

    def refused(self, dial: Dial, code: str, held: int, alone: bool, now_s: float, random01: float) -> None:
        """A 429. `alone`: no other dial was under way."""
        self._strike(code, not held and alone, now_s)
        self._full(dial, held, now_s, random01)

    def closed_at_once(self, dial: Dial, held: int, now_s: float, random01: float) -> None:
        """A good handshake, and then no session, while we hold others."""
        self._full(dial, held, now_s, random01)
        self._guess = now_s, held

    def ended(self, held: int, now_s: float) -> None:
        """A session of ours ended, of itself or not."""
        if self._guess is None:
            return
        guessed_s, held_then = self._guess
        if now_s < guessed_s + self._settings.proof_s and held < held_then / 2:
            self._forget()  # the others went too: it was not full, it was cut

    def released(self, now_s: float) -> None:
        """A session of ours was closed by us, so a channel is about to be free."""
        self._released_s = now_s
        if self.limit is not None:
            self._freed.append(now_s + self._pause_s)
            self._attempt = 0

    def ease(self, now_s: float) -> None:
        """What time alone changes."""
        while self._freed and self._freed[0] <= now_s:
            self._freed.popleft()
        if self.limit is None or self.spent:
            return
        if self._proof_s is not None and now_s >= self._proof_s:
            self.limit += self._growth
            self._proof_s, self._growth, self._attempt = None, self._growth * 2, 0
        if now_s >= self._refused_s + self._settings.forget_s:
            self._forget()

    def moments(self) -> Iterator[float]:
        """When `ease` has something to do."""
        if self.limit is None or self.spent:
            return
        yield self._refused_s + self._settings.forget_s
        if self._freed:
            yield self._freed[0]
        if self._proof_s is not None:
            yield self._proof_s

    def _forget(self) -> None:
        self.limit = self._proof_s = self._guess = None
        self._growth, self._attempt, self.knock_s = 1, 0, -math.inf
        self._freed.clear()

    def _full(self, dial: Dial, held: int, now_s: float, random01: float) -> None:
        """RTZR would not have one more. Of many dials sent together, the first refusal sets the pace."""
        settings = self._settings
        self.limit, self._refused_s = held, now_s
        self._proof_s, self._growth, self._guess = None, 1, None
        if dial.round == self._round:
            self._round += 1
            if dial.early:
                self._pause_s = min(settings.pause_most_s, self._pause_s * 2)
            if not self.spent:
                wait_s = full_jitter(self._attempt, settings.knock_s, settings.knock_most_s, random01)
                self.knock_s, self._attempt = now_s + wait_s, self._attempt + 1
        if self._freed and not self.spent:
            # A channel that we gave back was not tried yet: it is above the new limit, so knock for it.
            self.knock_s = min(self.knock_s, self._freed[-1])
        self._freed.clear()

    def _strike(self, code: str, alone: bool, now_s: float) -> None:
        """Tell a spent quota from full channels: `A0001` again and again while nothing of ours is open."""
        if code != "A0001":
            self.spent = False
            return
        if alone and now_s >= self._released_s + self._settings.settle_s:
            self._strikes.append(now_s)
            within_s = now_s - self._settings.spent_within_s
            self.spent |= len(self._strikes) == _SPENT_REFUSALS and self._strikes[0] >= within_s
        if self.spent:
            self.knock_s = now_s + self._settings.probe_s
