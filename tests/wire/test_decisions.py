"""bridge/wire/decisions.py: every decision is a value, and the switchboard knows what to do with each."""

from dataclasses import fields
from typing import get_args

from bridge.wire.decisions import Decision, LookUp
from tests.wire.channels import channel


def test_decisions_are_values() -> None:
    assert len(get_args(Decision)) == 11
    assert all(fields(kind) for kind in get_args(Decision))
    assert LookUp(channel("a")) == LookUp(channel("a"), None)
