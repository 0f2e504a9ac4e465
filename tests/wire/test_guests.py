"""Calls that were sent to our application: who is here, and who may stay."""

from dataclasses import replace

from bridge.wire.guests import Guests
from tests.wire.channels import channel


def test_whoever_was_turned_away_before_it_came_may_not_stay() -> None:
    guests = Guests("app", "app.tap.")
    guests.turn_away("A")
    assert not guests.come("A")
    assert guests.come("B")
    guests.turn_away("B")
    assert guests.here == {"A", "B"}


def test_what_is_gone_is_forgotten() -> None:
    guests = Guests("app", "app.tap.")
    guests.turn_away("A")
    guests.come("A")
    guests.drop("A")
    assert guests.here == set()
    assert guests.come("A"), "another channel of that id"
    guests.leave("A")
    assert guests.here == set()


def test_who_is_here_by_what_the_pbx_says() -> None:
    guests = Guests("app", "app.tap.")
    here = replace(channel("A"), application="Stasis", application_data="app,1")
    assert guests.stays(here)
    assert not guests.stays(replace(here, application_data="other"))
    assert not guests.stays(replace(here, application="Dial"))
    assert not guests.stays(replace(here, id="app.tap.1"))
