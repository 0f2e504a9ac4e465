"""bridge/wire/promises.py: as many places are kept as were promised and not taken, and none for ever."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.promises import KEPT_S, Promises


@given(st.lists(st.tuples(st.sampled_from("mtd"), st.integers(0, 5))))
def test_whatever_happens_the_sum_is_that_of_what_is_open(steps: list[tuple[str, int]]) -> None:
    one, model = Promises(), dict[str, int]()
    for what, number in steps:
        call = str(number)
        if what == "m" and call not in model:
            one.make(call, 2, 0.0)
            model[call] = 2
        elif what == "t":
            one.take(call)
            model[call] = model.get(call, 0) - 1
        elif what == "d":
            one.drop(call)
            model.pop(call, None)
        model = {name: places for name, places in model.items() if places > 0}
        assert one.places(0.0) == sum(model.values())


def test_a_party_that_never_came_is_not_waited_for() -> None:
    one = Promises()
    one.make("a", 2, 0.0)
    one.make("b", 2, 10.0)
    one.take("a")
    assert one.places(KEPT_S - 1) == 3
    assert one.places(KEPT_S + 1) == 2
    assert one.places(KEPT_S + 11) == 0
    one.take("a")
    one.drop("b")
    assert one.places(KEPT_S + 11) == 0
