"""The file API's words: what is asked, what is answered, and answers of another kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.emulator.files import check_config
from bridge.wire import filestt
from bridge.wire.filestt import State, Status, Utterance
from bridge.wire.rtzr import RtzrError


def completed(*utterances: object) -> bytes:
    return json.dumps({"status": "completed", "results": {"utterances": list(utterances)}}).encode()


def test_a_file_is_recognised_as_a_stream_is_when_nothing_is_said() -> None:
    assert json.loads(filestt.request_config({})) == {
        "model_name": "sommers",
        "language": "ko",
        "domain": "CALL",
        "use_disfluency_filter": False,
    }


def test_the_streams_options_go_into_the_file_apis_words() -> None:
    given_ = {
        "model_name": "sommers_ja",
        "domain": "MEETING",
        "use_itn": "false",
        "use_profanity_filter": "true",
        "use_disfluency_filter": "true",
        "keywords": "예약,배송:3.5",
        "epd_time": "0.5",
    }
    assert json.loads(filestt.request_config(given_)) == {
        "model_name": "sommers",
        "language": "ja",
        "domain": "GENERAL",
        "use_itn": False,
        "use_profanity_filter": True,
        "use_disfluency_filter": True,
        "keywords": ["예약", "배송:3.5"],
    }


@pytest.mark.parametrize(("language", "expected"), [(None, "ko"), ("detect", "detect")])
def test_whisper_is_told_its_language(language: str | None, expected: str) -> None:
    options = {"model_name": "whisper"} | ({"language": language} if language else {})
    config = json.loads(filestt.request_config(options))
    assert (config["model_name"], config["language"]) == ("whisper", expected)


@pytest.mark.parametrize("model", ["sommers_ko", "sommers_ja", "sommers_en", "whisper"])
def test_the_emulator_takes_what_is_asked(model: str) -> None:
    check_config(filestt.request_config({"model_name": model, "keywords": "예약"}).encode())


def test_the_id_of_a_job() -> None:
    assert filestt.parse_created(b'{"id": "aB-_3.x"}') == "aB-_3.x"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"id": 3}', b'{"id": ""}', b'{"id": "../x"}', b'{"id": "a/b"}', b'{"id": ".."}'],
)
def test_what_is_no_id_never_goes_into_an_address(body: bytes) -> None:
    with pytest.raises(RtzrError):
        filestt.parse_created(body)


@pytest.mark.parametrize("status", ["transcribing", "failed"])
def test_a_job_without_results(status: str) -> None:
    assert filestt.parse_state(json.dumps({"id": "x", "status": status}).encode()) == State(Status(status))


def test_a_completed_job_tells_its_utterances() -> None:
    body = completed({"start_at": 300, "duration": 1200, "msg": "여보세요", "spk": 0}, {"start_at": 2000})
    assert filestt.parse_state(body).utterances == (
        Utterance("여보세요", 300, 1500),
        Utterance("", 2000, 2000),
    )


def test_half_a_character_can_be_written_by_every_sink() -> None:
    (utterance,) = filestt.parse_state(completed({"start_at": 0, "duration": 1, "msg": "\ud800x"})).utterances
    assert utterance.text.encode("utf-8").decode() == "\ufffdx"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        b"{}",
        b'{"status": "done"}',
        b'{"status": ["completed"]}',
        b'{"status": "completed"}',
        b'{"status": "completed", "results": []}',
        b'{"status": "completed", "results": {"utterances": {}}}',
        completed(3),
        completed({"start_at": 0, "duration": 1, "msg": 3}),
        completed({"start_at": -1, "duration": 1, "msg": "비밀"}),
        completed({"start_at": True, "duration": 1, "msg": "비밀"}),
        b'{"status": "completed", "results": {"utterances": [{"start_at": NaN, "duration": 1}]}}',
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_kind_is_told_without_what_was_said(body: bytes) -> None:
    with pytest.raises(RtzrError) as told:
        filestt.parse_state(body)
    assert "비밀" not in str(told.value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsers(body: bytes) -> None:
    for parse in (filestt.parse_created, filestt.parse_state):
        try:
            parse(body)
        except RtzrError:
            continue


def test_what_was_said_is_in_no_repr() -> None:
    state = filestt.parse_state(completed({"start_at": 0, "duration": 1, "msg": "비밀"}))
    assert "비밀" not in repr(state) + repr(state.utterances[0])
