"""bridge/wire/rendezvous.py: everybody says the same, the shares are fair, and little moves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.rendezvous import choose

PLACES = [f"worker {number}" for number in range(8)]


@given(st.text(), st.permutations(PLACES))
def test_the_order_of_the_places_is_nothing(key: str, places: list[str]) -> None:
    assert choose(key, places) == choose(key, PLACES)


@given(st.text(), st.sampled_from(PLACES))
def test_only_the_keys_of_a_place_that_goes_move(key: str, gone: str) -> None:
    before, after = choose(key, PLACES), choose(key, [place for place in PLACES if place != gone])
    assert after == before or before == gone


def test_the_shares_are_fair() -> None:
    shares = Counter(choose(f"1795494951.{number}", PLACES) for number in range(8000))
    assert len(shares) == len(PLACES)
    assert 850 < min(shares.values()) <= max(shares.values()) < 1150


def test_it_is_the_same_on_every_machine_and_in_every_version() -> None:
    chosen = [choose(f"call {number}", PLACES[:3]) for number in range(6)]
    assert chosen == ["worker 0", "worker 1", "worker 1", "worker 1", "worker 0", "worker 2"]


def test_without_a_place_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose("call", [])
