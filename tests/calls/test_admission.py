"""bridge/calls/admission.py: a call is let in or refused whole, told once, and counted by the reason."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.calls.admission import Admission
from bridge.leg.desk import Counts, Desk
from bridge.types import Event, LegId, NewLeg, Transport
from bridge.wire.door import Refusal
from bridge.wire.rtpbudget import RtpBudget


class _Desks:
    """Desks that are full or not."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.answer = refusal
        self.ended: list[str] = []

    async def begin(self, new: NewLeg) -> Desk:
        raise AssertionError("nothing was to begin")

    def mix(self, host: LegId, guest: LegId) -> None:
        raise AssertionError("nothing was to be mixed")

    def pair(self, host: LegId, guest: LegId) -> None:
        raise AssertionError("nothing was to be paired")

    def admit(self, call: str, legs: int) -> Refusal | None:
        return self.answer

    def pause(self, call: str, paused: bool) -> None: ...

    def over(self, call: str) -> None:
        self.ended.append(call)

    def counts(self) -> Counts:
        return Counts()


def admission(desks: _Desks, max_legs: int = 0) -> tuple[Admission, list[Event]]:
    told: list[Event] = []
    return Admission(desks, max_legs, told.append), told


async def test_while_there_is_room_calls_are_let_in() -> None:
    one, told = admission(_Desks(), max_legs=4)
    assert one.admits("a", 10, 0)
    assert one.admits("b", 10, 0)
    assert (told, one.refused) == ([], {})


async def test_beyond_max_legs_a_call_is_refused_and_told() -> None:
    one, told = admission(_Desks(), max_legs=4)
    with capture_logs() as logs:
        assert not one.admits("c", 12.4, 3)
    (event,) = told
    assert (event.type, event.subject, event.data) == (
        "rtzr.call.refused",
        "c",
        {"at_ms": 12, "reason": "max_legs"},
    )
    assert one.refused == {"max_legs": 1}
    assert [line["event"] for line in logs] == ["calls refused"]


async def test_a_refused_call_stays_refused_though_there_is_room_again() -> None:
    desks = _Desks(Refusal("cpu", "full"))
    one, told = admission(desks)
    assert not one.admits("a", 0, 10)
    desks.answer = None
    assert not one.admits("a", 500, 10)
    assert one.admits("b", 0, 10)
    assert (len(told), one.refused) == (1, {"cpu": 1})


async def test_an_overload_is_a_few_lines_in_the_log_and_an_event_each() -> None:
    one, told = admission(_Desks(Refusal("lag", "late")))
    with capture_logs() as logs:
        answers: list[Any] = [one.admits(str(number), 0, 10) for number in range(100)]
    assert not any(answers)
    assert (len(told), len(logs)) == (100, 1)


async def test_a_burst_is_not_let_in_whole_before_its_legs_begin() -> None:
    one, told = admission(_Desks(), max_legs=10)
    let_in = [call for call in map(str, range(30)) if one.admits(call, 0, 0)]
    assert (len(let_in), len(told)) == (5, 25)
    for begun, call in enumerate(let_in):
        one.began(call)  # its caller; the place of who will be called is kept
        assert not one.admits(f"late {call}", 0, begun + 1)


async def test_the_places_of_a_call_that_is_over_are_free() -> None:
    desks = _Desks()
    one, _ = admission(desks, max_legs=4)
    assert [one.admits(call, 0, 0) for call in "abc"] == [True, True, False]
    one.began("a")
    one.over("a")
    assert one.admits("d", 0, 0)
    assert desks.ended == ["a"]


async def test_a_call_that_was_live_before_us_is_asked_for_again_and_told_once() -> None:
    desks = _Desks(Refusal("cpu", "full"))
    one, told = admission(desks)
    assert not one.admits("a", 0, 10, again=True)
    assert not one.admits("a", 5, 10, again=True)
    desks.answer = None
    assert one.admits("a", 10, 10, again=True)
    assert (len(told), one.refused) == (1, {"cpu": 1})


async def test_the_last_rtp_ports_of_the_pbx_are_its_calls() -> None:
    """20 pairs, 4 spare: 10 telephones and 4 taps leave room for one more call, which is then counted too."""
    told: list[Event] = []
    one = Admission(_Desks(), 0, told.append, rtp=RtpBudget(20), channels=lambda: 10, taps=lambda: 4)
    assert one.admits("a", 0.0, 4)
    assert not one.admits("b", 0.0, 4)
    assert [event.data["reason"] for event in told] == ["rtp ports"]
    one.over("a")
    assert one.admits("b", 0.0, 4, again=True)


@pytest.mark.parametrize("transport", [one for one in Transport if one is not Transport.RTP])
async def test_what_comes_by_tcp_needs_no_rtp_port(transport: Transport) -> None:
    told: list[Event] = []
    one = Admission(_Desks(), 0, told.append, rtp=RtpBudget(4), channels=lambda: 4)
    assert one.admits("a", 0.0, 100, transport)
    assert not one.admits("b", 0.0, 100, Transport.RTP)


async def test_only_taps_over_rtp_count_against_the_ports() -> None:
    """20 pairs, 4 spare: two legs of a hundred are over RTP, and so will be those of calls let in."""
    told: list[Event] = []
    one = Admission(_Desks(), 0, told.append, rtp=RtpBudget(20), channels=lambda: 10, taps=lambda: 2)
    assert [one.admits(call, 0.0, 100) for call in "abc"] == [True, True, False]


async def test_a_slow_pbx_is_left_alone_until_it_is_quick() -> None:
    told: list[Event] = []
    takes_s = 2.5
    one = Admission(_Desks(), 0, told.append, slow=lambda: takes_s)
    assert not one.admits("a", 0.0, 0)
    takes_s = 0.0
    assert one.admits("b", 0.0, 0)
    assert one.refused == {"pbx slow": 1}


async def test_the_pbxs_own_word_about_its_ports_holds_where_the_yaml_is_silent() -> None:
    for given, admits in ((None, False), (RtpBudget(1000), True)):
        one = Admission(_Desks(), 0, lambda _: None, rtp=given, channels=lambda: 0, taps=lambda: 100)
        assert one.admits("a", 0, 100)
        one.learn_ports((20_000, 20_039))
        one.learn_ports((20_000, 20_039))
        assert one.admits("b", 0, 100) is admits
