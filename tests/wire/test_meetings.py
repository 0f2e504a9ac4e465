"""bridge/wire/meetings.py: who is in a bridge with whom, whatever is missed."""

from bridge.wire.meetings import Meetings
from bridge.wire.pbxevents import Bridge
from tests.wire.channels import channel

A, B, C = channel("a"), channel("b"), channel("c")


def test_those_who_come_are_together_with_those_who_are_there() -> None:
    meetings = Meetings()
    assert meetings.enter(A, "one") == (A,)
    assert meetings.enter(B, "one") == (A, B)
    assert meetings.enter(C, "other") == (C,)
    meetings.leave("a", "one")
    assert meetings.enter(C, "one") == (B, C)


def test_who_is_around_somebody() -> None:
    meetings = Meetings()
    meetings.enter(A, "one")
    meetings.enter(B, "one")
    assert meetings.around("b") == (A, B)
    assert meetings.around("c") == ()


def test_who_comes_again_is_there_once() -> None:
    meetings = Meetings()
    meetings.enter(A, "one")
    assert meetings.enter(A, "one") == (A,)


def test_nothing_is_kept_of_those_who_are_gone() -> None:
    meetings = Meetings()
    for bridge in ("one", "two"):
        meetings.enter(A, bridge)
    meetings.drop("a")
    meetings.leave("a", "one")
    assert len(meetings) == 0


def test_a_comparison_puts_right_what_was_missed() -> None:
    meetings = Meetings()
    meetings.enter(A, "gone")
    here = {one.id: one for one in (A, B, C)}
    bridges = [
        Bridge("one", frozenset({"a", "b", "unknown"})),
        Bridge("parking", frozenset({"c"}), holding=True),
        Bridge("empty", frozenset()),
    ]
    assert meetings.compare(bridges, here) == ((A, B),)
    assert len(meetings) == 1
    assert meetings.enter(C, "one") == (A, B, C)
