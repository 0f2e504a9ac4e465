"""bridge/wire/census.py: the mark that the dialplan leaves is read, and nothing else is taken for one."""

import pytest

from bridge.wire.census import Mark


def test_a_mark_is_the_call_and_who_announced_it() -> None:
    assert Mark.read("1795.1/1795.4") == Mark("1795.1", "1795.4")


@pytest.mark.parametrize("value", [None, "", "/", "1795.1", "1795.1/", "/1795.4"])
def test_what_is_no_mark_is_none(value: str | None) -> None:
    assert Mark.read(value) is None
