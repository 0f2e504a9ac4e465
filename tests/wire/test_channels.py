"""What refusals teach: the limit, the pauses, and how a spent quota is told from full channels."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.channels import Channels, Dial, QuotaSettings

SETTINGS = QuotaSettings()
ALWAYS_LONGEST = 0.999999


def refuse(channels: Channels, code: str, held: int, now_s: float, dial: Dial | None = None) -> None:
    dial = dial or channels.dial(now_s)
    channels.refused(dial, code, held, True, now_s, ALWAYS_LONGEST)


def limits(channels: Channels, now_s: float) -> int | None:
    channels.ease(now_s)
    return channels.limit


def test_the_limit_is_what_we_held_when_refused_and_is_forgotten() -> None:
    channels = Channels(SETTINGS)
    assert limits(channels, 0) is None
    refuse(channels, "A0002", 7, 10)
    assert limits(channels, 69.9) == 7
    assert list(channels.moments()) == [70]
    assert limits(channels, 70) is None
    assert list(channels.moments()) == []


def test_dials_sent_together_and_refused_together_are_one_refusal() -> None:
    channels = Channels(SETTINGS)
    dial = channels.dial(0)
    for n in range(50):
        refuse(channels, "A0002", 5, 1 + n / 100, dial)
    assert channels.knock_s == pytest.approx(2, abs=0.01)
    refuse(channels, "A0002", 5, 3)
    assert channels.knock_s == pytest.approx(5, abs=0.01)


def test_a_released_channel_is_not_tried_at_once_and_knocked_for_if_it_was_not_tried() -> None:
    channels = Channels(SETTINGS)
    refuse(channels, "A0002", 5, 0)
    channels.released(10)
    assert channels.unripe == 1
    refuse(channels, "A0002", 4, 10.05, Dial(0, early=False))  # a dial of before the release
    assert (channels.unripe, channels.limit) == (0, 4)
    assert channels.knock_s == pytest.approx(1, abs=0.01)
    channels.released(20)
    channels.ease(20.09)
    assert channels.unripe == 1
    channels.ease(20.1)
    assert channels.unripe == 0


@pytest.mark.parametrize("late_s", [0.0, 0.5, 2.0])
def test_the_pause_after_a_release_finds_how_late_rtzr_frees(late_s: float) -> None:
    """One channel that is released and wanted again and again: few knocks are in vain."""
    channels, now_s, vain = Channels(SETTINGS), 0.0, 0
    refuse(channels, "A0002", 1, now_s)
    random = Random(3)
    for _ in range(100):
        now_s += 30
        channels.released(now_s)
        free_s, try_s = now_s + late_s, channels._freed[-1] if channels.unripe else now_s
        while try_s < free_s:
            vain += 1
            channels.ease(try_s)
            channels.refused(channels.dial(try_s), "A0002", 0, True, try_s, random.random())
            try_s = channels.knock_s
        channels.ease(try_s)
        channels.opened(channels.dial(try_s), 1, try_s)
        now_s = try_s
    assert vain <= 300


def test_proven_room_grows_the_limit_and_a_refusal_ends_that() -> None:
    channels = Channels(SETTINGS)
    refuse(channels, "A0002", 3, 0)
    grown = []
    for n in range(1, 5):
        limit = channels.limit or 0
        channels.opened(channels.dial(n * 5), limit + 1, n * 5)
        assert channels.knock_s == n * 5 + SETTINGS.proof_s
        assert limits(channels, n * 5 + 1.9) == limit + 1
        grown.append((limits(channels, n * 5 + 2) or 0) - limit - 1)
    assert grown == [1, 2, 4, 8]
    channels.opened(channels.dial(40), (channels.limit or 0) + 1, 40)
    refuse(channels, "A0002", 20, 41)
    assert limits(channels, 50) == 20


def test_a_spent_quota_takes_three_refusals_alone_within_a_minute() -> None:
    channels = Channels(SETTINGS)
    refuse(channels, "A0001", 2, 0)
    channels.refused(channels.dial(1), "A0001", 0, False, 1, 0.5)
    spent = []
    for now_s in (2, 3, 4):
        refuse(channels, "A0001", 0, now_s)
        spent.append(channels.spent)
    assert spent == [False, False, True]
    assert channels.knock_s == 604
    channels.opened(channels.dial(604), 1, 604)
    assert limits(channels, 604) is None


def test_sockets_that_all_go_were_cut_and_one_that_goes_alone_was_refused() -> None:
    channels = Channels(SETTINGS)
    channels.closed_at_once(channels.dial(0), 10, 1, 0.5)
    channels.ended(9, 1.1)
    assert channels.limit == 10
    for held in range(8, -1, -1):
        channels.ended(held, 1.2)
    assert channels.limit is None


def test_sockets_that_go_later_do_not_clear_a_refusal() -> None:
    channels = Channels(SETTINGS)
    channels.closed_at_once(channels.dial(0), 10, 1, 0.5)
    channels.ended(0, 1 + SETTINGS.proof_s)
    assert channels.limit == 10


@given(st.lists(st.tuples(st.sampled_from(["A0001", "A0002", ""]), st.floats(0, 100), st.floats(0, 0.99))))
def test_the_next_knock_is_never_farther_than_stated(refusals: list[tuple[str, float, float]]) -> None:
    channels, now_s = Channels(SETTINGS), 0.0
    for code, wait_s, random01 in refusals:
        now_s += wait_s
        channels.ease(now_s)
        channels.refused(channels.dial(now_s), code, 0, True, now_s, random01)
        longest_s = SETTINGS.probe_s if channels.spent else SETTINGS.knock_most_s
        assert now_s <= channels.knock_s <= now_s + longest_s
