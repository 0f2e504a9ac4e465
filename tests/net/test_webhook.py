"""bridge/net/webhook.py: against a receiver that flaps, and towards addresses that are never to be called."""

import asyncio
import logging
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpcore
import pytest

from bridge.net.webhook import Resolve, WebhookSender
from bridge.outbox.stored import Rejected, Sender, Stored, Unreachable
from bridge.wire.address import Address, Reach
from bridge.wire.webhook import BatchRefused, key
from tests.net.receiver import (
    OLD_SECRET,
    SECRET,
    Connection,
    hangs,
    receiving,
    resets,
    says,
    stored,
)
from tests.net.tcp import server

HERE = Reach(private=True)


class Name:
    """A resolver that says what it is told to, one list after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(one) for one in now]


@asynccontextmanager
async def sender(
    url: str,
    *,
    secrets: Sequence[str] = (SECRET,),
    reach: Reach = HERE,
    timeout_s: float = 5,
    tls: ssl.SSLContext | None = None,
    resolve: Resolve | None = None,
    batch: int = 100,
) -> AsyncIterator[WebhookSender]:
    keys = [key(secret) for secret in secrets]
    async with WebhookSender(
        "webhook:crm", url, keys, batch=batch, timeout_s=timeout_s, reach=reach, tls=tls, resolve=resolve
    ) as one:
        yield one


async def unreachable(one: WebhookSender, *events: Stored) -> str:
    with pytest.raises(Unreachable) as error:
        await one.send(events or [stored(1)])
    return str(error.value)


async def rejected(one: WebhookSender, *events: Stored) -> Rejected:
    with pytest.raises(Rejected) as error:
        await one.send(events or [stored(1)])
    return error.value


class TestSending:
    async def test_it_is_an_endpoint(self) -> None:
        async with sender("http://127.0.0.1:1/") as one:
            endpoint: Sender = one
            assert (endpoint.name, endpoint.batch) == ("webhook:crm", 100)

    async def test_an_event_arrives_signed(self) -> None:
        async with receiving() as receiver, sender(receiver.url) as one:
            await one.send([stored(1)])
        (got,) = receiver.got
        assert got.line == "POST /hook HTTP/1.1"
        assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["content-type"].startswith("application/cloudevents+json")
        assert got.verified() == got.events[0]
        assert got.body == stored(1).body

    async def test_several_arrive_as_a_batch_in_order(self) -> None:
        events = [stored(number) for number in range(1, 101)]
        async with receiving() as receiver, sender(receiver.url) as one:
            await one.send(events)
        (got,) = receiver.got
        assert [event["id"] for event in got.verified()] == [event.id for event in events]
        assert got.headers["content-type"].startswith("application/cloudevents-batch+json")

    async def test_both_secrets_verify_while_they_change(self) -> None:
        async with receiving() as receiver, sender(receiver.url, secrets=(SECRET, OLD_SECRET)) as one:
            await one.send([stored(1)])
        assert receiver.got[0].verified(SECRET) == receiver.got[0].verified(OLD_SECRET)

    async def test_a_connection_is_kept_also_after_a_refusal(self) -> None:
        async with receiving(says("500 No", body="sorry")) as receiver, sender(receiver.url) as one:
            await rejected(one)
            for number in range(2, 12):
                await one.send([stored(number)])
        assert (len(receiver.got), receiver.connections) == (11, 1)

    async def test_sends_go_side_by_side(self) -> None:
        came, go = asyncio.Event(), asyncio.Event()

        async def slowly(connection: Connection) -> None:
            came.set()
            await go.wait()
            await connection.answer("200 OK")

        async with receiving(slowly) as receiver, sender(receiver.url) as one:
            first = asyncio.create_task(one.send([stored(1, "a")]))
            await came.wait()
            await one.send([stored(2, "b")])
            assert not first.done()
            go.set()
            await first
        assert receiver.connections == 2

    async def test_an_id_is_the_same_at_every_try(self) -> None:
        async with receiving(says("500 No"), resets) as receiver, sender(receiver.url) as one:
            await rejected(one)
            await unreachable(one)
            await one.send([stored(1)])
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


class TestAReceiverThatFlaps:
    async def test_errors(self) -> None:
        acts = says("500 No"), says("503 No", "Retry-After: 7\r\n")
        async with receiving(*acts) as receiver, sender(receiver.url) as one:
            assert (await rejected(one)).retry_after_s is None
            assert (await rejected(one)).retry_after_s == 7
            await one.send([stored(1)])

    async def test_too_many_requests(self) -> None:
        slower = says("429 Slow down", "retry-after: 30\r\n")
        async with receiving(slower) as receiver, sender(receiver.url) as one:
            assert (await rejected(one)).retry_after_s == 30

    async def test_a_wait_until_a_date_is_by_the_receiver_s_clock(self) -> None:
        """Which is decades from ours, whichever of the two is wrong."""
        later = "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:28:30 GMT\r\n"
        async with receiving(says("503 No", later)) as receiver, sender(receiver.url) as one:
            assert (await rejected(one)).retry_after_s == 30

    async def test_gone(self) -> None:
        async with receiving(says("410 Gone")) as receiver, sender(receiver.url) as one:
            assert (await rejected(one)).gone

    async def test_an_event_it_does_not_take(self) -> None:
        async with receiving(says("422 What")) as receiver, sender(receiver.url) as one:
            assert (await rejected(one)).poison

    @pytest.mark.parametrize(("status", "then"), [(400, 100), (413, 100), (422, 100), (415, 1)])
    async def test_a_batch_it_does_not_take_comes_one_by_one(self, status: int, then: int) -> None:
        """For a while; for good if it reads no batches."""
        async with receiving(says(f"{status} What")) as receiver, sender(receiver.url) as one:
            assert isinstance(await rejected(one, stored(1), stored(2)), BatchRefused)
            for number in range(100):
                assert one.batch == 1
                await one.send([stored(number)])
            assert one.batch == then

    async def test_no_answer(self) -> None:
        async with receiving(hangs) as receiver, sender(receiver.url, timeout_s=0.2) as one:
            assert await unreachable(one) == "no answer within 0.2 s"
            await one.send([stored(1)])
        assert len(receiver.got) == 2

    async def test_a_reset(self) -> None:
        async with receiving(resets) as receiver, sender(receiver.url) as one:
            assert "127.0.0.1" not in await unreachable(one)
            await one.send([stored(1)])
        assert len(receiver.got) == 2

    async def test_nobody_there(self) -> None:
        async with receiving() as receiver:
            pass
        async with sender(receiver.url) as one:
            assert await unreachable(one) == "Connection refused"

    async def test_a_slow_one_in_time(self) -> None:
        async def dribbles(connection: Connection) -> None:
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
                connection.writer.write(bytes([byte]))
                await connection.writer.drain()
                await asyncio.sleep(0.001)

        async with receiving(dribbles) as receiver, sender(receiver.url) as one:
            await one.send([stored(1)])
            await one.send([stored(2)])
        assert receiver.connections == 1

    async def test_one_that_dribbles_for_ever(self) -> None:
        async def dribbles(connection: Connection) -> None:
            connection.writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not connection.writer.is_closing():
                connection.writer.write(b"x")
                await connection.writer.drain()
                await asyncio.sleep(0.01)

        async with receiving(dribbles) as receiver, sender(receiver.url, timeout_s=0.2) as one:
            assert await unreachable(one) == "no answer within 0.2 s"

    @pytest.mark.parametrize("rest", [b"x" * 10, b"x" * 200_000])
    async def test_an_answer_without_its_end_is_an_answer(self, rest: bytes) -> None:
        async def breaks_off(connection: Connection) -> None:
            connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + rest)
            await connection.writer.drain()
            connection.writer.close()

        async with receiving(breaks_off) as receiver, sender(receiver.url) as one:
            await one.send([stored(1)])
            await one.send([stored(2)])
        assert receiver.connections == 2

    @pytest.mark.parametrize(
        "text", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"\x16\x03\x01\x00\x00", b"x" * 200_000]
    )
    async def test_what_is_no_answer(self, text: bytes) -> None:
        async def babbles(connection: Connection) -> None:
            connection.writer.write(text)
            await connection.writer.drain()
            connection.writer.close()

        async with receiving(babbles) as receiver, sender(receiver.url) as one:
            assert "SSH" not in await unreachable(one)
            await one.send([stored(1)])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirects_are_not_followed(self, status: int) -> None:
        async with receiving() as elsewhere:
            leads = says(f"{status} There", f"Location: {elsewhere.url}\r\n")
            async with receiving(leads) as receiver, sender(receiver.url) as one:
                assert "redirects are not followed" in str(await rejected(one))
        assert elsewhere.connections == 0

    async def test_what_is_said_of_a_failure_has_no_secret_and_no_word(self) -> None:
        bad = says("500 여보세요".encode().decode("latin-1"), body="여보세요")
        async with receiving(bad, resets) as receiver, sender(receiver.url) as one:
            texts = [str(await rejected(one)), await unreachable(one)]
        for text in texts:
            assert not any(part in text for part in ("여보세요", SECRET[6:], "hook", str(receiver.port)))


async def test_a_key_in_the_url_is_told_nobody_but_the_receiver(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of it, and whatever the libraries log."""
    caplog.set_level(logging.DEBUG)
    acts = says("500 No"), says("302 There", "Location: /\r\n"), says("410 Gone"), resets, hangs
    texts = []
    async with receiving(*acts) as receiver:
        urls = [f"{receiver.url}?code=hunter2"] * 6 + [
            f"https://127.0.0.1:{receiver.port}/?code=hunter2",
            "http://127.0.0.1:1/?code=hunter2",
            "http://no.such.name.invalid/?code=hunter2",
            "http://169.254.169.254/?code=hunter2",
            "http://0x7f.1/?code=hunter2",
            "ftp://crm.example/?code=hunter2",
        ]
        for url in urls:
            async with sender(url, timeout_s=0.5) as one:
                try:
                    await one.send([stored(1)])
                except (Rejected, Unreachable) as error:
                    texts += traceback.format_exception(error)
    assert [got.line for got in receiver.got] == ["POST /hook?code=hunter2 HTTP/1.1"] * 6
    assert len(texts) > 11
    assert "hunter2" not in "".join(texts) + caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for crm.example, with its key."""
    folder = tmp_path_factory.mktemp("webhook-tls")
    name = ["-subj", "/CN=crm.example", "-addext", "subjectAltName=DNS:crm.example"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    command = ["openssl", "req", "-x509", *made, "-out", "cert.pem", "-days", "2", *name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def own(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def trusted(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


class TestTls:
    async def test_the_name_is_asked_for_and_verified_at_the_pinned_address(self, certificate: Path) -> None:
        asked: list[str | None] = []
        mine = own(certificate)
        mine.sni_callback = lambda _socket, name, _context: asked.append(name)
        async with receiving(tls=mine) as receiver:
            url = f"https://crm.example:{receiver.port}/hook"
            async with sender(url, tls=trusted(certificate), resolve=Name(["127.0.0.1"])) as one:
                await one.send([stored(1)])
        assert asked == ["crm.example"]
        assert receiver.got[0].headers["host"] == f"crm.example:{receiver.port}"
        assert receiver.got[0].verified()

    @pytest.mark.parametrize("host", ["crm.example", "other.example"])
    async def test_a_certificate_that_is_not_to_be_trusted(self, certificate: Path, host: str) -> None:
        async with receiving(tls=own(certificate)) as receiver:
            url = f"https://{host}:{receiver.port}/hook"
            tls = None if host == "crm.example" else trusted(certificate)
            async with sender(url, tls=tls, resolve=Name(["127.0.0.1"])) as one:
                assert "certificate is not to be trusted" in await unreachable(one)
        assert receiver.got == []

    async def test_a_server_that_speaks_none(self) -> None:
        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()

        async with server(answers) as port:
            url = f"https://crm.example:{port}/"
            async with sender(url, resolve=Name(["127.0.0.1"])) as one:
                assert (await unreachable(one)).startswith("TLS: ")


FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]:{port}/",
    "http://[::]:{port}/",
    "http://127.0.0.1:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://localhost:{port}/",
]


class Dialled:
    """Every address that a TCP connection is tried to, in the place of the real dialler."""

    def __init__(self, patch: pytest.MonkeyPatch, *, through: bool = False) -> None:
        self.hosts: list[str] = []
        real = httpcore.AnyIOBackend.connect_tcp

        async def connect_tcp(backend: httpcore.AnyIOBackend, host: str, *given: Any) -> Any:
            self.hosts.append(host)
            if through:
                return await real(backend, host, *given)
            raise httpcore.ConnectError("nobody is dialled in this test")

        patch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)


class TestWhoMayBeCalled:
    @pytest.mark.parametrize("url", FORBIDDEN)
    async def test_nobody_of_one_s_own_is(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        dialled = Dialled(monkeypatch)
        async with receiving() as receiver, sender(url.format(port=receiver.port), reach=Reach()) as one:
            await unreachable(one)
        assert (receiver.connections, dialled.hosts) == (0, [])

    @pytest.mark.parametrize(
        "addresses",
        [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], []],
    )
    async def test_nor_by_a_name(self, addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        dialled = Dialled(monkeypatch)
        async with sender("http://crm.example/", reach=Reach(), resolve=Name(addresses)) as one:
            await unreachable(one)
        assert dialled.hosts == []

    @pytest.mark.parametrize("host", ["0x7f000001", "2130706433", "127.1", "0177.0.0.1"])
    async def test_nor_by_a_number_whatever_a_resolver_makes_of_it(
        self, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dialled, name = Dialled(monkeypatch), Name(["8.8.8.8"])
        async with sender(f"http://{host}/", resolve=name) as one:
            await unreachable(one)
        assert (dialled.hosts, name.asked) == ([], [])

    @pytest.mark.parametrize("url", ["unix:///run/docker.sock", "file:///etc/passwd", "gopher://127.0.0.1/"])
    async def test_nor_otherwise_than_by_http(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        dialled = Dialled(monkeypatch)
        async with sender(url) as one:
            await unreachable(one)
        assert dialled.hosts == []

    async def test_a_name_that_changes_gains_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rebinding: the address that was judged is the one that is dialled, and the name is asked for once
        a connection."""
        dialled = Dialled(monkeypatch)
        name = Name(["8.8.8.8"], ["127.0.0.1"])
        async with sender("http://crm.example/", reach=Reach(), resolve=name) as one:
            await unreachable(one)
            assert (dialled.hosts, name.asked) == (["8.8.8.8"], ["crm.example"])
            assert "loopback" in await unreachable(one)
        assert dialled.hosts == ["8.8.8.8"]

    async def test_a_second_address_is_tried_when_the_first_is_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dialled = Dialled(monkeypatch, through=True)
        async with receiving() as receiver:
            url = f"http://crm.example:{receiver.port}/hook"
            async with sender(url, resolve=Name(["127.77.0.1", "127.0.0.1"])) as one:
                await one.send([stored(1)])
        assert dialled.hosts == ["127.77.0.1", "127.0.0.1"]

    async def test_a_first_address_that_hangs_leaves_time_for_the_second(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = httpcore.AnyIOBackend.connect_tcp

        async def connect_tcp(
            backend: httpcore.AnyIOBackend, host: str, port: int, timeout: float, *given: Any
        ) -> Any:
            if host == "127.0.0.1":
                return await real(backend, host, port, timeout, *given)
            await asyncio.sleep(timeout)
            raise httpcore.ConnectTimeout

        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
        name = Name(["127.77.0.1", "127.77.0.2", "127.77.0.3", "127.0.0.1"], ["127.77.0.1"])
        async with receiving() as receiver:
            url = f"http://crm.example:{receiver.port}/hook"
            async with sender(url, resolve=name, timeout_s=1) as one:
                await one.send([stored(1)])
            async with sender(url, resolve=name, timeout_s=0.2) as one:
                assert await unreachable(one) == "no connection in time"
        assert len(receiver.got) == 1

    async def test_a_network_that_is_allowed(self) -> None:
        here = Reach(networks=(ip_network("127.0.0.0/24"),))
        async with receiving() as receiver, sender(receiver.url, reach=here) as one:
            await one.send([stored(1)])
        assert len(receiver.got) == 1

    async def test_the_system_s_resolver(self) -> None:
        async with receiving() as receiver, sender(f"http://localhost:{receiver.port}/hook") as one:
            await one.send([stored(1)])
        assert receiver.got[0].headers["host"] == f"localhost:{receiver.port}"

    @pytest.mark.parametrize("host", ["no.such.name.invalid", "a" * 64 + ".example", "a..example"])
    async def test_a_name_that_is_none(self, host: str) -> None:
        async with sender(f"http://{host}/", reach=Reach()) as one:
            assert host not in await unreachable(one)

    async def test_a_resolver_that_hangs(self) -> None:
        async def never(host: str, port: int) -> Sequence[Address]:
            await asyncio.Event().wait()
            return []

        async with sender("http://crm.example/", resolve=never, timeout_s=0.05) as one:
            assert await unreachable(one) == "the name crm.example was not found in time"


async def test_after_all_that_every_event_is_there_in_order() -> None:
    """One call's events, each tried until it is taken, as the outbox does."""
    acts = [says("500 No"), resets, says("429 No", "Retry-After: 0\r\n"), says("200 OK"), resets, hangs]
    async with receiving(*acts) as receiver, sender(receiver.url, timeout_s=0.2) as one:
        for number in range(1, 6):
            for _ in range(len(acts) + 1):
                try:
                    await one.send([stored(number)])
                except (Rejected, Unreachable):
                    continue
                break
    ids = [event["id"] for got in receiver.got for event in got.events if got.verified()]
    assert list(dict.fromkeys(ids)) == [stored(number).id for number in range(1, 6)]
