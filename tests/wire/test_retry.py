"""bridge/wire/retry.py: patience lasts hours, a wish to be left alone is kept, an endpoint is found again."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.retry import Circuit, RetrySettings, State, rest_s

SETTINGS = RetrySettings()
random01 = st.floats(0, 1, exclude_max=True)


@given(random01)
def test_the_tries_of_one_event_take_hours(chance: float) -> None:
    waits = [rest_s(failures, SETTINGS, chance) for failures in range(1, SETTINGS.tries)]
    assert 0.5 <= waits[0] <= 1
    assert waits == sorted(waits)
    assert 3600 <= sum(waits) <= 4 * 3600
    assert rest_s(10**9, SETTINGS, chance) <= SETTINGS.cap_s


def failing(times: int, now_s: float = 0.0) -> Circuit:
    circuit = Circuit(SETTINGS)
    for _ in range(times):
        circuit.failed(now_s, 0.5)
    return circuit


def test_a_few_failures_open_nothing_and_a_success_forgets_them() -> None:
    circuit = failing(4)
    assert circuit.state(0) is State.CLOSED
    assert not circuit.worked(0)
    circuit.failed(0, 0.5)
    assert circuit.state(0) is State.CLOSED


def test_many_open_it_and_one_may_try_after_a_while() -> None:
    circuit = failing(5)
    assert circuit.state(0.1) is State.OPEN
    assert circuit.state(1) is State.HALF_OPEN
    assert circuit.worked(1)
    assert circuit.state(1) is State.CLOSED


def test_those_that_were_under_way_make_it_no_longer() -> None:
    assert failing(8).until_s == failing(5).until_s


def test_probes_come_ever_less_but_once_a_minute() -> None:
    circuit, now_s, waits = failing(5), 0.0, []
    for _ in range(20):
        now_s = circuit.until_s
        assert circuit.state(now_s) is State.HALF_OPEN
        circuit.failed(now_s, 0.99)
        waits.append(round(circuit.until_s - now_s, 6))
    assert waits == sorted(waits)
    assert 50 < waits[-1] <= 60


@given(st.floats(0.001, 1e9), random01)
def test_a_wish_to_be_left_alone_is_kept_though_older_answers_come(asked_s: float, chance: float) -> None:
    circuit = Circuit(SETTINGS)
    circuit.failed(100, chance, asked_s)
    kept_s = min(asked_s, 86_400)
    assert 100 + kept_s <= circuit.until_s <= 100 + 1.1 * kept_s + 1e-6
    assert not circuit.worked(100 + kept_s / 2)
    circuit.failed(100 + kept_s / 2, chance)
    assert circuit.state(100 + kept_s / 2) is State.OPEN
    assert circuit.state(circuit.until_s) is State.HALF_OPEN


def test_a_person_may_begin_anew() -> None:
    circuit = failing(9)
    circuit.reset()
    assert circuit.state(0) is State.CLOSED
