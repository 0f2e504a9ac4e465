"""bridge/wire/seen.py: who a channel said it is at first, and what is kept of those that are gone."""

from bridge.wire import seen
from bridge.wire.seen import Seen
from tests.wire.channels import channel


def test_the_first_number_and_name_stay() -> None:
    one = Seen("tap-")
    one.see(channel("a", number="1005"))
    assert one.name(channel("a", number="025550000", caller_name="우리 회사"))
    assert not one.name(channel("a", number="1", caller_name="x"))
    known = one.first_named(channel("a", number="025550000"))
    assert (known.number, known.caller_name) == ("1005", "우리 회사")


def test_only_channels_with_audio_of_the_pbx_speak() -> None:
    one = Seen("tap-")
    for each in (channel("a"), channel("7;1", "Local/"), channel("tap-1", "UnicastRTP/")):
        one.see(each)
    assert one.speaking == {"a"}


def test_nothing_is_kept_but_that_it_is_gone() -> None:
    one = Seen("tap-")
    one.see(channel("a", number="1", at=5.0))
    one.up.add("a")
    one.called.add("a")
    one.drop("a")
    one.bury("a")
    assert (one.created, one.up, one.called, one.speaking, one._names | one._pairs) == (
        {},
        set(),
        set(),
        set(),
        {},
    )
    assert one.gone("a")
    one.see(channel("a"))
    assert one.created == {}, "what is told of it now is old"


def test_only_the_newest_dead_are_remembered() -> None:
    one = Seen("tap-")
    for number in range(seen._REMEMBERED + 1):
        one.bury(str(number))
    assert (one.gone("0"), one.gone("1"), len(one._gone)) == (False, True, seen._REMEMBERED)
