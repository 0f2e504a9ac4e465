"""Files to RTZR: the client against the emulator, and against answers that leave it in doubt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.server import Emulator, Knobs
from bridge.net.filestt import FileStt
from bridge.net.rtzr import Tokens
from bridge.wire import rtzr
from bridge.wire.filestt import Doubtful, State, Status
from bridge.wire.rtzr import Verdict
from tests.emulator.test_files import wav
from tests.net.tcp import Answer, answering, http, server


def tokens_of(emulator: Emulator) -> Tokens:
    return Tokens(emulator.auth_url, "demo", "demo-secret", renew_before_s=600, timeout_s=5)


@asynccontextmanager
async def client(emulator: Emulator, url: str = "", timeout_s: float = 10) -> AsyncIterator[FileStt]:
    async with (
        tokens_of(emulator) as tokens,
        FileStt(tokens, url or emulator.file_url, {"keywords": "예약"}, timeout_s=timeout_s) as files,
    ):
        yield files


@asynccontextmanager
async def asking(answer: Answer, timeout_s: float = 10) -> AsyncIterator[FileStt]:
    """A client whose token is real and whose file API is served by `answer`."""
    async with (
        Emulator() as emulator,
        server(answer) as port,
        client(emulator, f"http://127.0.0.1:{port}/v1/transcribe", timeout_s) as files,
    ):
        yield files


def texts(state: State) -> list[str]:
    return [utterance.text for utterance in state.utterances]


async def test_a_file_goes_up_and_its_words_come_back() -> None:
    async with Emulator() as emulator, client(emulator) as files:
        job = await files.send(wav(say(SENTENCES[2])))
        state = await files.look(job)
        assert (state.status, texts(state)) == (Status.COMPLETED, [SENTENCES[2]])
        assert emulator.stats().tokens_issued == 1


async def test_a_job_at_work_and_one_that_failed() -> None:
    async with Emulator(Knobs(file_delay_ms=60_000)) as emulator, client(emulator) as files:
        assert (await files.look(await files.send(wav(say("예약"))))).status is Status.TRANSCRIBING
        emulator.knobs = Knobs(file_fail=True)
        assert (await files.look(await files.send(wav(say("예약"))))).status is Status.FAILED


async def test_a_token_that_is_not_accepted_is_renewed_once() -> None:
    async with Emulator() as emulator, client(emulator) as files:
        first = await files.send(wav(say("예약")))
        emulator._tokens.clear()
        assert (await files.look(first)).status is Status.COMPLETED
        emulator._tokens.clear()
        await files.send(wav(say("예약")))
        assert emulator.stats().tokens_issued == 3
        assert emulator.files.created == 2


async def test_401_twice_is_the_answer() -> None:
    asked = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await answering(http("401 Unauthorized", '{"code":"H0002","msg":"no"}'))(reader, writer)

    async with asking(refuse) as files:
        with pytest.raises(rtzr.Refused) as refused:
            await files.look("x")
        assert (refused.value.status, asked) == (401, 2)


async def test_jobs_are_full() -> None:
    async with Emulator(Knobs(file_max_jobs=1, file_delay_ms=60_000)) as emulator, client(emulator) as files:
        await files.send(wav(say("예약")))
        with pytest.raises(rtzr.Refused) as refused:
            await files.send(wav(say("예약")))
        assert (refused.value.status, refused.value.code) == (429, "A0002")
        assert refused.value.verdict is Verdict.WAIT


async def test_a_file_that_is_none_is_refused_for_good() -> None:
    async with Emulator() as emulator, client(emulator) as files:
        with pytest.raises(rtzr.Refused) as refused:
            await files.send(b"no wav")
        assert refused.value.verdict is Verdict.FATAL


async def test_a_lost_answer_leaves_doubt() -> None:
    async with Emulator(Knobs(file_lost_answer=True)) as emulator, client(emulator) as files:
        with pytest.raises(Doubtful):
            await files.send(wav(say("예약")))
        assert emulator.files.created == 1


@pytest.mark.parametrize(
    "answer",
    [
        http("502 Bad Gateway"),
        http("504 Gateway Timeout"),
        http("200 OK", "<html>"),
        http("200 OK", '{"id": "../x"}'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"",
    ],
)
async def test_an_answer_that_tells_nothing_leaves_doubt(answer: bytes) -> None:
    async with asking(answering(answer)) as files:
        with pytest.raises(Doubtful) as told:
            await files.send(wav(say("예약")))
        assert "eyJ" not in str(told.value)
        with pytest.raises((rtzr.Unreachable, rtzr.Refused)):
            await files.look("x")


async def test_no_answer_in_time_leaves_doubt() -> None:
    over = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()

    async with asking(wait, timeout_s=0.2) as files:
        with pytest.raises(Doubtful):
            await files.send(wav(say("예약")))
        with pytest.raises(rtzr.Unreachable):
            await files.look("x")
        over.set()


async def test_where_nobody_listens_there_is_no_doubt() -> None:
    async with server(answering(b"")) as port:
        pass
    async with Emulator() as emulator, client(emulator, f"http://127.0.0.1:{port}/") as files:
        with pytest.raises(rtzr.Unreachable):
            await files.send(wav(say("예약")))


async def test_without_a_token_nothing_is_sent_and_the_file_is_not_refused() -> None:
    async with Emulator(Knobs(client_secret="another")) as emulator, client(emulator) as files:
        with pytest.raises(rtzr.Unreachable, match="401"):
            await files.send(wav(say("예약")))
        assert emulator.files.created == 0


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(bytes(1 << 16))
            try:
                await writer.drain()
            except ConnectionError:
                return

    async with asking(pour) as files:
        with pytest.raises(rtzr.Unreachable, match="too long"):
            await files.look("x")
