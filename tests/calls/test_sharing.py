"""bridge/calls/sharing.py: whose audio goes out in whose stream."""

from typing import cast

import pytest
from structlog.testing import capture_logs

from bridge.calls.live import Call, Live
from bridge.calls.sharing import Sharing
from bridge.calls.tap import Tap
from bridge.leg.desk import Desk, Desks
from bridge.types import Codec, LegId, NewLeg, Party, Role, Transport


class _Desks:
    def __init__(self) -> None:
        self.mixed: list[tuple[str, str]] = []
        self.paired: list[tuple[str, str]] = []

    def pair(self, host: LegId, guest: LegId) -> None:
        self.paired.append((host.channel, guest.channel))

    def mix(self, host: LegId, guest: LegId) -> None:
        self.mixed.append((host.channel, guest.channel))


def leg(name: str, call: str = "C", *, codec: Codec = Codec.ULAW, answered: bool = True) -> Live:
    new = NewLeg(LegId(call, name), Party(Role.CALLER, "", "", ""), 0.0, codec=codec)
    return Live(new, Transport.RTP, desk=cast("Desk", object()), answered_ms=0.0 if answered else None)


def shared(*legs: Live, most: int | None = 1) -> list[tuple[str, str]]:
    """Who is mixed into whom, when the last of them is answered."""
    desks = _Desks()
    sharing = Sharing(cast("Desks", desks), None if most is None else lambda streams: streams > most)
    with capture_logs():
        sharing.mix(legs[-1], Call("C", 0.0), legs)
    return desks.mixed


def test_the_leg_without_a_session_goes_into_its_calls_other_stream() -> None:
    host, guest = leg("A"), leg("B")
    assert shared(leg("X", "other"), host, guest) == [("A", "B")]
    assert (host.mixes, guest.mixed, guest.mixes) == (True, True, False)


class _Tap:
    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        self.begun = True


def stereo(*legs: Live) -> tuple[Sharing, list[tuple[str, str]]]:
    """The legs of a call in stereo, answered one after the other."""
    desks = _Desks()
    sharing = Sharing(cast("Desks", desks), None, stereo=True)
    for number in range(len(legs)):
        sharing.share(legs[number], Call(legs[number].leg.call, 0.0), legs[: number + 1])
    return sharing, desks.paired


def test_in_stereo_the_first_legs_tap_brings_the_second_one() -> None:
    a, b, c = leg("A"), leg("B"), leg("C")
    _, paired = stereo(leg("X", "other"), a, b, c)
    assert paired == [("A", "B")]
    assert (a.carries, a.carried, b.carried, c.carried) == (b.leg, False, True, False)


def test_whose_host_leaves_begins_a_tap_and_whose_guest_leaves_has_room() -> None:
    a, b = leg("A"), leg("B")
    tap = _Tap()
    b.tap = cast("Tap", tap)
    sharing, paired = stereo(a, b)
    sharing.over(a, [b])
    assert (tap.begun, b.carried) == (True, False)
    c, d = leg("C"), leg("D")
    sharing.share(c, Call("C", 0.0), [b, c])
    sharing.over(c, [b])
    sharing.share(d, Call("C", 0.0), [b, d])
    assert paired == [("A", "B"), ("B", "C"), ("B", "D")]


def test_who_has_hung_up_with_his_host_needs_no_tap() -> None:
    a, b = leg("A"), leg("B")
    tap = _Tap()
    b.tap = cast("Tap", tap)
    sharing, _ = stereo(a, b)
    b.cause = "cause 16"
    sharing.over(a, [b])
    assert not tap.begun


def test_whose_guest_has_hung_up_has_room_at_once() -> None:
    a, b, c = leg("A"), leg("B"), leg("C")
    sharing, paired = stereo(a, b)
    b.cause = "cause 16"
    sharing.share(c, Call("C", 0.0), [a, b, c])
    sharing.over(b, [a, c])
    assert paired == [("A", "B"), ("A", "C")]
    assert a.carries == c.leg


def test_while_there_are_sessions_nobody_shares() -> None:
    assert shared(leg("A"), leg("B"), most=2) == []
    assert shared(leg("A"), leg("B"), most=None) == []


@pytest.mark.parametrize("why", ["mixes", "mixed", "cause", "desk", "codec", "call", "answer"])
def test_who_cannot_be_a_host_is_none(why: str) -> None:
    host = leg("A", codec=Codec.SLIN if why == "codec" else Codec.ULAW, answered=why != "answer")
    if why == "call":
        host = leg("A", "other")
    elif why == "desk":
        host.leave()
    elif why == "cause":
        host.cause = "cause 16"
    elif why in ("mixes", "mixed"):
        setattr(host, why, True)
    assert shared(leg("X", "other"), leg("Y", "other"), host, leg("B")) == []


def test_a_guest_and_a_host_stay_what_they_are() -> None:
    for why in ("mixes", "mixed"):
        last = leg("B")
        setattr(last, why, True)
        assert shared(leg("A"), last) == []


def test_streams_are_counted_and_not_legs() -> None:
    """Two that are mixed are one stream."""
    mixed = leg("B")
    mixed.mixed = True
    host = leg("A")
    host.mixes = True
    assert shared(host, mixed, leg("X", "C"), most=2) == []
