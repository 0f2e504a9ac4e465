"""What waits for one endpoint goes to it: in order for each call, calls independent of each other.

An event is done once the endpoint has it, so what dies in between is sent again. What fails rests while
other calls go on; when it is tried again is `bridge.wire.retry`'s, how it is sent the sender's. What rests,
and why, is kept in memory only: a restart tries everything at once.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import structlog

from bridge.delivery.endpointlog import EndpointLog
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Rejected, Sender, Stored, Unreachable
from bridge.wire.retry import Circuit, RetrySettings, State, rest_s

_log = structlog.get_logger()

_SIDE_BY_SIDE = 8
"""Sends under way at once, each of other calls."""
_AHEAD = 128
"""Events read at once for an endpoint that takes them singly."""
_LONGEST_SEND_S = 120.0
"""A sender has its own time-outs; this is for one that forgets them."""
_LOOK_S = 5.0
"""So often the outbox is asked unbidden: it may have been unreadable for a while."""
_MOST_RESTING = 10_000
_MOST_FORGIVEN = 2
_MOST_REASONS = 3
"""That are told at once."""


@dataclass(frozen=True, slots=True)
class Resting:
    """Calls whose next event failed for the same reason."""

    reason: str
    """For a person, without any secret."""
    calls: int
    call: str
    """The one of them that is tried next."""
    retry_in_s: float
    """Until then."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How it goes with an endpoint."""

    state: Literal["delivering", "waiting", "gone"]
    """waiting: it failed, and is left alone for a while; gone: it wants nothing any more."""
    error: str
    """How the last send failed; "" once one did not."""
    retry_in_s: float
    """waiting: until the next try."""
    sending: int
    """Sends under way."""
    resting: int
    """Calls whose next event failed, and that wait for the next try of it."""
    rests: tuple[Resting, ...]
    """They, by the most frequent reasons."""


@dataclass(slots=True)
class DeliveryCounters:
    """Everything since the start of the process."""

    sent: int = 0
    """Events that the endpoint has."""
    failed: int = 0
    """Sends that failed, each to be tried again."""
    given_up: int = 0
    """Events that the endpoint refused for their own sake, time and again."""


@dataclass(slots=True)
class _Rest:
    """A call whose next event failed."""

    reason: str = ""
    """Of the last failure."""
    failures: int = 0
    poisoned: int = 0
    """Refusals of this very event."""
    sent_before: int = 0
    """What the endpoint had taken when it refused this event first."""
    until_s: float = 0.0
    forgiven: int = 0
    """How often it was tried at once, for the endpoint was away and is there again."""
    alone: bool = False
    """It failed together with others: who of them is to blame shows only when each comes alone."""


class Delivery:
    """One endpoint's deliveries; `run` it once."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        settings: RetrySettings | None = None,
        *,
        side_by_side: int = _SIDE_BY_SIDE,
        clock: Callable[[], float] | None = None,
        random01: Callable[[], float] = random.random,
    ) -> None:
        """`clock`: seconds that never go back; the loop's if none is given."""
        self._outbox = outbox
        self._sender = sender
        self._settings = settings or RetrySettings()
        self._side_by_side = side_by_side
        self._clock = clock or asyncio.get_running_loop().time
        self._random01 = random01
        self._circuit = Circuit(self._settings)
        self._gone = False
        self._error = ""
        self._looked_s = float("-inf")
        self._words = EndpointLog(sender.name, self._clock)
        self._drops = 0
        self._rests: dict[str, _Rest] = {}
        self._ready: deque[Sequence[Stored]] = deque()
        """Read and not begun: each of one call, in order."""
        self._taken: set[str] = set()
        """Calls that are in `_ready` or under way."""
        self._sending = 0
        self._wake = outbox.news(sender.name)
        self.counters = DeliveryCounters()
        self._settled = asyncio.Event()

    @property
    def name(self) -> str:
        """The endpoint's."""
        return self._sender.name

    @property
    def status(self) -> DeliveryStatus:
        now_s = self._clock()
        wait_s = max(0.0, self._circuit.until_s - now_s)
        closed = self._circuit.state(now_s) is State.CLOSED
        state: Literal["delivering", "waiting", "gone"] = "delivering" if closed else "waiting"
        if self._gone:
            state, wait_s = "gone", 0.0
        rests = self._resting_by_reason(now_s + wait_s, now_s)
        return DeliveryStatus(state, self._error, wait_s, self._sending, len(self._rests), rests)

    def _resting_by_reason(self, soonest_s: float, now_s: float) -> tuple[Resting, ...]:
        """`soonest_s`: before which nothing is tried at all."""
        reasons: dict[str, list[tuple[float, str]]] = {}
        for call, rest in self._rests.items():
            reasons.setdefault(rest.reason, []).append((max(rest.until_s, soonest_s), call))
        told = sorted(reasons.items(), key=lambda one: -len(one[1]))[:_MOST_REASONS]
        return tuple(
            Resting(reason, len(tries), call, at_s - now_s)
            for reason, tries in told
            for at_s, call in [min(tries)]
        )

    def retry(self) -> None:
        """Try everything now, as a person wants it, though the endpoint be gone."""
        self._gone = False
        self._circuit.reset()
        for rest in self._rests.values():
            rest.until_s = 0.0
        self._wake.set()

    async def drop(self) -> int:
        """Give up all that waits; what is under way at this moment still goes out. How many."""
        self._drops += 1
        self._forget_ready()
        self._rests.clear()
        self._wake.set()
        return await self._outbox.drop(self.name)

    async def settle(self) -> None:
        """Wait until nothing is under way, and nothing is left that can be sent now."""
        self._settled.clear()
        self._wake.set()
        await self._settled.wait()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as sends:
            while True:
                self._wake.clear()
                self._words.look()
                await self._begin(sends)
                if not self._sending and not self._wake.is_set():
                    self._settled.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_s()):
                        await self._wake.wait()

    def _wait_s(self) -> float:
        """Until there may be something to begin that there was not at the last look."""
        due = [rest.until_s for rest in self._rests.values() if rest.until_s > self._looked_s]
        if self._circuit.until_s > self._looked_s:
            due = [self._circuit.until_s]
        return max(0.0, min([self._looked_s + _LOOK_S, *due]) - self._clock())

    async def _begin(self, sends: asyncio.TaskGroup) -> None:
        """Begin as many sends as may be."""
        self._looked_s = self._clock()
        while not self._gone and self._sending < self._side_by_side:
            self._looked_s = self._clock()
            state = self._circuit.state(self._looked_s)
            if state is State.OPEN or (state is State.HALF_OPEN and self._sending):
                return
            drops = self._drops
            load = await self._next(probe=state is State.HALF_OPEN)
            if not load:
                return
            self._settled.clear()
            self._sending += 1
            self._taken.update(one.call for one in load)
            sends.create_task(self._deliver(load, drops))

    async def _next(self, *, probe: bool) -> Sequence[Stored]:
        """What is to be sent next: one batch, or some of one call that go one by one."""
        if probe:
            return await self._probe()
        if self._ready:
            return self._ready.popleft()
        most = max(self._sender.batch, 1)
        not_now, looked_s, drops = self._not_now(), self._looked_s, self._drops
        rows = await self._outbox.waiting(self.name, most if most > 1 else _AHEAD, not_now)
        if drops != self._drops:
            return ()  # they were read before a person dropped them
        if not rows:
            self._forget_rests(not_now, looked_s)
        return self._batch(rows) if most > 1 else self._split(rows)

    def _not_now(self) -> frozenset[str]:
        resting = (call for call, rest in self._rests.items() if rest.until_s > self._looked_s)
        return frozenset(resting) | self._taken

    def _forget_rests(self, not_now: frozenset[str], looked_s: float) -> None:
        """Of calls that might go on and have nothing left: what failed was too old in the end, or dropped."""
        over = [call for call, rest in self._rests.items() if rest.until_s <= looked_s]
        for call in set(over) - not_now:
            del self._rests[call]

    async def _probe(self) -> Sequence[Stored]:
        """One event, of a call that did not fail: one at which a receiver dies must not stand for all."""
        self._forget_ready()
        return await self._outbox.waiting(self.name, 1, self._not_now()) or await self._outbox.waiting(
            self.name, 1, frozenset(self._taken)
        )

    def _batch(self, rows: Sequence[Stored]) -> Sequence[Stored]:
        alone = {call for call, rest in self._rests.items() if rest.alone}
        if rows and rows[0].call in alone:
            return rows[:1]
        return [one for one in rows if one.call not in alone]

    def _split(self, rows: Sequence[Stored]) -> Sequence[Stored]:
        calls: dict[str, list[Stored]] = {}
        for one in rows:
            calls.setdefault(one.call, []).append(one)
        self._taken.update(calls)
        self._ready.extend(calls.values())
        return self._ready.popleft() if self._ready else ()

    def _forget_ready(self) -> None:
        self._taken.difference_update(rows[0].call for rows in self._ready)
        self._ready.clear()

    async def _deliver(self, load: Sequence[Stored], drops: int) -> None:
        """Send it, as one batch or one by one, until something fails. `drops`: as it was before the read."""
        step = max(self._sender.batch, 1)
        try:
            for first in range(0, len(load), step):
                # What another send was answered meanwhile holds for this one too.
                allowed = (State.CLOSED,) if first else (State.CLOSED, State.HALF_OPEN)
                if self._gone or drops != self._drops or self._circuit.state(self._clock()) not in allowed:
                    break
                if not await self._send(load[first : first + step]):
                    break
        finally:
            self._sending -= 1
            self._taken.difference_update(one.call for one in load)
            self._wake.set()

    async def _send(self, events: Sequence[Stored]) -> bool:
        """Whether the endpoint has them now, or shall never have them."""
        try:
            async with asyncio.timeout(_LONGEST_SEND_S):
                await self._sender.send(events)
        except Rejected as error:
            return await self._refused(events, error)
        except (Unreachable, TimeoutError) as error:
            self._failed(events, str(error) or "no answer")
            return False
        except Exception as error:
            _log.exception("sender failed", endpoint=self.name)
            self._failed(events, f"{type(error).__name__} in the sender")
            return False
        self.counters.sent += len(events)
        self._worked(events)
        await self._outbox.done(self.name, [one.seq for one in events])
        return True

    def _worked(self, events: Sequence[Stored]) -> None:
        self._answered()
        for one in events:
            self._rests.pop(one.call, None)
        if self._rests:
            self._words.look()
        else:
            self._words.worked()
        self._note("")

    def _answered(self) -> None:
        """The endpoint is there, whatever it thinks of one event."""
        if not self._circuit.worked(self._clock()):
            return
        for rest in self._rests.values():
            # But not for ever: one event may be why the endpoint asks to be left alone, each time.
            if not rest.poisoned and rest.forgiven < _MOST_FORGIVEN:
                rest.forgiven, rest.failures, rest.until_s = rest.forgiven + 1, 0, 0.0

    async def _refused(self, events: Sequence[Stored], error: Rejected) -> bool:
        """As `_send`."""
        if error.gone:
            self._gone = True
            self._forget_ready()
        elif error.poison and len(events) == 1:
            return await self._poisoned(events[0], str(error))
        self._failed(events, str(error), error.retry_after_s, counts=not error.poison)
        return False

    async def _poisoned(self, event: Stored, reason: str) -> bool:
        self._answered()
        rest = self._resting(event.call)
        if not rest.poisoned:
            rest.sent_before = self.counters.sent
        rest.poisoned += 1
        # One that takes nothing at all, perhaps for want of the right key, says nothing of this event.
        if rest.poisoned < self._settings.tries or self.counters.sent == rest.sent_before:
            self._failed([event], reason, counts=False)
            return False
        self._rests.pop(event.call, None)
        self.counters.given_up += 1
        _log.error(
            "event given up",
            endpoint=self.name,
            call=event.call,
            event_id=event.id,
            type=event.type,
            reason=reason,
        )
        await self._outbox.drop(self.name, [event.seq])
        return True

    def _failed(
        self, events: Sequence[Stored], reason: str, asked_s: float | None = None, *, counts: bool = True
    ) -> None:
        """`counts`: it is for want of the endpoint."""
        now_s = self._clock()
        self.counters.failed += 1
        for call in {one.call for one in events}:
            rest = self._resting(call)
            rest.failures += 1
            rest.reason = reason
            rest.until_s = now_s + rest_s(rest.failures, self._settings, self._random01())
            rest.alone = rest.alone or not counts or rest.failures > 1 or rest.forgiven > 0
        if counts:
            self._circuit.failed(now_s, self._random01(), asked_s)
        self._words.failed(reason, gone=self._gone)
        self._note(reason)

    def _resting(self, call: str) -> _Rest:
        if call not in self._rests and len(self._rests) >= _MOST_RESTING:
            del self._rests[next(iter(self._rests))]
        return self._rests.setdefault(call, _Rest())

    def _note(self, error: str) -> None:
        if error != self._error:
            self._error = error
            self._outbox.note(self.name, error)
