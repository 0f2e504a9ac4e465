"""bridge/wire/eventlog.py: what an administrator recorded, whole, cut and spoilt."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.eventlog import EventLogError, Kind, Row, read
from bridge.wire.pbxevents import ChannelUserevent

CAPTURES = Path(__file__).parents[1] / "captures" / "asterisk"
EVENTS: list[dict[str, Any]] = json.loads((CAPTURES / "events.json").read_text())
AMI = (CAPTURES / "ami.txt").read_bytes().decode()


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def test_an_object_a_line_and_one_list_tell_the_same() -> None:
    one_list = read(lines_of((CAPTURES / "events.json").read_text()))
    objects = read([json.dumps(event) + "\r\n" for event in EVENTS])
    assert (one_list.kind, one_list.unread, objects.unread) == (Kind.ARI, (), ())
    assert one_list.told == objects.told
    assert len(one_list.told) > 50


def freeswitch_events() -> list[str]:
    file = CAPTURES.parent / "freeswitch" / "call-20-rejected-486.jsonl"
    found = (json.loads(line).get("event") for line in file.read_text(encoding="utf-8").splitlines())
    return [json.dumps(event) for event in found if event is not None]


def test_freeswitchs_events_are_read_a_line_each_and_as_the_socket_has_them() -> None:
    """There the next message's header begins behind the brace that ends an event."""
    lines = freeswitch_events()
    log = read(lines, frozenset({"sip_term_status"}))
    assert (log.kind, log.kind.pbx, log.unread) == (Kind.ESL, "freeswitch", ())
    names = [type(one.event).__name__ for one in log.told]
    assert names[:3] == ["ChannelCreated", "ChannelCreated", "Dial"]
    assert names.count("ChannelDestroyed") == 2
    header = "Content-Length: 9\nContent-Type: text/event-json\n\n"
    socket = read(lines_of(header + header.join(lines)), frozenset({"sip_term_status"}))
    assert socket.told == log.told


@given(st.data())
def test_a_log_of_freeswitchs_that_is_cut_or_spoilt_is_read_as_far_as_it_can_be(data: st.DataObject) -> None:
    lines = freeswitch_events()
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(1, len(lines[number]) - 1))
    lines[number] = lines[number][:place] + data.draw(st.text(max_size=9))
    log = read([*freeswitch_events()[:1], *lines])
    assert len(log.unread) <= 2
    assert log.told


def test_messages_of_the_manager_interface_come_with_the_linkedids() -> None:
    log = read(lines_of(AMI))
    assert (log.kind, log.unread) == (Kind.AMI, ())
    ((event, linkedids),) = [
        (one.event, one.linkedids) for one in log.told if isinstance(one.event, ChannelUserevent)
    ]
    assert event.channel is not None
    assert linkedids == {event.channel.id: event.fields["Call"].partition("/")[0]}
    assert len(read(lines_of(AMI.replace("\r\n", "\n"))).told) == len(log.told)


def test_the_time_is_the_pbxs_where_it_tells_it() -> None:
    message = "Event: Newchannel\nTimestamp: 1795531199.25\nChannel: PJSIP/a-1\nUniqueid: 1.1\n"
    (told,) = read(lines_of(message)).told
    assert told.event.at == 1795531199.25
    (told,) = read(lines_of(message.replace("1795531199.25", "noon"))).told
    assert told.event.at == 0


def test_what_cannot_be_read_is_told_with_its_place_and_stops_nothing() -> None:
    good = [json.dumps(event) for event in EVENTS]
    spoilt = read([good[0], "{half a", "", '{"type": "Dial"}', *good[1:]])
    assert [(one.place, one.why) for one in spoilt.unread] == [
        ("line 2", "is no event of ARI: not JSON"),
        ("line 4", "is no event of ARI: timestamp is not a text"),
    ]
    assert spoilt.told == read(good).told
    spoilt = read(lines_of("Asterisk Call Manager/11.0.0\nnoise\n\nEvent: Newchannel\nContext: x\n\n" + AMI))
    assert [(one.place, one.why) for one in spoilt.unread] == [
        ("line 2", "is no 'Header: value' of AMI"),
        ("line 4", "is no whole event of AMI: Newchannel has no Uniqueid"),
    ]
    assert spoilt.told == read(lines_of(AMI)).told


def test_a_cdr_tells_of_each_call_once() -> None:
    row = '"","010","1588","from-trunk","","PJSIP/t-1","PJSIP/9-2","Queue","sales,,,30","then","","",'
    row += '"9","5","ANSWERED","DOCUMENTATION","{unique}",""'
    linked = row.format(unique="1.1") + ',"","{linked}","1"'
    log = read([row.format(unique="1.1"), row.format(unique="1.1"), "a,b", row.format(unique="1.5")])
    assert log.rows == tuple(
        Row(call, "then", "from-trunk", "1588", "010", "PJSIP/t-1", "sales") for call in ("1.1", "1.5")
    )
    assert [(one.place, one.why) for one in log.unread] == [
        ("line 3", "has 2 columns, and a CDR row 16 to 21")
    ]
    assert [one.call for one in read([linked.format(linked="0.9"), linked.format(linked="0.9")]).rows] == [
        "0.9"
    ]
    short = ",".join(row.split(",")[:-2])
    assert [one.call for one in read([short]).rows] == ["line 1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has neither"),
        ("hello\n[1] a\n", "has neither"),
        ("[\n{,\n]", "is no JSON (line 2)"),
        ("[" * 100_000, "has neither"),
        ("[\n" + "[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_log_is_said(text: str, told: str) -> None:
    with pytest.raises(EventLogError) as error:
        read(lines_of(text))
    assert told in str(error.value)


@given(st.lists(st.sampled_from(["Event: ", '{"type": ', "[{", '"a",', "Newchannel", ":", "\n", "9"])))
def test_nothing_else_is_ever_raised(parts: list[str]) -> None:
    with suppress(EventLogError):
        read(lines_of("".join(parts)))
