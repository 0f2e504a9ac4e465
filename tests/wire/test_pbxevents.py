"""bridge/wire/pbxevents.py: what a channel tells of itself."""

import pytest

from bridge.wire.pbxevents import Channel, PbxError, whole_seconds


def channel(name: str, state: str, application: str = "") -> Channel:
    return Channel("1.1", name, state, "02", "", 0.0, application, "")


def test_who_calls_who_is_called_and_who_is_nobody() -> None:
    caller, callee = channel("PJSIP/a-1", "Ring", "Dial"), channel("PJSIP/b-2", "Up", "AppQueue")
    assert (caller.calls, caller.dials, caller.dialled, caller.up) == (True, True, False, False)
    assert (callee.calls, callee.dials, callee.dialled, callee.up) == (False, False, True, True)
    assert (caller.local, channel("Local/1@x-1;2", "Ring").local) == (False, True)


def test_numbers_and_names_are_not_printed() -> None:
    assert "021234" not in repr(Channel("1.1", "x", "Up", "021234", "홍길동", 0.0, "", "", "", "021234"))
    assert "홍길동" not in repr(Channel("1.1", "x", "Up", "021234", "홍길동", 0.0, "", ""))


def test_the_pbxs_clock_is_a_number() -> None:
    assert whole_seconds("1795621306") == 1795621306
    for none in ("", "soon", "-1", "1.5", "1" * 400, "١"):
        with pytest.raises(PbxError):
            whole_seconds(none)
