"""Every parameter of a dial: what RTZR's document allows, and what it refuses."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.emulator.query import Encoding, Keyword, QueryError, StreamQuery, parse

LEAST = {"sample_rate": "8000", "encoding": "LINEAR16"}


def query(**given_: str) -> StreamQuery:
    return parse((LEAST | given_).items())


def test_defaults_are_rtzrs() -> None:
    assert query() == StreamQuery(8000, Encoding.LINEAR16)
    assert (query().epd_time, query().max_utter_duration, query().domain) == (0.5, 12, "CALL")


def test_everything_given() -> None:
    got = query(
        sample_rate="16000",
        encoding="MULAW",
        model_name="sommers_ko",
        domain="MEETING",
        use_itn="false",
        use_disfluency_filter="true",
        use_profanity_filter="true",
        use_punctuation="true",
        keywords="부스팅,리턴 제로:3.5,가나:-5",
        epd_time="0.8",
        max_utter_duration="5",
        noise_threshold="0.6",
        active_threshold="0.80",
        acoustic_scale="1.2",
        never_heard_of="x",
    )
    assert got == StreamQuery(
        16000,
        Encoding.MULAW,
        domain="MEETING",
        use_itn=False,
        use_disfluency_filter=True,
        use_profanity_filter=True,
        use_punctuation=True,
        keywords=(Keyword("부스팅", 2.0), Keyword("리턴 제로", 3.5), Keyword("가나", -5.0)),
        epd_time=0.8,
        max_utter_duration=5,
        noise_threshold=0.6,
        active_threshold=0.8,
        acoustic_scale=1.2,
    )


@pytest.mark.parametrize("name", ["sample_rate", "encoding"])
def test_what_is_required(name: str) -> None:
    with pytest.raises(QueryError, match=f"^{name} is required$"):
        parse((key, value) for key, value in LEAST.items() if key != name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("sample_rate", value)
            for value in ("7999", "48001", "8000.0", "", "8k", "-8000", "８０００", "8_000")
        ],
        *[("encoding", value) for value in ("OPUS", "WAV", "linear16", "")],
        *[("encoding", value) for value in ("FLAC", "AMR", "AMR_WB", "OGG_OPUS")],
        *[("model_name", value) for value in ("", "sommers", "SOMMERS_KO")],
        ("model_name", "whisper"),
        ("domain", "call"),
        *[(name, "True") for name in ("use_itn", "use_punctuation")],
        *[(name, "1") for name in ("use_disfluency_filter", "use_profanity_filter")],
        *[("keywords", value) for value in ("brand", "부스팅,", "부스팅:5.1", "부스팅:-5.1", "부스팅:", " ")],
        *[("keywords", value) for value in ("부스팅:nan", "부스팅2", "가" * 21, ",".join(["가"] * 101))],
        *[("epd_time", value) for value in ("0", "-1", "nan", "inf", "", "0,5", "1e1")],
        *[("max_utter_duration", value) for value in ("0", "-3", "1.5", "")],
        *[("noise_threshold", value) for value in ("-0.1", "1.1", "x")],
        ("active_threshold", "2"),
        ("acoustic_scale", "0"),
        ("language", "한국어"),
    ],
)
def test_what_is_refused_names_the_parameter(name: str, value: str) -> None:
    with pytest.raises(QueryError) as refused:
        query(**{name: value})
    assert any(part in str(refused.value) for part in (name.rstrip("s"), "language", "sample_rate"))


@pytest.mark.parametrize(
    ("encoding", "rate", "says"),
    [
        ("AMR", "8000", "cannot decode"),
        ("AMR", "16000", "one of 8000"),
        ("AMR_WB", "8000", "one of 16000"),
        ("AMR_WB", "16000", "cannot decode"),
        ("OGG_OPUS", "44100", "8000, 12000, 16000, 24000, 48000"),
        ("OGG_OPUS", "48000", "cannot decode"),
        ("FLAC", "44100", "cannot decode"),
    ],
)
def test_rates_of_encodings_it_cannot_hear(encoding: str, rate: str, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        query(encoding=encoding, sample_rate=rate)


@pytest.mark.parametrize("model", ["sommers_ko", "whisper"])
def test_models_that_take_keywords(model: str) -> None:
    got = query(model_name=model, language="ko", keywords="부스팅")
    assert got.keywords == (Keyword("부스팅", 2.0),)


@pytest.mark.parametrize(
    ("model", "language"), [("whisper", "en"), ("sommers_ja", "ko"), ("sommers_en", "ko")]
)
def test_models_that_take_none(model: str, language: str) -> None:
    with pytest.raises(QueryError, match=f"^keywords are not supported by {model}$"):
        query(model_name=model, language=language, keywords="부스팅")


def test_a_keyword_stays_out_of_the_message() -> None:
    with pytest.raises(QueryError) as refused:
        query(keywords="김철수7")
    assert "김철수" not in str(refused.value)


def test_a_hundred_keywords_of_twenty_characters_and_both_ends_of_the_score() -> None:
    words = ",".join(["가" * 20 + ":5", "나:-5.0", *["다"] * 98])
    assert len(query(keywords=words).keywords) == 100


@given(
    st.lists(st.tuples(st.sampled_from([*LEAST, "keywords", "epd_time", "language"]), st.text(max_size=9)))
)
def test_any_values_raise_only_its_own_error(items: list[tuple[str, str]]) -> None:
    with suppress(QueryError):
        parse([*LEAST.items(), *items])
