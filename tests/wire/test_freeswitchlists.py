"""What a FreeSWITCH says that it has, as the roster is told of it."""

import json

import pytest

from bridge.wire.freeswitchlists import bridges_of, conferences_of, listed, rows_of
from bridge.wire.pbxevents import Bridge, PbxError

ROWS = {
    "row_count": 2,
    "rows": [
        {
            "uuid": "a", "direction": "inbound", "created_epoch": "1795344403", "name": "sofia/lo/1001",
            "cid_name": "Alice", "cid_num": "1001", "dest": "2000", "context": "default",
            "callstate": "ACTIVE",
        },
        {
            "uuid": "b", "direction": "outbound", "created_epoch": "1795344404", "name": "sofia/lo/2000",
            "cid_num": "1001", "callee_num": "2000", "callee_name": "Outbound Call", "callstate": "ACTIVE",
        },
    ],
}  # fmt: skip


def test_channels_are_listed() -> None:
    first, second = rows_of(json.dumps(ROWS))
    a, b = listed(first, up=True, called=False), listed(second, up=False, called=True)
    assert (a.id, a.number, a.caller_name, a.state, a.extension) == ("a", "1001", "Alice", "Up", "2000")
    assert (b.id, b.number, b.caller_name, b.state, b.dialled) == ("b", "2000", "", "Down", True)
    assert a.created == 1795344403


def test_no_channels_are_no_rows() -> None:
    assert rows_of('{"row_count":0}') == []
    assert bridges_of([]) == ()
    for wrong in ("", "[]", '{"rows":[1]}', "[" * 100_000):
        with pytest.raises(PbxError):
            rows_of(wrong)


def test_calls_are_pairs() -> None:
    rows = [{"uuid": "a", "b_uuid": "b"}, {"uuid": "c", "b_uuid": ""}]
    assert bridges_of(rows) == (Bridge("a+b", frozenset("ab")),)


def test_who_executes_a_conference_is_with_the_others_in_it_as_its_events_say() -> None:
    arguments = (
        "room@default",
        "room@wideband+1234+flags{mute}",
        "room",
        "bridge:room:user/1001",
        "other@x",
        "",
    )
    rows = [
        {"uuid": str(number), "application": "conference", "application_data": each}
        for number, each in enumerate(arguments)
    ]
    parked = {"uuid": "p", "application": "park", "application_data": "room@default"}
    assert conferences_of([*rows, parked]) == (
        Bridge("conference.room", frozenset("0123")),
        Bridge("conference.other", frozenset("4")),
    )
