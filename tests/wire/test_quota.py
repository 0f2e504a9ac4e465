"""The queue and the limits: order, evictions, and that nobody waits for ever while a channel is free."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.quota import Counters, OnFull, Quota, QuotaSettings, Ticket
from bridge.wire.rtzr import Refused, Unreachable
from tests.scale import scaled

FULL = Refused(429, "A0002", "Too many concurrent requests")
USAGE = Refused(429, "A0001", "Usage exceeded")
MAINTENANCE = Refused(503, "", "")
BAD = Refused(400, "H0001", "bad")
GONE = Unreachable("streaming: TimeoutError")


class Line:
    """A quota with a clock of its own; chance always has the longest wait."""

    def __init__(self, **settings: Any) -> None:
        self.quota = Quota(QuotaSettings(**settings))
        self.now_s = 1000.0

    def ask(self, priority: int = 0, since_s: float | None = None) -> Ticket:
        return self.quota.ask(priority, self.now_s, since_s)

    def dials(self) -> list[Ticket]:
        return self.quota.step(self.now_s).dial

    def evicts(self) -> list[Ticket]:
        return self.quota.step(self.now_s).evict

    def opened(self, *priorities: int) -> list[Ticket]:
        """Legs of these priorities, each with its session."""
        tickets = []
        for priority in priorities:
            tickets.append(self.ask(priority))
            assert self.dials() == tickets[-1:]
            self.quota.opened(tickets[-1], self.now_s)
        return tickets

    def failed(self, ticket: Ticket, error: Refused | Unreachable) -> bool:
        return self.quota.failed(ticket, error, self.now_s, 0.999999)

    def close(self, ticket: Ticket) -> None:
        self.quota.released(ticket, self.now_s)

    def wait(self) -> float:
        """Go on to when the quota says that it is due; how long that took."""
        due_s = self.quota.due_s(self.now_s)
        assert due_s is not None
        waited_s, self.now_s = due_s - self.now_s, due_s
        return waited_s

    def next_dial(self) -> Ticket:
        """Wait as often as it takes for one leg to dial."""
        for _ in range(1000):
            dials = self.dials()
            if dials:
                (ticket,) = dials
                return ticket
            self.wait()
        raise AssertionError("nobody ever dials")

    def counters(self) -> Counters:
        return self.quota.counters(self.now_s)


# Order and caps.


def test_without_a_limit_all_dial_at_once() -> None:
    line = Line()
    tickets = [line.ask() for _ in range(500)]
    assert line.dials() == tickets
    assert line.quota.due_s(line.now_s) is None


def test_priority_first_and_then_who_came_first() -> None:
    line = Line(max_sessions=1)
    (running,) = line.opened(0)
    low, first, high, second = line.ask(-1), line.ask(0), line.ask(5), line.ask(0)
    order = []
    while line.counters().waiting:
        line.close(running)
        (running,) = line.dials()
        line.quota.opened(running, line.now_s)
        order.append(running)
    assert order == [high, first, second, low]


def test_who_comes_back_keeps_the_place() -> None:
    line = Line(max_sessions=1)
    (running,) = line.opened(0)
    line.now_s += 10
    line.ask()
    again = line.ask(since_s=1000.0)
    line.close(running)
    assert line.dials() == [again]


def test_the_reserve_is_for_priority_alone() -> None:
    line = Line(max_sessions=5, reserve=2)
    line.opened(0, 0, 0)
    waiting = line.ask(0)
    assert line.dials() == []
    line.opened(1, 1)
    urgent = line.ask(1)
    assert line.dials() == []
    line.quota.withdraw(urgent, line.now_s)
    assert line.quota.due_s(line.now_s) is None
    assert line.counters().waiting == 1
    assert waiting.priority == 0


def test_a_reserve_of_everything_leaves_one_for_all() -> None:
    line = Line(max_sessions=2, reserve=2)
    line.ask()
    line.ask()
    assert len(line.dials()) == 1


def test_room_is_for_what_can_wait() -> None:
    line = Line(max_sessions=3, reserve=1)
    assert line.quota.room()
    first, _ = line.opened(0, 0)
    assert not line.quota.room()
    line.close(first)
    assert line.quota.room()
    line.opened(0)
    line.ask()
    assert not line.quota.room()


def test_the_alarm_has_hysteresis() -> None:
    line = Line(max_sessions=10)
    tickets = line.opened(*[0] * 7)
    assert not line.counters().alarm
    tickets += line.opened(0)
    assert line.counters().alarm
    line.close(tickets.pop())
    assert line.counters().alarm
    line.close(tickets.pop())
    assert not line.counters().alarm
    line.opened(0)
    assert not line.counters().alarm


# Refusals.


@pytest.mark.parametrize("error", [BAD, Refused(401, "H0002", ""), Refused(403, "", ""), MAINTENANCE, GONE])
def test_what_is_not_429_is_told_to_the_leg(error: Refused | Unreachable) -> None:
    line = Line()
    ticket = line.ask()
    line.dials()
    assert not line.failed(ticket, error)
    assert line.counters().failed == 1
    assert line.counters().waiting == line.counters().dialling == 0


@pytest.mark.parametrize("error", [FULL, USAGE, Refused(429, "", "")])
def test_a_429_while_we_hold_others_is_waited_for_by_one_prober(error: Refused) -> None:
    line = Line()
    line.opened(0, 0)
    first, second = line.ask(), line.ask()
    assert line.dials() == [first, second]
    assert line.failed(first, error)
    assert line.failed(second, error)
    assert line.quota.limit == 2
    waits = []
    for _ in range(7):
        assert line.dials() == []
        waits.append(line.wait())
        assert line.dials() == [first]
        line.failed(first, error)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30], abs=0.01)
    assert not line.counters().spent


def test_a_burst_of_refusals_counts_as_one() -> None:
    line = Line()
    tickets = [line.ask() for _ in range(100)]
    line.dials()
    for ticket in tickets[:20]:
        line.quota.opened(ticket, line.now_s)
    for ticket in tickets[20:]:
        line.failed(ticket, USAGE)
    assert line.quota.limit == 20
    assert line.wait() == pytest.approx(1, abs=0.01)
    assert line.dials() == [tickets[20]]


def test_a_limit_learnt_too_early_grows_with_what_is_opened_after_it() -> None:
    line = Line()
    tickets = [line.ask() for _ in range(10)]
    line.dials()
    line.failed(tickets[9], FULL)
    for ticket in tickets[:9]:
        line.quota.opened(ticket, line.now_s)
    assert line.quota.limit == 9


def test_a_release_lets_one_knock_at_once_and_longer_each_time_it_was_too_soon() -> None:
    line = Line()
    held = line.opened(0, 0, 0, 0)
    waiting = line.ask()
    line.dials()
    line.failed(waiting, FULL)
    pauses = []
    for ticket in held[:3]:
        line.close(ticket)
        assert line.dials() == []
        pauses.append(line.wait())
        assert line.dials() == [waiting]
        line.failed(waiting, FULL)
    assert pauses == pytest.approx([0.1, 0.2, 0.4])


def test_a_release_admits_one() -> None:
    line = Line()
    held = line.opened(0, 0)
    waiting = [line.ask() for _ in range(5)]
    line.dials()
    for ticket in waiting:
        line.failed(ticket, FULL)
    line.close(held[0])
    line.wait()
    assert line.dials() == waiting[:1]
    line.quota.opened(waiting[0], line.now_s)
    assert line.dials() == []
    assert line.wait() > 0.5


def test_a_session_beyond_the_limit_that_lives_shows_room_for_more_and_more() -> None:
    line = Line(proof_s=2)
    line.opened(0)
    waiting = [line.ask() for _ in range(20)]
    line.dials()
    for ticket in waiting:
        line.failed(ticket, FULL)
    grown = []
    while line.counters().waiting:
        line.wait()
        dials = line.dials()
        for ticket in dials:
            line.quota.opened(ticket, line.now_s)
        grown += [len(dials)] if dials else []
    assert grown == [1, 1, 1, 2, 1, 4, 1, 8, 1]
    assert line.now_s < 1000 + 12


def test_the_learnt_limit_is_forgotten() -> None:
    line = Line(forget_s=60)
    held = line.opened(0, 0)
    ticket = line.ask()
    line.dials()
    line.failed(ticket, FULL)
    line.quota.withdraw(ticket, line.now_s)
    for each in held:
        line.close(each)
    line.now_s += 61
    tickets = [line.ask() for _ in range(10)]
    assert line.dials() == tickets
    assert line.quota.limit is None


def test_quota_spent_is_three_refusals_with_nothing_of_ours_open() -> None:
    line = Line(probe_s=600)
    ticket = line.ask()
    for n in range(3):
        assert not line.counters().spent
        assert line.next_dial() is ticket
        assert line.failed(ticket, USAGE), n
    assert line.counters().spent
    assert not line.quota.room()
    line.ask(7)
    for _ in range(3):
        assert line.dials() == []
        assert line.wait() == pytest.approx(600)
        (prober,) = line.dials()
        assert prober.priority == 7
        line.failed(prober, USAGE)
    line.wait()
    (prober,) = line.dials()
    line.quota.opened(prober, line.now_s)
    assert not line.counters().spent
    assert line.dials() == [ticket]


def test_refusals_more_than_a_minute_apart_are_not_a_spent_quota() -> None:
    line = Line(forget_s=1000)
    for _ in range(6):
        ticket = line.ask()
        assert line.next_dial() is ticket
        line.failed(ticket, USAGE)
        line.quota.withdraw(ticket, line.now_s)
        line.now_s += 31
    assert not line.counters().spent


def test_our_own_channel_that_rtzr_frees_late_is_not_a_spent_quota() -> None:
    line = Line(settle_s=5)
    (held,) = line.opened(0)
    ticket = line.ask()
    line.dials()
    line.failed(ticket, USAGE)
    line.close(held)
    released_s, knocks = line.now_s, 0
    while line.now_s < released_s + 4:
        assert line.next_dial() is ticket
        line.failed(ticket, USAGE)
        knocks += 1
    assert knocks >= 3
    assert not line.counters().spent


def test_another_code_shows_that_it_is_not_spent() -> None:
    line = Line()
    ticket = line.ask()
    for _ in range(3):
        line.next_dial()
        line.failed(ticket, USAGE)
    assert line.counters().spent
    line.wait()
    line.dials()
    line.failed(ticket, FULL)
    assert not line.counters().spent


def test_maintenance_lasts_until_another_answer() -> None:
    line = Line()
    first = line.ask()
    line.dials()
    line.failed(first, MAINTENANCE)
    assert line.counters().maintenance
    line.opened(0)
    assert not line.counters().maintenance


def test_a_socket_closed_at_once_while_we_hold_others_is_a_full_channel() -> None:
    line = Line(at_once_s=1)
    line.opened(0, 0)
    (third,) = line.opened(0)
    line.now_s += 0.5
    line.quota.closed_at_once(third, line.now_s, 0.5)
    assert line.quota.limit == 2
    assert line.counters().refused == {"closed": 1}
    line.ask()
    assert line.dials() == []
    assert line.wait() == pytest.approx(0.5)
    assert len(line.dials()) == 1


def test_a_socket_closed_later_or_with_nothing_else_open_says_nothing_of_channels() -> None:
    line = Line(at_once_s=1)
    first, second = line.opened(0, 0)
    line.now_s += 2
    line.quota.closed_at_once(second, line.now_s, 0.5)
    line.quota.closed_at_once(first, line.now_s, 0.5)
    assert line.quota.limit is None
    assert line.counters().held == 0


def test_sockets_that_are_all_cut_teach_no_limit() -> None:
    """An outage right after legs were let in: each failed at once, and others were held, for a moment."""
    line = Line(at_once_s=1)
    old, young = line.opened(*[0] * 5), line.opened(*[0] * 5)
    line.now_s += 0.5
    for mine in zip(old, young, strict=True):
        for ticket in mine:
            line.quota.closed_at_once(ticket, line.now_s, 0.5)
    tickets = [line.ask() for _ in range(10)]
    assert line.dials() == tickets


def test_failing_dials_are_bounded_and_the_first_success_lifts_the_bound() -> None:
    line = Line(rate=10, burst=50)
    first = line.ask()
    line.dials()
    line.failed(first, GONE)
    tickets = [line.ask() for _ in range(500)]
    assert line.dials() == tickets[:50]
    assert line.wait() == pytest.approx(0.1)
    assert line.dials() == tickets[50:51]
    line.quota.opened(tickets[0], line.now_s)
    assert line.dials() == tickets[51:]


# Making room.


def test_the_lowest_and_latest_makes_room_once_for_each_who_waits() -> None:
    line = Line(max_sessions=4, on_full=OnFull.LOWEST_PRIORITY_OUT)
    _, old, new, _ = line.opened(1, 0, 0, 2)
    line.ask(1)
    assert line.evicts() == [new]
    assert line.evicts() == []
    line.ask(5)
    assert line.evicts() == [old]
    line.ask(1)
    assert line.evicts() == []
    assert line.counters().evicted == 2
    line.close(new)
    (urgent,) = line.dials()
    assert urgent.priority == 5


def test_equals_do_not_make_room_nor_does_anyone_while_a_channel_is_free() -> None:
    line = Line(max_sessions=2, on_full=OnFull.LOWEST_PRIORITY_OUT)
    line.opened(0)
    line.ask(9)
    step = line.quota.step(line.now_s)
    assert (len(step.dial), step.evict) == (1, [])
    line.ask(0)
    assert line.evicts() == []


def test_nobody_makes_room_unless_asked_to() -> None:
    line = Line(max_sessions=1)
    line.opened(0)
    line.ask(9)
    assert line.evicts() == []


def test_nobody_makes_room_for_one_who_may_not_have_it() -> None:
    """Above the reserve's edge one place less is still none for an ordinary leg."""
    line = Line(max_sessions=4, reserve=2, on_full=OnFull.LOWEST_PRIORITY_OUT)
    line.opened(-1, 1, 1)
    line.ask(0)
    assert line.evicts() == []


def test_room_is_made_under_a_learnt_limit_too() -> None:
    line = Line(on_full=OnFull.LOWEST_PRIORITY_OUT)
    (low,) = line.opened(0)
    high = line.ask(1)
    assert line.dials() == [high]
    line.failed(high, FULL)
    assert line.evicts() == [low]
    line.close(low)
    assert line.wait() == pytest.approx(0.1)
    assert line.dials() == [high]


# Everything at once, against an RTZR with a limit of its own, by a simulated clock.


class World:
    """Legs come, are let in, hang up or give up; RTZR refuses by its own count and frees channels late."""

    def __init__(self, seed: int, settings: QuotaSettings, capacity: int, code: str, lag_s: float) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.quota = Quota(settings)
        self.capacity = capacity
        self.code = code
        self.lag_s = lag_s
        self.now_s = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.taken = 0
        self.waiting: list[Ticket] = []
        self.held: set[Ticket] = set()
        self.broken = False
        self.knocks = 0

    def later(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now_s + delay_s, next(self.order), do))

    def arrive(self, priority: int, talk_s: float, patience_s: float) -> None:
        ticket = self.quota.ask(priority, self.now_s)
        self.waiting.append(ticket)
        self.talks = {**getattr(self, "talks", {}), ticket: talk_s}
        self.later(patience_s, lambda: self.give_up(ticket))

    def give_up(self, ticket: Ticket) -> None:
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self.quota.withdraw(ticket, self.now_s)

    def answer(self, ticket: Ticket) -> None:
        """What RTZR says to a dial."""
        if ticket not in self.waiting:
            return
        if self.broken:
            self.waiting.remove(ticket)
            assert not self.quota.failed(ticket, GONE, self.now_s, self.random.random())
        elif self.taken >= self.capacity:
            assert self.quota.failed(ticket, Refused(429, self.code, ""), self.now_s, self.random.random())
        else:
            self.waiting.remove(ticket)
            self.taken += 1
            self.held.add(ticket)
            self.quota.opened(ticket, self.now_s)
            self.later(self.talks[ticket], lambda: self.hang_up(ticket))

    def hang_up(self, ticket: Ticket) -> None:
        if ticket in self.held:
            self.held.remove(ticket)
            self.quota.released(ticket, self.now_s)
            self.later(self.lag_s, self.freed)

    def freed(self) -> None:
        self.taken -= 1

    def step(self) -> None:
        step = self.quota.step(self.now_s)
        self.check(step.dial)
        for ticket in step.dial:
            self.knocks += 1
            self.later(self.random.random() * 0.2, lambda each=ticket: self.answer(each))  # type: ignore[misc]
        for ticket in step.evict:
            self.later(self.random.random(), lambda each=ticket: self.hang_up(each))  # type: ignore[misc]

    def check(self, dial: Sequence[Ticket]) -> None:
        most, counters = self.settings.max_sessions, self.quota.counters(self.now_s)
        assert not most or counters.held + counters.dialling <= most
        assert counters.asked == (
            counters.waiting + counters.dialling + counters.admitted + counters.failed + counters.withdrawn
        )
        assert counters.held == counters.admitted - counters.released == len(self.held)
        places = [ticket.place for ticket in dial]
        assert places == sorted(places)
        assert not dial or max(places) < min((each.place for each in self.quota._queue), default=(99, 0.0, 0))

    def run(self, until_s: float) -> None:
        """Events in order, and the quota's own moments between them."""
        self.step()
        for _ in range(100_000):
            due_s = self.quota.due_s(self.now_s)
            next_s = min(self.events[0][0] if self.events else until_s, until_s if due_s is None else due_s)
            if next_s >= until_s:
                self.now_s = until_s
                return
            assert next_s >= self.now_s
            self.now_s = next_s
            if self.events and self.events[0][0] <= next_s:
                heapq.heappop(self.events)[2]()
            self.step()
        raise AssertionError("it goes round and round")


worlds = st.builds(
    World,
    st.integers(0, 1 << 30),
    st.builds(
        QuotaSettings,
        max_sessions=st.sampled_from([0, 1, 3, 8]),
        reserve=st.sampled_from([0, 0, 1, 3]),
        on_full=st.sampled_from(OnFull),
    ),
    st.integers(1, 10),
    st.sampled_from(["A0001", "A0002", ""]),
    st.sampled_from([0.0, 0.05, 1.0, 4.0]),
)


@given(worlds, st.integers(1, scaled(400, least=40)), st.booleans())
def test_nobody_waits_for_ever_while_a_channel_is_free(world: World, legs: int, trouble: bool) -> None:
    random = world.random
    for _ in range(legs):
        priority, talk_s = random.choice([-1, 0, 0, 0, 1, 5]), random.expovariate(1 / 20)
        patience_s = random.choice([0.05, 1, 1e6, 1e6, 1e6])
        world.later(
            random.random() * 60,
            lambda p=priority, t=talk_s, w=patience_s: world.arrive(p, t, w),  # type: ignore[misc]
        )
    if trouble:
        world.later(20, lambda: setattr(world, "broken", True))
        world.later(30, lambda: setattr(world, "broken", False))
    # Talk takes 20 s on average, a knock is never farther off than 30 s, a learnt limit is kept for 60.
    world.run(60.0 + legs * (60 + 60))
    assert not world.waiting
    assert not world.held
    assert world.quota.due_s(world.now_s) is None
    counters = world.quota.counters(world.now_s)
    assert counters.waiting == counters.dialling == counters.held == 0
    assert counters.longest_wait_s < world.now_s
    assert not counters.spent or world.code == "A0001"


@given(worlds)
def test_the_knocks_of_many_who_wait_are_those_of_one(world: World) -> None:
    """RTZR full of others' streams for ten minutes, and 300 legs that wait: no storm."""
    world.taken, world.code = world.capacity, "A0002"
    for _ in range(300):
        world.arrive(0, 5.0, 1e6)
    world.step()
    at_once = world.knocks
    world.run(600.0)
    assert at_once == min(300, max(1, (world.settings.max_sessions or 1e6) - world.settings.reserve))
    assert world.knocks - at_once < 100
    assert world.quota.counters(600.0).admitted == 0
