"""A receiver of webhooks that answers as a test wants, or not at all, and keeps what reached it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from bridge.outbox.stored import Stored
from tests.net.tcp import server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_" + "b2xkIGFuZCBncmV5LCBidXQgc3RpbGwgZ29vZA=="


@dataclass(frozen=True, slots=True)
class Got:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def events(self) -> list[dict[str, Any]]:
        given = json.loads(self.body)
        return given if isinstance(given, list) else [given]

    def verified(self, secret: str = SECRET) -> Any:
        """What it says, if it is signed with this secret. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Connection:
    """One connection to the receiver."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> Got:
        """Raises IncompleteReadError once the sender has gone."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:])}
        return Got(head[0], headers, await self.reader.readexactly(int(headers["content-length"])))

    async def answer(self, status: str, headers: str = "", body: str = "") -> None:
        text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}"
        self.writer.write(text.encode())
        await self.writer.drain()


Act = Callable[[Connection], Awaitable[None]]


def says(status: str, headers: str = "", body: str = "") -> Act:
    """An answer, after which the connection goes on."""

    async def act(connection: Connection) -> None:
        await connection.answer(status, headers, body)

    return act


OK = says("204 No Content")


async def hangs(connection: Connection) -> None:
    """Never answers, until the sender goes."""
    await connection.reader.read()


async def resets(connection: Connection) -> None:
    """Ends the connection instead of an answer."""
    connection.writer.transport.abort()


class Receiver:
    """What came, and how the next requests are answered: `acts` one each, then `otherwise`."""

    def __init__(self, *acts: Act, otherwise: Act = OK) -> None:
        self.acts = list(acts)
        self.otherwise = otherwise
        self.got: list[Got] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = Connection(reader, writer)
        while not writer.is_closing():
            self.got.append(await connection.request())
            await (self.acts.pop(0) if self.acts else self.otherwise)(connection)


@asynccontextmanager
async def receiving(
    *acts: Act, otherwise: Act = OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(*acts, otherwise=otherwise)
    async with server(receiver.serve, tls) as port:
        receiver.port = port
        yield receiver


def stored(number: int, call: str = "1764.5", text: str = "여보세요") -> Stored:
    """An event as the outbox hands it out."""
    name, kind = f"{call}/PJSIP%2F100-1/{number}", "rtzr.transcript.final"
    event = {"specversion": "1.0", "id": name, "source": "rtzr-bridge", "type": kind, "subject": call}
    body = json.dumps(event | {"data": {"text": text}}, ensure_ascii=False).encode()
    return Stored(number, name, call, kind, body)
