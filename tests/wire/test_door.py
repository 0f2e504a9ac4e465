"""bridge/wire/door.py: nobody is refused where there is room, and nobody let in where there is none."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.door import LEG_MS, Door

TICK_S = 0.25


@dataclass
class Process:
    """A process in which a leg costs `leg_ms` a second, and a session's opening `open_ms`."""

    leg_ms: float
    base: float = 0.01
    open_ms: float = 3.0
    door: Door = field(default_factory=Door)
    legs: int = 0
    now_s: float = 0.0
    cpu_s: float = 0.0
    refused: int = 0

    @property
    def load(self) -> float:
        return self.base + self.legs * self.leg_ms / 1000

    def offer(self, calls: int) -> None:
        for _ in range(calls):
            if self.door.refuses(self.legs, 2) is None:
                self.legs += 2
                self.cpu_s += 2 * self.open_ms / 1000
            else:
                self.refused += 1

    def pass_time(self, seconds: float, calls_per_s: float = 0.0) -> None:
        due = 0.0
        for _ in range(round(seconds / TICK_S)):
            due += calls_per_s * TICK_S
            self.offer(int(due))
            due -= int(due)
            self.now_s += TICK_S
            self.cpu_s += min(self.load, 1.0) * TICK_S
            lag_ms = 2.0 if self.load < 1 else 300.0
            self.door.observe(self.now_s, self.cpu_s, self.legs, lag_ms)


@given(st.floats(0.5, 5.0))
def test_a_quiet_process_refuses_nobody(leg_ms: float) -> None:
    one = Process(leg_ms)
    one.pass_time(10)
    for _ in range(10):
        one.offer(1)
        one.pass_time(2)
    assert one.refused == 0


def test_a_dear_start_is_not_taken_for_the_cost_of_two_legs() -> None:
    one = Process(1.0, base=0.3)
    one.offer(1)
    one.pass_time(10)
    one.offer(20)
    assert one.refused == 0


@given(st.floats(0.4, 4.0), st.integers(5, 30), st.floats(0.0, 12.0))
def test_offered_more_and_more_it_fills_the_core_and_no_more(
    leg_ms: float, calls_per_s: int, open_ms: float
) -> None:
    one = Process(leg_ms, open_ms=open_ms)
    one.pass_time(5)
    one.pass_time(120, calls_per_s)
    full = one.base + one.legs * leg_ms / 1000
    if one.refused:
        assert full >= 0.7, one.legs
    assert full < 1.0, "what came in the second before it could be seen is all that is over"


def test_half_as_much_again_as_it_can_bear_is_refused_and_the_rest_is_kept() -> None:
    one = Process(1.0)
    one.pass_time(5)
    one.pass_time(60, calls_per_s=640 / 60)  # 1,280 legs, and there is room for about 840
    assert 780 <= one.legs <= 850
    assert one.refused + one.legs // 2 in (639, 640)
    assert one.load < 0.87


def test_a_burst_is_bounded_by_what_was_foreseen() -> None:
    one = Process(5.0)
    one.pass_time(5)
    one.offer(1000)
    assert one.legs * LEG_MS / 1000 <= 0.85


def test_a_fast_start_with_dear_sessions_is_not_refused() -> None:
    one = Process(3.0, open_ms=4.0)
    one.pass_time(5)
    one.pass_time(4, calls_per_s=25)  # 200 legs, which take 0.61 of a core once they run
    assert (one.legs, one.refused) == (200, 0)


def test_when_legs_go_there_is_room_again() -> None:
    one = Process(2.0)
    one.pass_time(5)
    one.pass_time(60, calls_per_s=20)
    assert one.refused
    one.legs, one.refused = 100, 0
    one.pass_time(3)
    one.offer(50)
    assert one.refused == 0


def test_it_does_not_flap_at_the_brim() -> None:
    one = Process(1.0)
    one.pass_time(5)
    one.pass_time(60, calls_per_s=20)
    one.legs -= 2
    assert one.door.refuses(one.legs, 2) is not None, "two that went make no room yet"
    one.legs -= 60
    one.pass_time(3)
    assert one.door.refuses(one.legs, 2) is None


def test_a_loop_that_stays_late_refuses_whatever_the_cpu_says() -> None:
    door = Door()
    for tick in range(3):
        door.observe(tick * TICK_S, 0.0, 10, 150.0)
    refusal = door.refuses(10, 2)
    assert refusal is not None
    assert refusal.reason == "lag"
    door.observe(1.0, 0.0, 10, 80.0)
    assert door.refuses(10, 2) is not None, "better, but not well"
    door.observe(1.25, 0.0, 10, 10.0)
    assert door.refuses(10, 2) is None


def test_one_stall_is_an_accident() -> None:
    door = Door()
    for tick, lag_ms in enumerate([500.0, 2.0, 500.0, 500.0]):
        door.observe(tick * TICK_S, 0.0, 10, lag_ms)
    assert door.refuses(10, 2) is None


@pytest.mark.parametrize("legs", [0, 100])
def test_another_process_is_not_judged_by_the_last_ones_clock(legs: int) -> None:
    door = Door()
    for tick in range(20):
        door.observe(tick * TICK_S, tick * TICK_S * 0.9, 100, 200.0)
    door.forget()
    door.observe(10.0, 0.1, legs, 1.0)
    door.observe(10.25, 0.11, legs, 1.0)
    assert door.share == pytest.approx(0.04)
    refusal = door.refuses(0, 2)
    assert refusal is None


def test_a_spike_with_few_legs_does_not_shut_it_for_ever() -> None:
    one = Process(1.0, door=Door(full_at=0.25))
    one.pass_time(5)
    one.pass_time(10, calls_per_s=10)
    one.cpu_s += 5 * 0.9  # the machine was elsewhere, and it is taken for the legs'
    one.pass_time(1)
    one.legs = 4
    assert one.door.leg_ms > 2 * LEG_MS
    one.pass_time(60)
    one.offer(20)
    assert one.legs >= 40, one.door.leg_ms


def test_who_was_let_in_has_a_place_though_the_legs_have_not_begun() -> None:
    door = Door()
    room = next(legs for legs in range(0, 2000, 2) if door.refuses(legs, 2) is not None)
    door = Door()
    let_in = [call for call in map(str, range(1000)) if door.admit(call, 0, 2, 0.0) is None]
    assert 2 * len(let_in) == room
    door = Door()
    for number in range(room // 2):
        assert door.admit(str(number), number, 2, 0.0) is None
        door.promises.take(str(number))
        door.promises.drop(str(number))
