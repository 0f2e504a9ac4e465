"""One token, one socket a leg: the client against the emulator, over TLS and proxies, and against trouble."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from bridge.emulator.codebook import say
from bridge.emulator.server import Emulator, Knobs
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.types import Codec, Token
from bridge.wire import g711, rtzr
from tests.net.tcp import Answer, answering, http, server

HEAR_ALL = {"use_itn": "true", "keywords": "예약,배송:3.5"}


def tokens_of(emulator: Emulator, **changed: Any) -> Tokens:
    knobs = Knobs()
    values = {"renew_before_s": 600, "timeout_s": 5, **changed}
    secret = values.pop("secret", knobs.client_secret)
    return Tokens(emulator.auth_url, knobs.client_id, secret, **values)


@asynccontextmanager
async def client(emulator: Emulator, **changed: Any) -> AsyncIterator[tuple[Rtzr, Tokens]]:
    async with tokens_of(emulator, **changed) as tokens:
        yield Rtzr(tokens, emulator.stream_url, HEAR_ALL, timeout_s=changed.get("timeout_s", 5)), tokens


@asynccontextmanager
async def asking(answer: Answer, timeout_s: float = 5) -> AsyncIterator[Tokens]:
    """Tokens whose authentication is served by `answer`."""
    async with server(answer) as port:
        url = f"http://127.0.0.1:{port}/"
        async with Tokens(url, "demo", "demo-secret", renew_before_s=600, timeout_s=timeout_s) as tokens:
            yield tokens


async def finals(session: Session) -> list[rtzr.Result]:
    async with asyncio.timeout(10):
        return [result async for result in session.results() if result.final]


async def speak(session: Session, text: str) -> list[rtzr.Result]:
    """Say it, end the stream, and hear it out."""
    assert session.send(g711.pcm_to_ulaw(say(text)))
    assert session.end()
    heard = await finals(session)
    await session.close()
    return heard


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event of its own
            await asyncio.sleep(0.005)


# The token.


async def test_fifty_who_ask_at_once_cause_one_request() -> None:
    async with Emulator(Knobs(auth_delay_ms=50)) as emulator, tokens_of(emulator) as tokens:
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(tokens.get()) for _ in range(50)]
        assert {task.result() for task in waiting} == {waiting[0].result()}
        assert emulator.stats().tokens_issued == tokens.issued == 1


async def test_it_is_renewed_well_before_it_expires() -> None:
    async with Emulator() as emulator:
        now = 0.0
        async with tokens_of(emulator, now=lambda: now) as tokens:
            first = await tokens.get()
            now = first.expires_at - 601
            assert await tokens.get() is first
            now = first.expires_at - 599
            second = await tokens.get()
            assert second is not first
            assert await tokens.get() is second
        assert emulator.stats().tokens_issued == 2


@pytest.mark.parametrize("ahead_s", [0, 7200, -7200])
async def test_how_far_our_clock_is_off_is_known_from_the_answer(ahead_s: float) -> None:
    async with Emulator() as emulator, tokens_of(emulator, now=lambda: time.time() + ahead_s) as tokens:
        assert tokens.ahead_s is None
        await tokens.get()
        assert tokens.ahead_s == pytest.approx(ahead_s, abs=2)
    async with asking(answering(http("200 OK", "{}"))) as tokens:
        with pytest.raises(rtzr.Unreachable):
            await tokens.get()
        assert tokens.ahead_s is None


@pytest.mark.parametrize("ahead_s", [21_000, 100_000])
async def test_a_wrong_clock_or_a_short_life_costs_a_request_a_minute_and_not_one_a_leg(
    ahead_s: float,
) -> None:
    """By a clock that is hours ahead every token has expired when it comes."""
    async with Emulator() as emulator:
        now = 0.0
        async with tokens_of(emulator, now=lambda: now) as tokens:
            now = (await tokens.get()).expires_at - 21_600 + ahead_s
            for _ in range(20):
                await tokens.get()
            assert emulator.stats().tokens_issued == 2
            now += 61
            await tokens.get()
            assert emulator.stats().tokens_issued == 3


async def test_while_renewing_fails_the_old_token_goes_on_until_it_expires() -> None:
    async with Emulator() as emulator:
        now = 0.0
        async with tokens_of(emulator, now=lambda: now) as tokens:
            first = await tokens.get()
            emulator.knobs = Knobs(broken=True)
            now = first.expires_at - 500
            with capture_logs() as logs:
                assert await tokens.get() is first
                assert await tokens.get() is first
            assert [log["event"] for log in logs] == ["token not renewed", "token reused"], "no storm"
            now = first.expires_at + 1
            with pytest.raises(rtzr.Refused):
                await tokens.get()
            emulator.knobs = Knobs()
            assert await tokens.get() is not first


async def test_a_failure_answers_all_who_waited_for_it() -> None:
    """Fifty legs that wait for a dead RTZR must not knock one after the other, each for its time-out."""
    asked = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        await answering(http("503 Service Unavailable"))(reader, writer)

    async with asking(count) as tokens:
        came = await asyncio.gather(*(tokens.get() for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in came} == {rtzr.Refused}
        assert asked == 1
        with pytest.raises(rtzr.Refused):
            await tokens.get()
        assert asked == 2, "who asks later has a try of his own"


async def test_who_is_cancelled_while_asking_leaves_the_others_unharmed() -> None:
    async with Emulator(Knobs(auth_delay_ms=100)) as emulator, tokens_of(emulator) as tokens:
        first = asyncio.create_task(tokens.get())
        others = [asyncio.create_task(tokens.get()) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        assert len({token.value for token in await asyncio.gather(*others)}) == 1
        assert first.cancelled()
        assert tokens.issued == 1


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (http("400 Bad Request", '{"code":"H0001","msg":"invalid"}'), rtzr.Refused),
        (http("500 Internal Server Error", '{"code":"E500","msg":"x"}'), rtzr.Refused),
        (http("302 Found", headers="Location: http://127.0.0.1:1/\r\n"), rtzr.Refused),
        (http("200 OK", "<html>"), rtzr.Unreachable),
        (http("200 OK", '{"access_token":"x\\r\\ny","expire_at":1}'), rtzr.Unreachable),
        (b"SSH-2.0-OpenSSH\r\n\r\n", rtzr.Unreachable),
        (b"", rtzr.Unreachable),
    ],
)
async def test_whatever_answers_instead_of_authentication(response: bytes, kind: type[Exception]) -> None:
    async with asking(answering(response)) as tokens:
        with pytest.raises(kind):
            await tokens.get()


async def test_an_answer_that_drips_is_given_up_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"{")
            await asyncio.sleep(0.02)

    async with asking(drip, timeout_s=0.2) as tokens, asyncio.timeout(2):
        with pytest.raises(rtzr.Unreachable, match="TimeoutError"):
            await tokens.get()


async def test_wrong_credentials_are_refused_for_good() -> None:
    async with Emulator() as emulator, client(emulator, secret="wrong-secret") as (speech, tokens):
        with pytest.raises(rtzr.Refused) as refused:
            await speech.open(Codec.ULAW)
        assert (refused.value.status, refused.value.code) == (401, "H0002")
        assert "wrong-secret" not in str(refused.value)
        assert tokens.issued == emulator.stats().sockets_opened == 0


async def test_nobody_there_is_unreachable() -> None:
    async with Emulator() as emulator:
        pass
    async with client(emulator, timeout_s=0.5) as (speech, _):
        with pytest.raises(rtzr.Unreachable):
            await speech.open(Codec.ULAW)


async def test_keep_fresh_has_a_token_before_anybody_asks_and_survives_refusals() -> None:
    async with Emulator(Knobs(broken=True)) as emulator, tokens_of(emulator) as tokens:
        with capture_logs() as logs:
            keeping = asyncio.create_task(tokens.keep_fresh())
            await until(lambda: bool(logs))
            assert logs[0]["event"] == "no token"
            keeping.cancel()
            emulator.knobs = Knobs()
            keeping = asyncio.create_task(tokens.keep_fresh())
            await until(lambda: tokens.issued == 1)
            keeping.cancel()


# The socket.


async def test_a_session_hears_and_is_closed_by_eos() -> None:
    async with Emulator() as emulator, client(emulator) as (speech, _):
        session = await speech.open(Codec.ULAW)
        assert (speech.sessions_open, session.open, emulator.stats().sockets_open) == (1, True, 1)
        (heard,) = await speak(session, "예약 확인")
        assert heard.text == "예약 확인"
        assert session.clean
        assert (speech.sessions_open, session.open) == (0, False)
        await until(lambda: emulator.stats().sockets_open == 0)


async def test_one_socket_serves_every_utterance() -> None:
    async with Emulator() as emulator, client(emulator) as (speech, _):
        session = await speech.open(Codec.ULAW)
        for _ in range(3):
            assert session.send(g711.pcm_to_ulaw(say("배송 주소")))
            assert session.finalize()
        assert session.end()
        assert [result.seq for result in await finals(session)] == [0, 1, 2]
        await session.close()
        assert emulator.stats().sockets_opened == emulator.stats().tokens_issued == 1


async def test_an_expired_token_is_renewed_once() -> None:
    """RTZR's side has dropped the token; ours does not know."""
    async with Emulator() as emulator, client(emulator) as (speech, tokens):
        await (await speech.open(Codec.ULAW)).close()
        emulator._tokens.clear()
        with capture_logs() as logs:
            await (await speech.open(Codec.ULAW)).close()
        assert tokens.issued == 2
        assert [log["event"] for log in logs] == ["token reused", "token issued"]


async def test_fifty_refused_at_once_renew_it_once() -> None:
    async with Emulator() as emulator, client(emulator) as (speech, tokens):
        await tokens.get()
        emulator._tokens.clear()
        for session in await asyncio.gather(*(speech.open(Codec.ULAW) for _ in range(50))):
            await session.close()
        assert tokens.issued == 2


async def test_a_token_that_is_never_accepted_is_renewed_once_and_not_for_ever() -> None:
    dialled = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        await answering(http("401 Unauthorized", '{"code":"H0002","msg":"unauthorized"}'))(reader, writer)

    async with Emulator() as emulator, tokens_of(emulator) as tokens, server(refuse) as port:
        with pytest.raises(rtzr.Refused):
            await Rtzr(tokens, f"ws://127.0.0.1:{port}/", {}, timeout_s=5).open(Codec.ULAW)
        assert (dialled, tokens.issued) == (2, 2)


async def test_bad_parameters_are_fatal() -> None:
    async with Emulator() as emulator, tokens_of(emulator) as tokens:
        speech = Rtzr(tokens, emulator.stream_url, {"epd_time": "long"}, timeout_s=5)
        with pytest.raises(rtzr.Refused) as refused:
            await speech.open(Codec.ULAW)
        assert refused.value.verdict is rtzr.Verdict.FATAL
        assert tokens.issued == 1


async def test_full_channels_and_an_error_of_rtzr_can_be_waited_for() -> None:
    async with Emulator(Knobs(max_streams=1)) as emulator, client(emulator) as (speech, _):
        session = await speech.open(Codec.ULAW)
        with pytest.raises(rtzr.Refused) as full:
            await speech.open(Codec.ULAW)
        emulator.knobs = replace(emulator.knobs, broken=True)
        with pytest.raises(rtzr.Refused) as broken:
            await speech.open(Codec.ULAW)
        await session.close()
    assert (full.value.status, full.value.code, full.value.verdict) == (429, "A0002", rtzr.Verdict.WAIT)
    assert (broken.value.status, broken.value.verdict) == (500, rtzr.Verdict.WAIT)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (http("503 Service Unavailable", "<html>"), rtzr.Refused),
        (http("302 Found", headers="Location: http://127.0.0.1:1/\r\n"), rtzr.Refused),
        (http("302 Found", headers="Location: ws://127.0.0.1:1/\r\n"), rtzr.Refused),
        (http("302 Found", headers="Location: nonsense\r\n"), rtzr.Refused),
        (http("200 OK", "hello"), rtzr.Refused),
        (b"SSH-2.0-OpenSSH\r\n\r\n", rtzr.Unreachable),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", rtzr.Unreachable),
        (b"", rtzr.Unreachable),
    ],
)
async def test_whatever_answers_instead_of_the_stream(response: bytes, kind: type[Exception]) -> None:
    async with Emulator() as emulator, tokens_of(emulator) as tokens, server(answering(response)) as port:
        with pytest.raises(kind):
            await Rtzr(tokens, f"ws://127.0.0.1:{port}/", {}, timeout_s=2).open(Codec.ULAW)


async def test_a_dial_that_is_not_answered_is_given_up_in_time() -> None:
    async with (
        Emulator(Knobs(connect_delay_ms=60_000)) as emulator,
        client(emulator, timeout_s=0.2) as (speech, _),
    ):
        async with asyncio.timeout(2):
            with pytest.raises(rtzr.Unreachable, match="TimeoutError"):
                await speech.open(Codec.ULAW)


async def test_a_lost_socket_is_told_by_every_sender_and_ends_the_results() -> None:
    async with Emulator() as emulator, client(emulator) as (speech, _):
        session = await speech.open(Codec.ULAW)
        session._connection.transport.abort()
        assert await finals(session) == []
        assert not session.send(b"x")
        assert not session.finalize()
        assert not session.end()
        await session.close()
        assert not session.clean
        assert speech.sessions_open == 0


async def test_what_is_no_result_is_counted_and_passed_over() -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def talk(socket: ServerConnection) -> None:
        for message in ("EOS", b"\xff", '{"final":1}', '{"final":true,"alternatives":[{"text":"네"}]}'):
            await socket.send(message)

    async with (
        Emulator() as emulator,
        tokens_of(emulator) as tokens,
        serve(talk, "127.0.0.1", 0) as listening,
    ):
        port = next(iter(listening.sockets)).getsockname()[1]
        session = await Rtzr(tokens, f"ws://127.0.0.1:{port}/", {}, timeout_s=5).open(Codec.ULAW)
        assert [result.text for result in await finals(session)] == ["네"]
        assert session.malformed == 3
        await session.close()


async def test_cancelled_at_any_moment_of_opening_no_socket_stays() -> None:
    knobs = Knobs(auth_delay_ms=20, connect_delay_ms=20)
    async with Emulator(knobs) as emulator, client(emulator) as (speech, tokens):
        for delay_ms in range(0, 60, 3):
            opening = asyncio.create_task(speech.open(Codec.ULAW))
            await asyncio.wait({opening}, timeout=delay_ms / 1000)
            opening.cancel()
            with suppress(asyncio.CancelledError):
                await (await opening).close()
            tokens._token = None
        await until(lambda: emulator.stats().sockets_open == 0)
        assert speech.sessions_open == 0


# Secrets.


async def test_no_log_line_and_no_exception_holds_the_token_or_the_secret(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    told: list[str] = []

    def keep(_logger: object, method: str, event: Any) -> Any:
        told.append(f"{method} {event!r}")
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    try:
        async with Emulator() as emulator, client(emulator) as (speech, tokens):
            (heard,) = await speak(await speech.open(Codec.ULAW), "환불을")
            values = [(await tokens.get()).value]
            emulator._tokens.clear()
            await (await speech.open(Codec.ULAW)).close()
            values.append((await tokens.get()).value)
            emulator.knobs = Knobs(broken=True)
            with pytest.raises(rtzr.Refused) as refused:
                await speech.open(Codec.ULAW)
    finally:
        structlog.reset_defaults()
    out = capsys.readouterr()
    said = "\n".join(
        [*told, caplog.text, out.out, out.err, str(refused.value), repr(refused.value), repr(heard)]
    )
    assert told
    for secret in (*values, Knobs().client_secret, "환불을"):
        assert secret not in said


# TLS and proxies.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    name = ["-subj", "/CN=rtzr.test", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    command = ["openssl", "req", "-x509", *key, "-out", "cert.pem", "-days", "2", *name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def to(port: int) -> Answer:
    """Both directions of a connection, to and from a port of this machine."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))
        finally:
            far_writer.close()
            await far_writer.wait_closed()

    return carry


@asynccontextmanager
async def tls_front(emulator: Emulator, folder: Path) -> AsyncIterator[int]:
    """A port where the emulator speaks TLS with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    async with server(to(emulator.port), context) as port:
        yield port


@asynccontextmanager
async def over_tls(
    port: int, tls: ssl.SSLContext | None, host: str = "127.0.0.1", proxy: str | None = None
) -> AsyncIterator[tuple[Rtzr, Tokens]]:
    knobs, base = Knobs(), f"{host}:{port}/v1"
    async with Tokens(
        f"https://{base}/authenticate",
        knobs.client_id,
        knobs.client_secret,
        renew_before_s=600,
        timeout_s=5,
        tls=tls,
        proxy=proxy,
    ) as tokens:
        yield (
            Rtzr(tokens, f"wss://{base}/transcribe:streaming", {}, timeout_s=5, tls=tls, proxy=proxy),
            tokens,
        )


async def test_a_certificate_of_ones_own_is_good_with_ca_file(certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    async with (
        Emulator() as emulator,
        tls_front(emulator, certificate) as port,
        over_tls(port, trusted) as (speech, _),
    ):
        (heard,) = await speak(await speech.open(Codec.ULAW), "카드 결제")
        assert heard.text == "카드 결제"


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()], ids=["none given", "the system's"])
async def test_an_unknown_certificate_is_refused_on_both_doors(
    certificate: Path, tls: ssl.SSLContext | None
) -> None:
    async with (
        Emulator() as emulator,
        tls_front(emulator, certificate) as port,
        over_tls(port, tls) as (speech, tokens),
    ):
        with pytest.raises(rtzr.Unreachable):
            await tokens.get()
        with pytest.raises(rtzr.Unreachable):
            await speech._connect(speech._url, Token("no.such.token", 2e9))
        stats = emulator.stats()
    assert (stats.tokens_issued, stats.sockets_opened) == (0, 0)


async def test_a_trusted_certificate_of_another_host_is_refused(certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    async with (
        Emulator() as emulator,
        tls_front(emulator, certificate) as port,
        over_tls(port, trusted, host="localhost") as (speech, tokens),
    ):
        with pytest.raises(rtzr.Unreachable):
            await tokens.get()
        with pytest.raises(rtzr.Unreachable):
            await speech._connect(speech._url, Token("no.such.token", 2e9))


async def test_through_a_proxy(certificate: Path) -> None:
    """Both doors ask the proxy for a tunnel, and speak TLS through it."""
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.partition(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await to(port)(reader, writer)

    async with (
        Emulator() as emulator,
        tls_front(emulator, certificate) as port,
        server(tunnel) as proxy,
        over_tls(port, trusted, proxy=f"http://127.0.0.1:{proxy}") as (speech, _),
    ):
        (heard,) = await speak(await speech.open(Codec.ULAW), "주문 상품")
    assert heard.text == "주문 상품"
    assert asked == [f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode()] * 2


async def test_a_proxy_that_refuses_is_unreachable() -> None:
    async with (
        server(answering(http("407 Proxy Authentication Required"))) as proxy,
        over_tls(1, None, proxy=f"http://127.0.0.1:{proxy}") as (speech, tokens),
    ):
        with pytest.raises(rtzr.Unreachable):
            await tokens.get()
        with pytest.raises(rtzr.Unreachable):
            await speech._connect(speech._url, Token("no.such.token", 2e9))


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    async with Emulator() as emulator, client(emulator) as (speech, _):
        await (await speech.open(Codec.ULAW)).close()
        async with httpx.AsyncClient(trust_env=False) as plain:
            assert (await plain.get(emulator.stats_url)).json()["sockets_opened"] == 1
