"""The emulated file API as a plain HTTP client sees it, and its form parser against any bytes."""

import io
import json
import wave
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.files import FileError, check_config, hear, parse_multipart
from bridge.emulator.server import Emulator, Knobs

GOOD = {"client_id": "demo", "client_secret": "demo-secret"}
CONFIG = json.dumps({"model_name": "sommers", "domain": "CALL", "keywords": ["예약", "배송:3.5"]})


def wav(pcm: bytes, rate: int = 8000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(channels)
        audio.setsampwidth(2)
        audio.setframerate(rate)
        audio.writeframes(pcm)
    return file.getvalue()


async def ask(
    rtzr: Emulator, method: str, path: str = "", bearer: str | None = None, **content: Any
) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        if bearer is None:
            token = (await client.post(rtzr.auth_url, data=GOOD)).json()["access_token"]
            bearer = f"Bearer {token}"
        headers = {"Authorization": bearer}
        return await client.request(method, rtzr.file_url + path, headers=headers, **content)


async def post(
    rtzr: Emulator, file: bytes, config: str = CONFIG, bearer: str | None = None
) -> httpx.Response:
    form = {"config": (None, config), "file": ("a.wav", file)}
    return await ask(rtzr, "POST", bearer=bearer, files=form)


async def test_a_file_is_heard_and_told_in_its_own_time() -> None:
    pcm = bytes(16 * 300) + say(SENTENCES[0]) + bytes(16 * 900) + say(SENTENCES[1])
    async with Emulator() as rtzr:
        created = await post(rtzr, wav(pcm))
        answer = await ask(rtzr, "GET", f"/{created.json()['id']}")
        assert (answer.status_code, answer.json()["status"]) == (200, "completed")
        first, second = answer.json()["results"]["utterances"]
        assert [first["msg"], second["msg"]] == list(SENTENCES[:2])
        assert first["start_at"] == pytest.approx(300, abs=6)
        assert second["start_at"] == pytest.approx(1200 + spoken_ms(SENTENCES[0]), abs=6)
        assert first["duration"] == pytest.approx(spoken_ms(SENTENCES[0]), abs=6)
        assert rtzr.files.created == 1
        assert rtzr.files.billed_s == pytest.approx(len(pcm) / 16000)


async def test_a_job_takes_its_time_and_jobs_are_limited() -> None:
    async with Emulator(Knobs(file_delay_ms=60_000, file_max_jobs=1)) as rtzr:
        created = (await post(rtzr, wav(say("예약")))).json()["id"]
        assert (await ask(rtzr, "GET", f"/{created}")).json()["status"] == "transcribing"
        refused = await post(rtzr, wav(say("예약")))
        assert (refused.status_code, refused.json()["code"]) == (429, "A0002")


async def test_a_job_that_fails_has_no_results() -> None:
    async with Emulator(Knobs(file_fail=True)) as rtzr:
        created = (await post(rtzr, wav(say("예약")))).json()["id"]
        answer = (await ask(rtzr, "GET", f"/{created}")).json()
        assert answer["status"] == "failed"
        assert "results" not in answer


async def test_a_lost_answer_leaves_a_job_that_nobody_knows() -> None:
    async with Emulator(Knobs(file_lost_answer=True)) as rtzr:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await post(rtzr, wav(say("예약")))
        assert rtzr.files.created == 1


@pytest.mark.parametrize("bearer", ["Bearer wrong", "", "Basic abc"])
async def test_nobody_gets_in_without_a_token(bearer: str) -> None:
    async with Emulator() as rtzr:
        refused = await post(rtzr, wav(b""), bearer=bearer)
        assert (refused.status_code, refused.json()["code"]) == (401, "H0002")
        assert (await ask(rtzr, "GET", "/any", bearer=bearer)).status_code == 401
        assert rtzr.files.created == 0


async def test_an_unknown_job_is_404_and_a_broken_rtzr_500() -> None:
    async with Emulator() as rtzr:
        assert (await ask(rtzr, "GET", "/unknown")).status_code == 404
        rtzr.knobs = Knobs(broken=True)
        assert (await ask(rtzr, "GET", "/unknown", bearer="Bearer x")).status_code == 500


@pytest.mark.parametrize(
    ("file", "config"),
    [
        (b"no wav", CONFIG),
        (wav(bytes(16), channels=2), CONFIG),
        (wav(b""), "no json"),
        (wav(b""), "[]"),
        (wav(b""), '{"model_name": "sommers_ko"}'),
        (wav(b""), '{"model_name": "whisper"}'),
        (wav(b""), '{"domain": "MEETING"}'),
        (wav(b""), '{"use_itn": "true"}'),
        (wav(b""), '{"keywords": "예약"}'),
        (wav(b""), '{"keywords": ["abc"]}'),
    ],
)
async def test_what_rtzr_would_not_take_is_400(file: bytes, config: str) -> None:
    async with Emulator() as rtzr:
        refused = await post(rtzr, file, config)
        assert (refused.status_code, refused.json()["code"]) == (400, "H0001")
        assert rtzr.files.created == 0


async def test_a_body_that_is_no_form_is_400() -> None:
    async with Emulator() as rtzr:
        assert (await ask(rtzr, "POST", data={"config": CONFIG})).status_code == 400
        kind = {"Content-Type": "multipart/form-data"}
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            token = (await client.post(rtzr.auth_url, data=GOOD)).json()["access_token"]
            kind["Authorization"] = f"Bearer {token}"
            assert (await client.post(rtzr.file_url, headers=kind, content=b"x")).status_code == 400


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_form_gives_back_what_was_put_in(file: bytes, config: str) -> None:
    form: list[tuple[str, tuple[str | None, str | bytes]]] = [
        ("config", (None, config)),
        ("file", ("a.wav", file)),
    ]
    request = httpx.Request("POST", "http://x", files=form)
    parts = parse_multipart(request.headers["content-type"], request.read())
    assert parts == {"config": config.encode(), "file": file}


@given(st.binary(max_size=100))
def test_no_bytes_break_the_form_parser_or_the_ear(body: bytes) -> None:
    with pytest.raises(FileError):
        parse_multipart("multipart/form-data; boundary=xyz", body)
    with pytest.raises(FileError):
        hear(body)
    with pytest.raises(FileError):
        check_config(b"\xff" + body)
