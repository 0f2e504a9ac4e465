"""bridge/net/webhook.py: a probe comes as far as a send does before its first word, and says none."""

import asyncio
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from bridge.net.webhook import Resolve, WebhookSender
from bridge.outbox.stored import Unreachable
from bridge.wire.address import Reach
from bridge.wire.webhook import key
from tests.net.receiver import SECRET
from tests.net.tcp import server

HERE = Reach(private=True)


async def probed(
    url: str,
    *,
    reach: Reach = HERE,
    timeout_s: float = 5,
    tls: ssl.SSLContext | None = None,
    resolve: Resolve | None = None,
) -> str:
    """Why it failed; "" if it did not."""
    async with WebhookSender(
        "webhook:crm", url, [key(SECRET)], timeout_s=timeout_s, reach=reach, tls=tls, resolve=resolve
    ) as sender:
        try:
            await sender.probe()
        except Unreachable as error:
            return str(error)
    return ""


class Silent:
    """Takes connections, and keeps what is said on them until they end."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        heard = b""
        try:
            heard = await reader.read()
        finally:
            self.heard.append(heard)
            self.over.set()


async def test_it_connects_and_says_nothing() -> None:
    silent = Silent()
    async with server(silent.serve) as port:
        assert await probed(f"http://127.0.0.1:{port}/hook") == ""
        await asyncio.wait_for(silent.over.wait(), 5)
    assert silent.heard == [b""]


async def test_what_no_send_would_reach_it_does_not_either() -> None:
    async with server(Silent().serve) as port:
        url = f"http://127.0.0.1:{port}/"
        assert "is not to be called (loopback)" in await probed(url, reach=Reach())
    assert await probed(url) == "Connection refused"

    async def nowhere(_host: str, _port: int) -> list[object]:
        return [ip_address("169.254.169.254")]

    assert "metadata" in await probed("https://crm.example/", resolve=nowhere)  # type: ignore[arg-type]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*made, "-out", files[0], "-keyout", files[1], *names], check=True, capture_output=True)
    return files


async def test_tls_is_part_of_it(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def here(_host: str, _port: int) -> list[object]:
        return [ip_address("127.0.0.1")]

    silent = Silent()
    async with server(silent.serve, context) as port:
        url = f"https://localhost:{port}/"
        trusted = ssl.create_default_context(cafile=certificate[0])
        assert await probed(url, tls=trusted, resolve=here) == ""  # type: ignore[arg-type]
        await asyncio.wait_for(silent.over.wait(), 5)
        told = await probed(url, resolve=here)  # type: ignore[arg-type]
        assert told.startswith("its certificate is not to be trusted: ")
    assert silent.heard == [b""]


async def test_a_server_that_takes_connections_and_speaks_no_tls_is_not_waited_for() -> None:
    async with server(Silent().serve) as port:
        told = await probed(f"https://127.0.0.1:{port}/", timeout_s=0.2)
    assert told.startswith("no connection ")
