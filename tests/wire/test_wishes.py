"""bridge/wire/wishes.py: what a PBX's event wishes, and what is remembered of it."""

import pytest

from bridge.wire.pbxevents import (
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelUserevent,
    ChannelVarset,
    PbxEvent,
)
from bridge.wire.wishes import By, Wish, Wishes, WishWays, paused_by

WAYS = WishWays("RTZRPause", "RTZRResume", variable=True, pause_keys="*7", resume_keys="*78")


def channel(id_: str = "1") -> Channel:
    return Channel(id_, f"PJSIP/{id_}", "Up", "", "", 0.0, "", "")


def varset(name: str, value: str) -> PbxEvent:
    return ChannelVarset(0.0, channel(), name, value)


def press(wishes: Wishes, keys: str, at_s: float = 0.0, step_s: float = 0.5, by: str = "1") -> list[bool]:
    """What comes of keys, one after the other."""
    found = [
        wishes.take(ChannelDtmfReceived(at_s + number * step_s, channel(by), key))
        for number, key in enumerate(keys)
    ]
    assert all(wish.by is By.KEYS and wish.channel == by for wish in found if wish)
    return [bool(wish.paused) for wish in found if wish]


@pytest.mark.parametrize(
    ("event", "wish"),
    [
        (ChannelUserevent(0.0, channel(), "RTZRPause", {}), Wish("1", True, By.EVENT)),
        (ChannelUserevent(0.0, channel(), "RTZRResume", {}), Wish("1", False, By.EVENT)),
        (ChannelUserevent(0.0, channel(), "RTZR", {}), None),
        (ChannelUserevent(0.0, None, "RTZRPause", {}), None),
        (varset("RTZR_PAUSE", "1"), Wish("1", True, By.VARIABLE)),
        (varset("__RTZR_PAUSE", "yes"), Wish("1", True, By.VARIABLE)),
        (varset("_RTZR_PAUSE", "0"), Wish("1", False, By.VARIABLE)),
        (varset("RTZR_PAUSE", ""), Wish("1", None, By.VARIABLE)),
        (varset("RTZR_PAUSED", "1"), None),
        (ChannelVarset(0.0, None, "RTZR_PAUSE", "1"), None),
    ],
)
def test_what_an_event_wishes(event: PbxEvent, wish: Wish | None) -> None:
    assert Wishes(WAYS).take(event) == wish


def test_what_is_no_way_is_no_wish() -> None:
    wishes = Wishes(WishWays())
    assert wishes.take(varset("RTZR_PAUSE", "1")) is None
    assert wishes.take(ChannelUserevent(0.0, channel(), "", {})) is None
    assert press(wishes, "*7*8") == []


@pytest.mark.parametrize(("value", "paused"), [("1", True), ("TRUE", True), ("maybe", True), (" 0 ", False),
                                               ("", None), (" ", None), ("No", False)])  # fmt: skip
def test_what_is_not_understood_is_a_pause(value: str, paused: bool | None) -> None:
    assert paused_by(value) is paused


def test_keys_count_in_order_within_their_time_and_by_channel() -> None:
    wishes = Wishes(WishWays(pause_keys="*7", resume_keys="*8"))
    assert press(wishes, "12*7") == [True]
    assert press(wishes, "7", 10) == []
    assert press(wishes, "*8*7", 20) == [False, True]
    assert press(wishes, "*", 30) == press(wishes, "7", 34) == []
    assert press(wishes, "*", 40) == press(wishes, "7", 40.5, by="2") == []
    assert press(wishes, "a*", 50) == []
    assert "7" not in repr(wishes._keys["1"]) or "_keys" not in repr(wishes)  # it may be a card's number


def test_it_remembers_until_the_channel_is_gone() -> None:
    wishes = Wishes(WAYS)
    assert wishes.of("1") is None
    wishes.take(varset("RTZR_PAUSE", "1"))
    number = wishes.noted
    assert wishes.of("1") is True
    assert not wishes.newer("1", number)
    wishes.note("2", False)
    wishes.keep({"1"}, number)  # the other one was wished after the question
    assert (wishes.of("1"), wishes.of("2"), wishes.newer("2", number)) == (True, False, True)
    wishes.keep({"2"}, wishes.noted)
    assert wishes.of("1") is None
    wishes.take(ChannelDestroyed(0.0, channel("2"), 16))
    assert wishes.of("2") is None
