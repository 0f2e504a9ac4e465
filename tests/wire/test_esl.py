"""bridge/wire/esl.py: recorded streams cut anywhere, EslError for the rest, and commands that stay one."""

import json
from collections.abc import Callable, Iterable
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import esl
from bridge.wire.esl import EslError, EslEvent, Message, Reader, event_of
from tests.esl import OUTBOUND, STREAMS

LOGIN = b"Content-Type: auth/request\n\n"
NAMED = pytest.mark.parametrize("name", STREAMS)


def fed(chunks: Iterable[bytes]) -> list[Message]:
    reader = Reader()
    return [message for chunk in chunks for message in reader.feed(chunk)]


def whole(name: str) -> list[Message]:
    return fed([STREAMS[name]])


def events(name: str) -> list[EslEvent]:
    return [event_of(one) for one in whole(name) if one.kind in (esl.EVENT_JSON, esl.EVENT_PLAIN)]


def as_json(body: str | bytes) -> EslEvent:
    return event_of(Message(esl.EVENT_JSON, {}, body if isinstance(body, bytes) else body.encode()))


def as_plain(body: str | bytes) -> EslEvent:
    return event_of(Message(esl.EVENT_PLAIN, {}, body if isinstance(body, bytes) else body.encode()))


# What was recorded.


def test_what_a_login_looks_like() -> None:
    kinds = [(one.kind, one.headers.get("Reply-Text", "")) for one in whole("wrong password")]
    assert kinds == [
        ("auth/request", ""),
        ("command/reply", "-ERR invalid"),
        ("text/disconnect-notice", ""),
    ]
    assert whole("wrong password")[-1].body.startswith(b"Disconnected, goodbye.\n")
    assert [esl.refusal(one) for one in whole("no login")] == [None, "-ERR command not found"]


def test_every_message_of_an_inbound_connection_is_there() -> None:
    kinds = [one.kind for one in whole("inbound")]
    assert len(kinds) == 28
    assert [kinds.count(kind) for kind in (esl.COMMAND_REPLY, esl.API_RESPONSE, esl.EVENT_JSON)] == [16, 4, 2]
    assert [kinds.count(kind) for kind in (esl.EVENT_PLAIN, "text/event-xml")] == [1, 3]
    version = next(one for one in whole("inbound") if one.kind == esl.API_RESPONSE)
    assert version.reply.startswith("FreeSWITCH Version 1.10.12-release+git~")


def test_what_was_refused_in_the_recording() -> None:
    refused = [why for one in whole("inbound") if (why := esl.refusal(one)) is not None]
    assert refused == [
        "-ERR command not found",
        "-ERR nosuchapi Command not found!",
        "-ERR not controlling a session",
        "-ERR no keywords supplied",
    ]


def test_a_plain_event_is_decoded() -> None:
    created, *_ = events("inbound")
    assert (created.name, created.subclass, created.body) == ("CHANNEL_CREATE", "", "")
    assert created.headers["Event-Date-GMT"] == "Sun, 22 Nov 2026 11:03:13 GMT"
    assert created.headers["FreeSWITCH-IPv6"] == "fd00::2"
    assert created.headers["Caller-Callee-ID-Name"] == "Outbound Call"
    assert created.headers["variable_loopback_leg"] == "A"


def test_a_json_event_has_the_first_of_a_repeated_header() -> None:
    completed = events("inbound")[1]
    assert completed.name == "CHANNEL_HANGUP_COMPLETE"
    assert completed.headers["Hangup-Cause"] == "NORMAL_CLEARING"
    assert completed.headers["Event-Date-GMT"] == "Sun, 22 Nov 2026 11:03:15 GMT"


@pytest.mark.parametrize("name", OUTBOUND)
def test_the_answer_to_an_outbound_connect_is_decoded(name: str) -> None:
    channel, *_ = whole(name)
    assert channel.kind == esl.COMMAND_REPLY
    assert channel.reply == "+OK\n"
    assert channel.headers["Event-Name"] == "CHANNEL_DATA"
    assert channel.headers["Event-Date-GMT"].startswith("Sun, 22 Nov 2026 11:03:")
    assert whole(name)[1].reply == "+OK Events Enabled"


@pytest.mark.parametrize("name", OUTBOUND)
def test_every_json_event_of_an_outbound_connection_is_read(name: str) -> None:
    read = events(name)
    assert [one.name for one in read[:3]] == ["CHANNEL_EXECUTE", "CHANNEL_ANSWER", "CHANNEL_EXECUTE_COMPLETE"]
    assert "CHANNEL_HANGUP" in [one.name for one in read]
    assert all(len(one.headers["Unique-ID"]) == 36 for one in read)


# Cut anywhere.


@NAMED
def test_byte_by_byte(name: str) -> None:
    stream = STREAMS[name]
    assert fed(stream[at : at + 1] for at in range(len(stream))) == whole(name)


@NAMED
def test_cut_in_two_at_every_byte(name: str) -> None:
    """Each message with the one after it, for the price of a few."""
    stream, wanted, reader = STREAMS[name], whole(name), Reader()
    ends = [at + 1 for at in range(len(stream)) if reader.feed(stream[at : at + 1])]
    bounds = [0, *ends, ends[-1]]
    for number, (start, end, after) in enumerate(zip(bounds, bounds[1:], bounds[2:], strict=False)):
        for cut in range(start, end + 1):
            assert fed([stream[start:cut], stream[cut:after]]) == wanted[number : number + 2]


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(1, 8000), min_size=1, max_size=40))
def test_cut_at_random(name: str, sizes: list[int]) -> None:
    stream, chunks, at = STREAMS[name], list[bytes](), 0
    for size in chain(sizes, [len(stream)]):
        chunks.append(stream[at : at + size])
        at += size
    assert fed(chunks) == whole(name)


@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([b"\n\n", b"Content-Length: ", LOGIN]), max_size=12)
)
def test_whatever_comes_is_a_message_or_an_eslerror_however_it_is_cut(chunks: list[bytes]) -> None:
    def outcome(pieces: Iterable[bytes]) -> tuple[list[Message], bool]:
        reader, found = Reader(), []
        for piece in pieces:
            try:
                found += reader.feed(piece)
            except EslError as error:
                return [*found, *error.before], True
        return found, False

    joined = b"".join(chunks)
    assert outcome([joined]) == outcome(chunks) == outcome(bytes([one]) for one in joined)


def test_empty_lines_between_messages_are_nothing() -> None:
    assert [one.kind for one in fed([b"\n\n\n", LOGIN, b"\n", LOGIN])] == ["auth/request"] * 2


def test_what_is_no_utf8_is_read_all_the_same() -> None:
    (one,) = fed([b"Content-Type: command/reply\nReply-Text: +OK \xff\xfe\n\n"])
    assert one.reply == "+OK \ufffd\ufffd"
    assert Message(esl.API_RESPONSE, {}, b"\xff").reply == "\ufffd"


def test_a_plus_and_a_percent_of_a_reply_are_what_they_are() -> None:
    (one,) = fed([b"Content-Type: command/reply\nReply-Text: +OK %41\n\n"])
    assert one.reply == "+OK %41"


def test_the_first_of_a_repeated_header_counts() -> None:
    (one,) = fed([b"Content-Type: a\nContent-Length: 1\nContent-Type: b\nContent-Length: 3\n\nx"])
    assert (one.kind, one.body) == ("a", b"x")


# What is not ESL.


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\n\n",
        b"Content-Length: 3\n\nabc",
        b"Content-Type:\n\n",
        b"Content-Type: a\nContent-Length: -1\n\n",
        b"Content-Type: a\nContent-Length: 1e3\n\n",
        b"Content-Type: a\nContent-Length: 0x10\n\n",
        b"Content-Type: a\nContent-Length:\n\n",
        "Content-Type: a\nContent-Length: ٣\n\n".encode(),
        b"Content-Type: a\nContent-Length: 16777217\n\n",
        b"Content-Type: a\nContent-Length: " + b"9" * 5000 + b"\n\n",
        b"x" * (esl.MOST_HEADERS + 2),
        b"Content-Type: a\nx: " + b"x" * esl.MOST_HEADERS + b"\n\n",
    ],
)
def test_garbage_is_refused_once_and_for_good(garbage: bytes) -> None:
    reader = Reader()
    with pytest.raises(EslError) as first:
        reader.feed(LOGIN + garbage + LOGIN)
    assert [one.kind for one in first.value.before] == ["auth/request"]
    with pytest.raises(EslError, match=str(first.value)) as again:
        reader.feed(LOGIN)
    assert again.value.before == ()


def test_the_longest_header_lines_and_the_longest_body_are_taken() -> None:
    block = b"Content-Type: a\nx: "
    block += b"x" * (esl.MOST_HEADERS - len(block))
    (one,) = fed([block, b"\n", b"\n"])
    assert len(one.headers["x"]) == esl.MOST_HEADERS - len(b"Content-Type: a\nx: ")
    with pytest.raises(EslError):
        fed([block + b"x", b"\n", b"\n"])
    (one,) = fed([b"Content-Type: a\nContent-Length: 0016777216\n\n", bytes(esl.MOST_BODY)])
    assert len(one.body) == esl.MOST_BODY


# Events.


def test_a_body_of_a_json_event() -> None:
    event = as_json('{"Event-Name":"CUSTOM","Event-Subclass":"a::json","_body":"한국어 \\"x\\""}')
    assert event == EslEvent("CUSTOM", "a::json", event.headers, '한국어 "x"')
    assert "_body" not in event.headers


def test_a_body_of_a_plain_event_has_a_length_of_its_own() -> None:
    body = "둘째\n\n줄".encode()
    event = as_plain(b"Event-Name: CUSTOM\nContent-Length: %d\n\n" % len(body) + body + b"more")
    assert event.body == "둘째\n\n줄"
    assert as_plain("Event-Name: A\n\n").body == ""
    with pytest.raises(EslError, match="4 of 5 bytes"):
        as_plain("Event-Name: A\nContent-Length: 5\n\nabcd")


def test_values_of_a_plain_event_are_decoded_and_of_a_json_event_not() -> None:
    assert as_plain("Event-Name: A\nx: %ED%95%9C+%0A%41 b\ny: %ff%zz").headers["x"] == "한+\nA b"
    assert as_plain("Event-Name: A\ny: %ff%zz").headers["y"] == "\ufffd%zz"
    assert as_json('{"Event-Name":"A","x":"%41"}').headers["x"] == "%41"


def test_the_first_of_repeated_names_counts_in_both_formats() -> None:
    assert as_json('{"Event-Name":"A","x":"1","y":"2","x":"3"}').headers["x"] == "1"
    assert as_plain("Event-Name: A\nx: 1\nx: 3").headers["x"] == "1"


def test_several_values_of_a_variable_are_one_text_in_both_formats() -> None:
    listed = as_json('{"Event-Name":"A","variable_DP_MATCH":["2000","2001",7,{}]}')
    assert listed.headers["variable_DP_MATCH"] == "ARRAY::2000|:2001|:7"
    plain = as_plain("Event-Name: A\nvariable_DP_MATCH: ARRAY%3A%3A2000%7C%3A2001%7C%3A7")
    assert plain.headers == listed.headers


def test_values_that_are_no_strings_are_made_some_or_dropped() -> None:
    text = '{"Event-Name":"A","n":12,"f":-1.50,"t":true,"o":{"a":1},"z":null,"i":NaN,"_body":3}'
    event = as_json(text)
    assert event.headers == {"Event-Name": "A", "n": "12", "f": "-1.50", "i": "NaN"}
    assert event.body == "3"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '"Event-Name"',
        "{}",
        '{"Event-Name":""}',
        '{"Event-Name":null}',
        '{"Event-Name":"A"',
        '{"Event-Name":"A"} {}',
        '{"a":' * 100_000,
        "[" * 500_000,
        '{"Event-Name":"A","x":"' + "x" * esl.MOST_EVENT + '"}',
    ],
)
def test_a_json_event_that_cannot_be_read_is_an_eslerror(body: str) -> None:
    with pytest.raises(EslError):
        as_json(body)


def test_a_number_of_many_digits_costs_nothing() -> None:
    assert len(as_json('{"Event-Name":"A","n":' + "9" * 100_000 + "}").headers["n"]) == 100_000


def test_what_is_no_text_in_an_event_can_be_sent_on() -> None:
    half = as_json('{"Event-Name":"A","x":"a\\ud83d","y":"\\ud83d\\ude00","z\\uDC00":"1"}')
    assert half.headers == {"Event-Name": "A", "x": "a\ufffd", "y": "😀", "z\ufffd": "1"}
    assert as_json(b'{"Event-Name":"A","x":"\xff\n"}').headers["x"] == "\ufffd\n"
    json.dumps(dict(half.headers), ensure_ascii=False).encode()


def test_other_messages_are_no_events() -> None:
    for kind in ("text/event-xml", "log/data", esl.COMMAND_REPLY):
        with pytest.raises(EslError):
            event_of(Message(kind, {"Event-Name": "A"}, b"Event-Name: A\n\n"))


@given(st.binary(max_size=300), st.sampled_from([esl.EVENT_JSON, esl.EVENT_PLAIN]))
def test_an_event_of_any_bytes_is_read_or_an_eslerror(body: bytes, kind: str) -> None:
    try:
        event = event_of(Message(kind, {}, body))
    except EslError:
        return
    assert all(isinstance(value, str) for value in event.headers.values())


VALUES = st.none() | st.floats() | st.text(max_size=20) | st.lists(st.text(max_size=5) | st.booleans())


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=6))
def test_any_json_object_with_a_name_is_an_event(found: dict[str, object]) -> None:
    event = as_json(json.dumps({**found, "Event-Name": "A"}))
    for text in (*event.headers, *event.headers.values(), event.body):
        text.encode()


def test_nothing_that_was_said_shows_where_things_are_printed() -> None:
    event = as_json('{"Event-Name":"A","Caller-Caller-ID-Number":"01012345678","_body":"01012345678"}')
    message = Message(esl.EVENT_JSON, {"x": "01012345678"}, b"01012345678")
    assert "0101234" not in f"{event!r} {message!r}"


# Commands.


def test_commands_as_they_are_written() -> None:
    assert esl.auth("Clue Con한") == "auth Clue Con한\n\n".encode()
    assert esl.subscribe(["CHANNEL_CREATE", "HEARTBEAT"], ["a::b", "c::d"]) == (
        b"event json CHANNEL_CREATE HEARTBEAT CUSTOM a::b c::d\n\n"
    )
    assert esl.subscribe(["CHANNEL_CREATE"]) == b"event json CHANNEL_CREATE\n\n"
    assert esl.subscribe([], ["a::b"]) == b"event json CUSTOM a::b\n\n"
    assert esl.api("version") == b"api version\n\n"
    assert esl.api("uuid_setvar", "u", "name", "a b  c") == b"api uuid_setvar u name a b  c\n\n"
    assert esl.api("show channels as json") == b"api show channels as json\n\n"
    assert esl.api("uuid_setvar", "u", "name", "") == b"api uuid_setvar u name \n\n"


def test_an_event_as_it_is_sent() -> None:
    body = '{"text": "네\n알겠습니다"}'
    data = esl.sendevent("rtzr::transcript", {"RTZR-Call": "a", "RTZR-Final": "true"}, body)
    head, _, rest = data.partition(b"\n\n")
    assert head.decode().split("\n") == [
        "sendevent CUSTOM",
        "Event-Subclass: rtzr::transcript",
        "RTZR-Call: a",
        "RTZR-Final: true",
        f"Content-Length: {len(body.encode())}",
    ]
    assert rest == body.encode()
    assert esl.sendevent("a::b", {}) == b"sendevent CUSTOM\nEvent-Subclass: a::b\n\n"


@pytest.mark.parametrize("sign", ["\r", "\n", "\0"])
def test_what_would_be_a_second_command_is_refused_and_not_repeated(sign: str) -> None:
    bad = f"secret{sign}api shutdown"
    writes: tuple[Callable[[], bytes], ...] = (
        lambda: esl.auth(bad),
        lambda: esl.subscribe([bad.replace(" ", "")]),
        lambda: esl.subscribe([], [bad.replace(" ", "")]),
        lambda: esl.api(bad),
        lambda: esl.api("a", bad),
        lambda: esl.api("a", bad.replace(" ", ""), "b"),
        lambda: esl.sendevent(bad.replace(" ", ""), {}),
        lambda: esl.sendevent("a::b", {bad: "x"}),
        lambda: esl.sendevent("a::b", {"x": bad}),
    )
    for write in writes:
        with pytest.raises(EslError) as refused:
            write()
        assert "secret" not in str(refused.value)


def test_other_values_that_would_mean_something_else_are_refused() -> None:
    writes: tuple[Callable[[], bytes], ...] = (
        lambda: esl.auth(""),
        lambda: esl.subscribe([]),
        lambda: esl.subscribe(["A", "CUSTOM", "B"]),
        lambda: esl.subscribe(["A B"]),
        lambda: esl.api("uuid_kill", "a b", "c"),
        lambda: esl.api("uuid_kill", "", "c"),
        lambda: esl.sendevent("", {}),
        lambda: esl.sendevent("a::b", {"a: b": "x"}),
        lambda: esl.sendevent("a::b", {"": "x"}),
        lambda: esl.sendevent("a::b", {"content-LENGTH": "5"}),
        lambda: esl.sendevent("a::b", {"Unique-ID": "x"}),
        lambda: esl.sendevent("a::b", {}, "a\0b"),
        lambda: esl.sendevent("a::b", {}, "x" * (1 << 20)),
    )
    for write in writes:
        with pytest.raises(EslError):
            write()


def test_half_a_letter_is_sent_as_something_else() -> None:
    assert esl.api("say", "a\ud83d") == b"api say a?\n\n"


def test_a_refusal_is_short_and_one_line() -> None:
    said = Message(esl.API_RESPONSE, {}, b"-USAGE: <uuid>\n" + b"x" * 500)
    assert esl.refusal(said) == ("-USAGE: <uuid> " + "x" * 500)[:200]
    assert esl.refusal(Message(esl.API_RESPONSE, {}, b"+OK -ERR\n")) is None
    assert esl.refusal(Message(esl.API_RESPONSE, {}, b"")) is None
