"""RTZR's messages: the documented ones, the deviations seen in the wild, and anything else at all."""

import json
import math
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec
from bridge.wire import rtzr
from bridge.wire.rtzr import Result, RtzrError, SpokenWord, Verdict

FINAL = (
    '{"seq":0,"start_at":1200,"duration":2400,"final":true,"alternatives":[{"text":"이번 역은 군자역입니다.",'
    '"confidence":0.91,"words":[{"text":"이번|","start_at":0,"duration":300,"confidence":0.9},'
    '{"text":"군자역입니다","start_at":850,"duration":600,"confidence":0.8}]}]}'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def test_a_partial() -> None:
    message = (
        '{"seq":0,"start_at":1200,"duration":0,"final":false,'
        '"alternatives":[{"text":"이번 역은","confidence":0.71}]}'
    )
    assert rtzr.parse(message) == Result(0, 1200, 1200, final=False, text="이번 역은")


def test_a_final_whose_words_count_from_its_sentence() -> None:
    words = (SpokenWord("이번", 1200, 1500, 0.9), SpokenWord("군자역입니다", 2050, 2650, 0.8))
    expected = Result(0, 1200, 3600, final=True, text="이번 역은 군자역입니다.", words=words)
    assert rtzr.parse(FINAL) == rtzr.parse(FINAL.encode()) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            '{"seq":1,"start_at":0,"duration":100,"final":false,"alternatives":[{"text":"노원","confidence":0.5}]}',
            Result(1, 0, 100, final=False, text="노원"),
        ),
        (
            '{"seq":0,"start_at":0,"duration":20000,"final":true,"alternatives":[{"text":"","confidence":0.0}]}',
            Result(0, 0, 20000, final=True, text=""),
        ),
        (
            '{"seq":3,"start_at":10,"duration":5,"final":true,"alternatives":[]}',
            Result(3, 10, 15, final=True, text=""),
        ),
        ('{"seq":3,"start_at":10,"duration":5,"final":true}', Result(3, 10, 15, final=True, text="")),
        (
            '{"seq":0,"final":true,"alternatives":[{"text":"네","words":null}],"new":{}}',
            Result(0, 0, 0, True, "네"),
        ),
    ],
    ids=["partial with a duration", "empty final", "no alternative", "no list", "null words, unknown key"],
)
def test_what_was_seen_in_the_wild(message: str, expected: Result) -> None:
    assert rtzr.parse(message) == expected


def test_cut_anywhere_is_refused() -> None:
    message = FINAL.encode()
    for end in range(len(message)):
        with pytest.raises(RtzrError):
            rtzr.parse(message[:end])


@pytest.mark.parametrize(
    "message",
    [
        "[" * 100_000,
        '{"final":true,"x":"' + "x" * (1 << 20) + '"}',
        "[]",
        '"EOS"',
        '{"error":"x"}',
        '{"final":"true"}',
        '{"final":1}',
        '{"final":true,"start_at":-1}',
        '{"final":true,"start_at":true}',
        '{"final":true,"start_at":"12"}',
        '{"final":true,"seq":1e400}',
        '{"final":true,"seq":NaN}',
        '{"final":true,"seq":' + "9" * 400 + "}",
        '{"final":true,"alternatives":{}}',
        '{"final":true,"alternatives":["x"]}',
        '{"final":true,"alternatives":[{"text":1}]}',
        '{"final":true,"alternatives":[{"words":[{"confidence":"high"}]}]}',
        '{"final":true,"alternatives":[{"words":[{"confidence":NaN}]}]}',
        '{"final":true,"alternatives":[{"words":[{"confidence":-Infinity}]}]}',
        '{"final":true,"alternatives":[{"words":[{"confidence":' + "9" * 400 + "}]}]}",
        b"\xff\xfe\x00\xd8",
    ],
    ids=lambda message: message[:40] if isinstance(message, str) else "bytes",
)
def test_what_is_no_result_is_refused(message: str | bytes) -> None:
    with pytest.raises(RtzrError):
        rtzr.parse(message)


@given(st.text() | st.binary())
def test_noise_is_refused(noise: str | bytes) -> None:
    with pytest.raises(RtzrError):
        rtzr.parse(noise)


@given(st.data())
def test_a_spoilt_result_is_read_or_refused(data: st.DataObject) -> None:
    spoilt: Any = json.loads(FINAL)
    place = spoilt
    while True:
        keys = range(len(place)) if isinstance(place, list) else sorted(place)
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    with suppress(RtzrError):
        result = rtzr.parse(json.dumps(spoilt))
        result.text.encode()  # a sink can write it
        assert all(math.isfinite(word.confidence) and word.text.encode() is not None for word in result.words)
        assert 0 <= result.start_ms <= result.end_ms


def test_half_a_surrogate_pair_does_not_reach_the_sinks() -> None:
    """JSON can say it, UTF-8 cannot: written as it is it would be an exception in whatever writes."""
    assert rtzr.parse(r'{"final":true,"alternatives":[{"text":"네\ud800 네"}]}').text == "네\ufffd 네"


def test_no_message_shows_in_an_exception_or_a_repr() -> None:
    assert "군자역" not in repr(rtzr.parse(FINAL))
    for spoilt in (FINAL[:-1], FINAL.replace("true", "0"), FINAL.replace("1200", '"1200"')):
        with pytest.raises(RtzrError) as refused:
            rtzr.parse(spoilt)
        assert "군자역" not in str(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


# Addresses.


@pytest.mark.parametrize("codec", Codec)
def test_the_address_says_what_the_audio_is(codec: Codec) -> None:
    query = parse_qs(urlsplit(rtzr.stream_url("wss://rtzr/v1/transcribe:streaming", codec, {})).query)
    assert query == {"sample_rate": [str(codec.rate)], "encoding": [codec.rtzr]}


def test_hangul_keywords_are_percent_encoded() -> None:
    url = rtzr.stream_url("wss://rtzr/x", Codec.ULAW, {"keywords": "부스팅,리턴제로:3.5"})
    assert url.isascii()
    assert "keywords=%EB%B6%80%EC%8A%A4%ED%8C%85%2C%EB%A6%AC%ED%84%B4%EC%A0%9C%EB%A1%9C%3A3.5" in url


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=4))
def test_options_survive_the_address(options: dict[str, str]) -> None:
    options = {name: value for name, value in options.items() if name not in ("sample_rate", "encoding")}
    query = parse_qs(
        urlsplit(rtzr.stream_url("wss://rtzr/x", Codec.ULAW, options)).query, keep_blank_values=True
    )
    assert {name: values for name, values in query.items() if name not in ("sample_rate", "encoding")} == {
        name: [value] for name, value in options.items()
    }


# Tokens and refusals.


def test_a_token() -> None:
    token = rtzr.parse_token(b'{"access_token":"a.b.c","expire_at":1690377931,"more":1}')
    assert (token.value, token.expires_at) == ("a.b.c", 1690377931)
    assert "a.b.c" not in repr(token)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b'{"access_token":"a"}',
        b'{"expire_at":1}',
        b'{"access_token":1,"expire_at":1}',
        b'{"access_token":"","expire_at":1}',
        '{"access_token":"토큰","expire_at":1}'.encode(),
        b'{"access_token":"a\\r\\nHost: evil","expire_at":1}',
        b'{"access_token":"a b","expire_at":1}',
        b'{"access_token":"a","expire_at":true}',
        b'{"access_token":"a","expire_at":"1"}',
        b'{"access_token":"a","expire_at":NaN}',
        b'{"access_token":"a","expire_at":-1}',
        b'{"access_token":"a","expire_at":1e300}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_what_is_no_token_is_refused(body: bytes) -> None:
    with pytest.raises(RtzrError):
        rtzr.parse_token(body)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_noise_is_no_token(noise: bytes) -> None:
    with pytest.raises(RtzrError):
        rtzr.parse_token(noise)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.FATAL),
        (401, Verdict.RENEW),
        (403, Verdict.FATAL),
        (404, Verdict.FATAL),
        (302, Verdict.FATAL),
        (408, Verdict.WAIT),
        (429, Verdict.WAIT),
        (500, Verdict.WAIT),
        (502, Verdict.WAIT),
        (503, Verdict.WAIT),
        (200, Verdict.WAIT),
    ],
)
def test_refusals_are_told_apart(status: int, verdict: Verdict) -> None:
    assert rtzr.refusal(status, b"").verdict is verdict


def test_a_refusal_says_why_in_one_short_line() -> None:
    refused = rtzr.refusal(429, b'{"code":"A0002","msg":"Too many\\nconcurrent requests' + b"!" * 500 + b'"}')
    assert refused.code == "A0002"
    assert str(refused).startswith("RTZR answered 429 A0002 Too manyconcurrent requests!")
    assert len(str(refused)) < 200


@given(st.integers(100, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_makes_a_refusal(status: int, body: bytes) -> None:
    refused = rtzr.refusal(status, body)
    assert str(refused).isprintable()
    assert len(str(refused)) < 200
