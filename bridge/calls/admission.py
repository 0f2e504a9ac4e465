"""Which new calls are let in: what is over capacity is refused whole, at its first leg, and told.

A call that was refused stays so, for half a call is of no use; but one that was live before us is half a call
anyhow, and is asked for again. The processes' own judgement is `wire.door`'s.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from bridge import events
from bridge.leg.desk import Desks
from bridge.types import CallId, Event, Transport
from bridge.wire.door import Refusal
from bridge.wire.promises import Promises
from bridge.wire.rtpbudget import RtpBudget, RtpRange

_log = structlog.get_logger()

_LEGS = 2
"""Of a call, for all that is known when its first leg begins."""
_REMEMBERED = 10_000
_TELL_S = 10.0
"""The log has one line in so many seconds: under overload it would be the next thing to break."""


class Admission:
    """Asked once for each new call."""

    def __init__(
        self,
        desks: Desks,
        max_legs: int,
        publish: Callable[[Event], None],
        *,
        rtp: RtpBudget | None = None,
        channels: Callable[[], int] = int,
        taps: Callable[[], int] = int,
        slow: Callable[[], float] = float,
    ) -> None:
        """`max_legs`: 0 for as many as the machine bears; `channels`: those of the PBX that carry audio;
        `taps`: those of ours that have RTP ports of the PBX, too; `slow`: how long the PBX takes for a
        request, where that is too long."""
        self._rtp = rtp
        self._given = rtp is not None
        self._channels = channels
        self._taps = taps
        self._slow = slow
        self._desks = desks
        self.max_legs = max_legs
        self._publish = publish
        self._promises = Promises()
        self._refused: dict[CallId, None] = {}
        self._untold = 0
        self._told_s = -_TELL_S
        self.refused = Counter[str]()
        """Calls, by the reason."""

    def learn_ports(self, rtp_range: RtpRange) -> None:
        """What the PBX tells of itself; what the YAML says goes before."""
        if self._given:
            return
        budget = RtpBudget.of(*rtp_range)
        if budget != self._rtp:
            _log.info("rtp ports of the pbx known", first=rtp_range[0], last=rtp_range[1], pairs=budget.pairs)
        self._rtp = budget

    def admits(
        self,
        call: CallId,
        at_ms: float,
        legs: int,
        transport: Transport = Transport.RTP,
        *,
        again: bool = False,
    ) -> bool:
        """Whether this call, now `at_ms` old, is let in where there are `legs` already.

        `transport`: by which it would be heard; `again`: it may have been refused before. It is told once.
        """
        if call in self._refused and not again:
            return False
        refusal = (
            self._full(legs)
            or (self._no_port() if transport is Transport.RTP else None)
            or self._busy()
            or self._desks.admit(call, _LEGS)
        )
        if refusal is not None:
            self._refuse(call, at_ms, refusal)
            return False
        self._refused.pop(call, None)
        self._promises.make(call, _LEGS, _now_s())
        return True

    def began(self, call: CallId) -> None:
        """A leg of a call that was let in: it is one of `legs` from now on."""
        self._promises.take(call)

    def over(self, call: CallId) -> None:
        """A call that was let in has no legs any more."""
        self._promises.drop(call)
        self._desks.over(call)

    def _refuse(self, call: CallId, at_ms: float, refusal: Refusal) -> None:
        if call in self._refused:
            return
        self._refused[call] = None
        if len(self._refused) > _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self.refused[refusal.reason] += 1
        self._publish(events.call_refused(call, at_ms, refusal.reason))
        self._tell(refusal)

    def _full(self, legs: int) -> Refusal | None:
        legs += self._promises.places(_now_s())
        if not self.max_legs or legs + _LEGS <= self.max_legs:
            return None
        return Refusal("max_legs", f"{legs} legs begun or to come, and overload.max_legs is {self.max_legs}")

    def _no_port(self) -> Refusal | None:
        """The PBX's last ports are for its calls."""
        if self._rtp is None:
            return None
        taps, channels = self._taps() + self._promises.places(_now_s()), self._channels()
        if self._rtp.room(channels, taps) >= _LEGS:
            return None
        text = f"of the PBX's {self._rtp.pairs} pairs of RTP ports, calls have {channels} and taps {taps}"
        return Refusal("rtp ports", f"{text}; widen rtpstart to rtpend in rtp.conf, and asterisk.rtp_range")

    def _busy(self) -> Refusal | None:
        """A PBX that has enough to do is left alone."""
        slow_s = self._slow()
        if not slow_s:
            return None
        return Refusal(
            "pbx slow", f"the PBX takes {slow_s:.1f} s for a request; no taps until it is quick again"
        )

    def _tell(self, refusal: Refusal) -> None:
        self._untold += 1
        now_s = _now_s()
        if now_s - self._told_s < _TELL_S:
            return
        _log.warning("calls refused", calls=self._untold, reason=refusal.text)
        self._untold, self._told_s = 0, now_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()
