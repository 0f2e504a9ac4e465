"""bridge/wire/locals.py: the two halves of a Local channel, and who speaks behind each."""

from bridge.wire.locals import Locals
from tests.wire.channels import channel

NEAR, FAR = channel("7@x-01;1", "Local/"), channel("7@x-01;2", "Local/")
CALLER = channel("a")


def test_a_half_that_dials_leads_to_somebody_and_the_other_stands_in_no_more() -> None:
    one = Locals()
    assert one.stand_in(NEAR, "call")
    assert one.lead(FAR) == NEAR.id
    assert one.lead(FAR) is None, "once"
    assert (one.leads_on(NEAR), one.leads_on(FAR)) == (True, False)
    assert one.call(FAR) == "call"
    assert not one.stand_in(NEAR, "call")


def test_it_is_the_same_the_other_way_round() -> None:
    """A click-to-call: the near half runs a dialplan too."""
    one = Locals()
    assert one.stand_in(FAR, "call")
    assert one.lead(NEAR) == FAR.id
    assert one.leads_on(FAR)


def test_who_began_is_found_through_a_chain() -> None:
    one = Locals()
    assert one.root(FAR) is FAR
    further = channel("8@x-02;1", "Local/")
    one.dial(NEAR, CALLER)
    one.dial(further, FAR)
    assert one.root(channel("8@x-02;2", "Local/")) is CALLER
    one.dial(NEAR, channel("8@x-02;2", "Local/"))
    assert one.root(FAR).local, "a ring of them ends the search"


def test_nothing_is_kept_of_one_that_is_gone() -> None:
    one = Locals()
    one.dial(NEAR, CALLER)
    assert one.stand_in(NEAR, "call")
    one.lead(FAR)
    one.drop(FAR.pair)
    assert not any((one._diallers, one._calls, one._legs, one._leading))


def test_half_of_a_local_channel_is_no_person() -> None:
    assert NEAR.pair == FAR.pair == "Local/7@x-01"
    assert (NEAR.person, channel("7").person, channel("room", "CBAnn/").person) == (False, True, False)
    assert channel("a;1").pair == "PJSIP/a;1", "only a Local channel has halves"
