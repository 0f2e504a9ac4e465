"""bridge/wire/locals.py: the two halves of a Local channel, and whom they lead to."""

from bridge.wire.locals import Locals
from tests.wire.channels import channel

NEAR, FAR = channel("7@x-01;1", "Local/"), channel("7@x-01;2", "Local/")


def test_the_far_half_dials_for_whoever_dialled_the_near_one() -> None:
    one = Locals()
    assert one.lead(FAR) is None
    one.dial(NEAR, "call")
    assert one.lead(FAR) == (NEAR.id, "call")
    assert one.leads_on(NEAR)
    assert not one.leads_on(FAR)


def test_nothing_is_kept_of_one_that_is_gone() -> None:
    one = Locals()
    one.dial(NEAR, "call")
    one.lead(FAR)
    one.drop(FAR.pair)
    assert not one.leads_on(NEAR)
    assert one.lead(FAR) is None


def test_half_of_a_local_channel_is_no_person() -> None:
    assert NEAR.pair == FAR.pair == "Local/7@x-01"
    assert (NEAR.person, channel("7").person, channel("room", "CBAnn/").person) == (False, True, False)
    assert channel("a;1").pair == "PJSIP/a;1", "only a Local channel has halves"
