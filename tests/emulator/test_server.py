"""The emulator's wire behaviour, as a second, independent client sees it: plain httpx and websockets."""

import asyncio
import json
import logging
import signal
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.server import Emulator, Knobs, serve

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

GOOD = {"client_id": "demo", "client_secret": "demo-secret"}
LINEAR = {"sample_rate": "8000", "encoding": "LINEAR16"}
FINALIZE = '{"type": "Finalize"}'
GAP = bytes(16 * 600)


async def authenticate(rtzr: Emulator, **kwargs: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return await client.post(rtzr.auth_url, **(kwargs or {"data": GOOD}))


async def token(rtzr: Emulator) -> str:
    return str((await authenticate(rtzr)).json()["access_token"])


def dial(rtzr: Emulator, bearer: str, query: dict[str, str] | None = None) -> connect:
    url = f"{rtzr.stream_url}?{urlencode(LINEAR if query is None else query)}"
    return connect(url, additional_headers={"Authorization": bearer} if bearer else None, proxy=None)


@asynccontextmanager
async def stream(rtzr: Emulator, query: dict[str, str] | None = None) -> AsyncIterator[ClientConnection]:
    async with dial(rtzr, f"Bearer {await token(rtzr)}", query) as ws:
        yield ws


async def refusal(rtzr: Emulator, bearer: str, query: dict[str, str] | None = None) -> tuple[int, Any]:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await dial(rtzr, bearer, query)
    response = refused.value.response
    assert response.headers["content-type"] == "application/json"
    return response.status_code, json.loads(response.body or b"")


async def final(ws: ClientConnection) -> Any:
    while not (result := json.loads(await asyncio.wait_for(ws.recv(), 5)))["final"]:
        pass
    return result


async def rest(ws: ClientConnection) -> list[Any]:
    return [result for message in [m async for m in ws] if (result := json.loads(message))["final"]]


def text(result: Any) -> str:
    return str(result["alternatives"][0]["text"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event of its own
            await asyncio.sleep(0.005)


async def until_closed(rtzr: Emulator) -> None:
    await until(lambda: rtzr.stats().sockets_open == 0)


async def test_a_token_and_its_expiry() -> None:
    async with Emulator(Knobs(token_life_s=100)) as rtzr:
        first, second = await authenticate(rtzr), await authenticate(rtzr)
    body = first.json()
    assert first.status_code == 200
    assert set(body) == {"access_token", "expire_at"}
    assert isinstance(body["expire_at"], int)
    assert abs(body["expire_at"] - time.time() - 100) < 3
    assert body["access_token"].count(".") == 2
    assert body["access_token"] != second.json()["access_token"]
    assert rtzr.stats().tokens_issued == 2


async def test_a_token_lives_six_hours() -> None:
    async with Emulator() as rtzr:
        body = (await authenticate(rtzr)).json()
    assert abs(body["expire_at"] - time.time() - 21600) < 3


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        ({"data": {"client_id": "demo"}}, 400, {"code": "H0001", "msg": "client_secret is required"}),
        ({"data": {"client_secret": "x"}}, 400, {"code": "H0001", "msg": "client_id is required"}),
        (
            {"json": GOOD},
            400,
            {"code": "H0001", "msg": "content type must be application/x-www-form-urlencoded"},
        ),
        ({"data": GOOD | {"x": "y" * 20000}}, 400, {"code": "H0001", "msg": "form too long or not UTF-8"}),
        ({"data": GOOD | {"client_secret": "no"}}, 401, {"code": "H0002", "msg": "invalid credential"}),
        ({"data": GOOD | {"client_id": "누구"}}, 401, {"code": "H0002", "msg": "invalid credential"}),
    ],
)
async def test_what_authentication_refuses(sent: dict[str, Any], status: int, body: dict[str, str]) -> None:
    async with Emulator() as rtzr:
        answer = await authenticate(rtzr, **sent)
        assert (answer.status_code, answer.json()) == (status, body)
        assert rtzr.stats().tokens_issued == 0


async def test_a_broken_service_says_e500_on_both_doors() -> None:
    async with Emulator(Knobs(broken=True)) as rtzr:
        answer = await authenticate(rtzr)
        assert (answer.status_code, answer.json()) == (500, {"code": "E500", "msg": "server error"})
        assert await refusal(rtzr, "Bearer x") == (500, {"code": "E500", "msg": "server error"})


@pytest.mark.parametrize("bearer", ["", "Bearer nonsense", "Basic {}", "Bearer", "{}"])
async def test_a_dial_without_a_good_token_is_401(bearer: str) -> None:
    async with Emulator() as rtzr:
        status, body = await refusal(rtzr, bearer.format(await token(rtzr)))
    assert (status, body) == (401, {"code": "H0002", "msg": "unauthorized"})


async def test_an_expired_token_is_401() -> None:
    async with Emulator(Knobs(token_life_s=0.05)) as rtzr:
        old = await token(rtzr)
        await asyncio.sleep(0.06)
        assert (await refusal(rtzr, f"Bearer {old}"))[0] == 401


@pytest.mark.parametrize(
    ("query", "msg"),
    [
        ({}, "sample_rate is required"),
        ({"sample_rate": "8000"}, "encoding is required"),
        (LINEAR | {"sample_rate": "4000"}, "sample_rate must be between 8000 and 48000"),
        (LINEAR | {"encoding": "OPUS"}, "encoding OPUS is for gRPC only"),
        (LINEAR | {"keywords": "brand"}, "a keyword must be Hangul and spaces only"),
    ],
)
async def test_a_bad_query_is_400(query: dict[str, str], msg: str) -> None:
    async with Emulator() as rtzr:
        status, body = await refusal(rtzr, f"Bearer {await token(rtzr)}", query)
    assert (status, body) == (400, {"code": "H0001", "msg": msg})


@pytest.mark.parametrize(
    ("code", "msg"), [("A0002", "Too many concurrent requests"), ("A0001", "Usage exceeded")]
)
async def test_past_the_limit_is_429_until_a_stream_ends(code: str, msg: str) -> None:
    async with Emulator(Knobs(max_streams=1, full_code=code)) as rtzr:
        bearer = f"Bearer {await token(rtzr)}"
        async with dial(rtzr, bearer) as ws:
            assert await refusal(rtzr, bearer) == (429, {"code": code, "msg": msg})
            await ws.send("EOS")
            await ws.wait_closed()
            async with dial(rtzr, bearer):
                assert rtzr.stats().sockets_open == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_case_insensitive_and_keywords_come_encoded(scheme: str) -> None:
    async with Emulator() as rtzr:
        query = LINEAR | {"keywords": "부스팅,리턴 제로:3.5", "epd_time": "0.8", "unknown": "1"}
        async with dial(rtzr, f"{scheme} {await token(rtzr)}", query):
            assert rtzr.stats().sockets_open == 1


@pytest.mark.parametrize(
    ("encoding", "rate"), [("LINEAR16", 8000), ("LINEAR16", 16000), ("MULAW", 8000), ("ALAW", 8000)]
)
async def test_two_utterances_on_one_socket_in_every_encoding(encoding: str, rate: int) -> None:
    code = {"LINEAR16": lambda pcm, _: pcm, "MULAW": audioop.lin2ulaw, "ALAW": audioop.lin2alaw}[encoding]
    pause = bytes(rate * 2 * 700 // 1000)
    query = {"sample_rate": str(rate), "encoding": encoding}
    async with Emulator(Knobs(engine_speed=1000)) as rtzr, stream(rtzr, query) as ws:
        await ws.send(code(pause + say(SENTENCES[0], rate) + pause, 2))
        first = await final(ws)
        await ws.send(code(say(SENTENCES[1], rate), 2))
        await ws.send("EOS")
        second = (await rest(ws))[0]
        assert ws.close_code == 1000
    assert (text(first), text(second)) == SENTENCES[:2]
    assert (first["seq"], second["seq"]) == (0, 1)
    assert first["start_at"] == pytest.approx(700, abs=8)
    assert second["start_at"] == pytest.approx(1400 + spoken_ms(SENTENCES[0]), abs=8)
    words = first["alternatives"][0]["words"]
    assert "".join(word["text"] for word in words).replace("|", " ") == SENTENCES[0]


async def test_finalize_ends_an_utterance_and_keeps_the_socket() -> None:
    async with Emulator(Knobs(engine_speed=1000)) as rtzr, stream(rtzr) as ws:
        await ws.send(FINALIZE)
        await ws.send(say(SENTENCES[0]))
        await ws.send('{"type":"Finalize"}')
        await ws.send(FINALIZE)
        assert text(await final(ws)) == SENTENCES[0]
        await ws.send(FINALIZE)
        await ws.send(bytes(16 * 300))
        await ws.send(FINALIZE)
        await ws.send(say(SENTENCES[1]))
        await ws.send(FINALIZE)
        second = await final(ws)
        assert (text(second), second["seq"]) == (SENTENCES[1], 1)
        await ws.send("EOS")
        assert await rest(ws) == []
        assert ws.close_code == 1000


@pytest.mark.parametrize(
    "unknown", ["", "eos", "EOS ", "{", "[]", '"Finalize"', '{"type":"finalize"}', "[" * 9999]
)
async def test_unknown_text_is_ignored(unknown: str) -> None:
    async with Emulator(Knobs(engine_speed=1000)) as rtzr, stream(rtzr) as ws:
        await ws.send(say(SENTENCES[0]))
        await ws.send(unknown)
        await ws.send(say(SENTENCES[1]))
        await ws.send("EOS")
        results = await rest(ws)
    assert len(results) == 1
    assert ws.close_code == 1000


async def test_eos_alone_closes_with_1000_and_no_result() -> None:
    async with Emulator() as rtzr, stream(rtzr) as ws:
        await ws.send("EOS")
        assert await rest(ws) == []
        assert ws.close_code == 1000


async def test_every_connection_counts_from_nought() -> None:
    async with Emulator(Knobs(engine_speed=1000)) as rtzr:
        for _ in range(2):
            async with stream(rtzr) as ws:
                await ws.send(bytes(1600) + say(SENTENCES[0]))
                await ws.send("EOS")
                result = (await rest(ws))[0]
                assert result["seq"] == 0
                assert result["start_at"] == pytest.approx(100, abs=8)


async def test_nothing_is_said_before_speech_and_pings_are_answered() -> None:
    async with Emulator() as rtzr, stream(rtzr) as ws:
        await ws.send(bytes(3200))
        await asyncio.wait_for(await ws.ping(), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.05)


async def test_a_lump_waits_its_turn_and_recognition_comes_on_top() -> None:
    async with Emulator(Knobs(engine_speed=5, recognition_ms=150)) as rtzr, stream(rtzr) as ws:
        started = time.monotonic()
        await ws.send(say(SENTENCES[4]))
        await ws.send(FINALIZE)
        assert text(await final(ws)) == SENTENCES[4]
        took = (time.monotonic() - started) * 1000
    expected = spoken_ms(SENTENCES[4]) / 5 + 150
    assert expected - 5 <= took <= expected + 150


async def test_delays_of_authentication_and_dial() -> None:
    async with Emulator(Knobs(auth_delay_ms=120, connect_delay_ms=80)) as rtzr:
        started = time.monotonic()
        bearer = f"Bearer {await token(rtzr)}"
        authenticated = time.monotonic()
        async with dial(rtzr, bearer):
            dialled = time.monotonic()
    assert 0.115 <= authenticated - started <= 0.5
    assert 0.075 <= dialled - authenticated <= 0.4


async def test_stats_bill_ten_seconds_at_least_for_each_session() -> None:
    async with Emulator() as rtzr:
        async with stream(rtzr) as ws:
            await ws.send(bytes(16000 * 3))
            await ws.send("EOS")
            await ws.wait_closed()
        async with stream(rtzr) as ws, httpx.AsyncClient(trust_env=False, verify=False) as client:
            await ws.send(bytes(16000 * 12))
            await until(lambda: rtzr.stats().billed_s == 22.0)
            stats = (await client.get(rtzr.stats_url)).json()
            assert stats == {
                "tokens_issued": 2,
                "sockets_opened": 2,
                "sockets_open": 1,
                "billed_s": 22.0,
                "dials_refused": 0,
            }
            assert stats == rtzr.stats().as_dict()
        await until_closed(rtzr)


async def test_a_client_that_vanishes_frees_its_channel_even_in_mid_drain() -> None:
    async with Emulator(Knobs(recognition_ms=30000)) as rtzr:
        async with stream(rtzr) as ws:
            await ws.send(say(SENTENCES[0]))
            ws.transport.abort()
        await until_closed(rtzr)
        async with stream(rtzr) as ws:
            await ws.send(say(SENTENCES[0]))
            await ws.send("EOS")
            await asyncio.wait_for(await ws.ping(), 5)  # now its EOS has been read
            ws.transport.abort()
        await until_closed(rtzr)


async def test_leaving_closes_open_streams_and_leaves_no_task_and_no_signal_handler() -> None:
    before, handler = asyncio.all_tasks(), signal.getsignal(signal.SIGTERM)
    async with Emulator(Knobs(connect_delay_ms=0)) as rtzr:
        assert signal.getsignal(signal.SIGTERM) is handler
        ws = await dial(rtzr, f"Bearer {await token(rtzr)}")
        await ws.send(say(SENTENCES[0]))
    await asyncio.wait_for(ws.wait_closed(), 5)
    assert ws.close_code == 1012
    assert asyncio.all_tasks() <= before
    with pytest.raises(httpx.ConnectError):
        await token(rtzr)


async def test_leaving_does_not_wait_for_delays_or_for_results_not_yet_due() -> None:
    before = asyncio.all_tasks()
    async with Emulator(Knobs(recognition_ms=60_000)) as rtzr:
        ws = await dial(rtzr, f"Bearer {await token(rtzr)}")
        await ws.send(say(SENTENCES[0]))
        await ws.send("EOS")
        await asyncio.wait_for(await ws.ping(), 5)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    await asyncio.wait_for(ws.wait_closed(), 5)
    assert asyncio.all_tasks() <= before


async def test_serve_runs_until_cancelled(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn")
    async with Emulator() as probe:
        port = probe.port
    serving = asyncio.create_task(serve(Knobs(), "127.0.0.1", port))
    async with httpx.AsyncClient(trust_env=False, verify=False) as client, asyncio.timeout(5):
        while True:
            try:
                answer = await client.get(f"http://127.0.0.1:{port}/stats")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.01)
    assert answer.json()["sockets_opened"] == 0
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert capsys.readouterr() == ("", "")


async def test_fifty_streams_at_once_each_hear_their_own() -> None:
    async with Emulator(Knobs(engine_speed=1000)) as rtzr:
        bearer = f"Bearer {await token(rtzr)}"

        async def one(index: int) -> bool:
            spoken = SENTENCES[index % len(SENTENCES)]
            pcm = bytes(16 * index) + say(spoken)
            async with dial(rtzr, bearer) as ws:
                for at in range(0, len(pcm), 1600):
                    await ws.send(pcm[at : at + 1600])
                await ws.send("EOS")
                return [text(result) for result in await rest(ws)] == [spoken]

        assert all(await asyncio.gather(*(one(index) for index in range(50))))
        stats = rtzr.stats()
        assert (stats.sockets_opened, stats.sockets_open, stats.tokens_issued) == (50, 0, 1)
