"""With `mix_legs`, which legs share a stream while RTZR has not one for each. Desks are told, nothing is
opened."""

from collections.abc import Callable, Iterable

import structlog

from bridge.desk import Desks
from bridge.live import Call, Live

_log = structlog.get_logger()


class Sharing:
    def __init__(self, desks: Desks, mix_when: Callable[[int], bool] | None) -> None:
        """`mix_when`: whether, of so many answered legs, the last is to share its call's other stream."""
        self._desks = desks
        self._mix_when = mix_when

    def mix(self, live: Live, call: Call, all_legs: Iterable[Live]) -> None:
        """A leg for which there is no session goes into the stream of its call's other one.

        Decided once a desk, at the answer: what was said before two streams became one has no place in it.
        """
        others = [one for one in all_legs if one is not live and one.answered_ms is not None]
        streams = 1 + sum(not other.mixed for other in others)
        if self._mix_when is None or not self._mix_when(streams) or live.mixes or live.mixed:
            return
        for host in others:
            if (
                host.leg.call == call.id
                and host.desk
                and _can_host(host)
                and host.new.codec == live.new.codec
            ):
                host.mixes = live.mixed = True
                self._desks.mix(host.leg, live.leg)
                _log.warning("legs mixed", leg=str(live.leg), into=str(host.leg))
                return


def _can_host(host: Live) -> bool:
    return not (host.mixes or host.mixed or host.cause)
