"""bridge/wire/recent.py: all that was kept since a name, or an honest None; never more than the bound."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.recent import Recent


def test_what_was_kept_since_is_given_and_what_was_marked_is_not() -> None:
    recent: Recent[str] = Recent(10, 10)
    recent.keep("a", "A")
    recent.mark("b")
    recent.keep("c", "C")
    assert recent.after("a") == recent.after("b") == ("C",)
    assert recent.after("c") == ()
    assert recent.after("x") is None


def test_a_name_that_is_said_again_counts_from_then() -> None:
    recent: Recent[str] = Recent(10, 10)
    recent.keep("a", "A")
    recent.keep("b", "B")
    recent.keep("a", "A")
    assert recent.after("a") == ()
    assert recent.all() == ("A", "B", "A")


def test_what_is_changed_stays_in_its_place_and_the_bound_holds() -> None:
    recent: Recent[str] = Recent(2, 10)
    recent.keep("a", "A")
    recent.keep("b", "B")
    recent.change(str.lower)
    recent.keep("c", "C")
    assert recent.after("a") == ("b", "C")
    assert recent.all() == ("b", "C")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8), st.integers(1, 8))
def test_nothing_is_left_out_unseen(said: list[bool], most: int, most_names: int) -> None:
    recent: Recent[int] = Recent(most, most_names)
    for number, kept in enumerate(said):
        recent.keep(str(number), number) if kept else recent.mark(str(number))
    assert len(recent) <= most
    assert recent.whole == (sum(said) <= most)
    for number in range(len(said)):
        true = tuple(later for later in range(number + 1, len(said)) if said[later])
        assert recent.after(str(number)) in (true, None)
        if len(true) <= most and number >= len(said) - most_names:
            assert recent.after(str(number)) == true
