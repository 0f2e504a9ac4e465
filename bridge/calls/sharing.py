"""Which legs of a call share a stream: with `mix_legs` one to RTZR, while there is not one for each; and with
taps in stereo the one that comes from the PBX. Desks are told, nothing is opened."""

from collections.abc import Callable, Iterable, Sequence

import structlog

from bridge.calls.live import Call, Live
from bridge.leg.desk import Desks
from bridge.types import LegId

_log = structlog.get_logger()


class Sharing:
    def __init__(self, desks: Desks, mix_when: Callable[[int], bool] | None, *, stereo: bool = False) -> None:
        """`mix_when`: whether, of so many answered legs, the last is to share its call's other stream.
        `stereo`: whether a tap brings two voices."""
        self._desks = desks
        self._mix_when = mix_when
        self._stereo = stereo

    def share(self, live: Live, call: Call, all_legs: Iterable[Live]) -> None:
        """Decided once a desk, at the answer."""
        legs = tuple(all_legs)
        if self._stereo:
            self._pair(live, legs)
        self.mix(live, call, legs)

    def _pair(self, live: Live, legs: Sequence[Live]) -> None:
        """The other party of a call comes on the second channel of the first one's tap."""
        if live.carried or live.carries is not None:
            return
        staying = [leg.leg for leg in legs if leg.cause is None]
        for host in legs:
            if host is not live and host.leg.call == live.leg.call and _can_carry(host, staying):
                host.carries, live.carried = live.leg, True
                self._desks.pair(host.leg, live.leg)
                return

    def over(self, ended: Live, all_legs: Iterable[Live]) -> None:
        """A leg has ended: whom its tap brought needs one of its own."""
        for other in all_legs:
            if other.carries == ended.leg:
                other.carries = None
            if ended.carries == other.leg:
                other.carried = False
                if other.tap is not None and other.cause is None:
                    other.tap.begin()

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


def _can_carry(host: Live, staying: Sequence[LegId]) -> bool:
    """Whom it carried and who has hung up is only worked off yet."""
    answered = host.desk is not None and host.answered_ms is not None
    return answered and host.carries not in staying and not (host.carried or host.cause)


def _can_host(host: Live) -> bool:
    return not (host.mixes or host.mixed or host.cause)
