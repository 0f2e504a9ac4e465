"""One client of the replayed ESL: login, commands, and the events that it asked for, in pieces of any size.

What an api command does is for the replayer to say.
"""

import asyncio
import json
import random
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.freeswitch.recording import Headers

GOODBYE = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
TWICE = {"CHANNEL_HANGUP_COMPLETE": "Hangup-Cause"}
"""Headers that FreeSWITCH writes a second time."""

Api = Callable[[str, str], str]


def as_json(event: Headers) -> bytes:
    """The body of text/event-json, with the header that comes twice."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    twice = TWICE.get(event["Event-Name"], "")
    if twice in event:
        text = text[:-1] + f",{json.dumps(twice)}:{json.dumps(event[twice])}}}"
    return text.encode()


def as_plain(event: Headers) -> bytes:
    """The body of text/event-plain: values URL-encoded, its own body behind a length of its own."""
    lines = []
    for name, value in event.items():
        if name not in ("_body", "Content-Length"):
            array = "|:".join(["ARRAY::" + value[0], *value[1:]]) if isinstance(value, list) else str(value)
            lines.append(f"{name}: {urllib.parse.quote(array, safe='/,()@')}\n")
    body = str(event.get("_body", "")).encode()
    if body:
        lines.append(f"Content-Length: {len(body)}\n")
    return "".join(lines).encode() + b"\n" + body


@dataclass(slots=True, eq=False)
class EslClient:
    """A connection. `api`: (command, arguments) -> answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    password: str
    api: Api
    rng: random.Random
    commands: list[str]
    """Every command of every client, without the passwords."""
    subscribed: asyncio.Event
    format: str = "plain"
    names: set[str] = field(default_factory=set)
    subclasses: set[str] = field(default_factory=set)
    _out: bytearray = field(default_factory=bytearray)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: asyncio.Event = field(default_factory=asyncio.Event)
    _over: bool = False

    async def serve(self) -> None:
        """Until the client goes, or is sent away."""
        pump = asyncio.create_task(self._pump())
        try:
            self._head("Content-Type: auth/request")
            if await self._login():
                while command := await self._command():
                    if not self._answer(command):
                        break
            self._bye()
            await pump
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            pump.cancel()
            self.writer.close()

    async def flush(self) -> None:
        """Until all that was written is sent."""
        async with asyncio.timeout(5):
            await self._sent.wait()

    def abort(self) -> None:
        """Break the connection off, as the end of the process does."""
        self.writer.transport.abort()

    def event(self, event: Headers) -> None:
        """Send an event, if it was asked for."""
        if not self._wants(event):
            return
        body = as_json(event) if self.format == "json" else as_plain(event)
        self._write(
            f"Content-Length: {len(body)}\nContent-Type: text/event-{self.format}\n\n".encode() + body
        )

    def _wants(self, event: Headers) -> bool:
        if "ALL" in self.names:
            return True
        if event["Event-Name"] == "CUSTOM":
            return event["Event-Subclass"] in self.subclasses
        return event["Event-Name"] in self.names

    async def _login(self) -> bool:
        while command := await self._command():
            word, _, password = command[0].partition(" ")
            if word == "exit":
                return False
            if word != "auth":
                self._reply("-ERR command not found")
            elif password == self.password:
                self._reply("+OK accepted")
                return True
            else:
                self._reply("-ERR invalid")
                return False
        return False

    async def _command(self) -> list[str]:
        """The lines of the next command, and its body if it has one."""
        while True:
            text = (await self.reader.readuntil(b"\n\n")).decode().strip("\n")
            if not text:
                continue
            lines = text.split("\n")
            sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
            if sizes:
                lines.append((await self.reader.readexactly(int(sizes[0]))).decode())
            self.commands.append(lines[0] if not lines[0].startswith("auth") else "auth")
            return lines

    def _answer(self, lines: list[str]) -> bool:
        """Do one command; whether the connection goes on."""
        word, _, rest = lines[0].partition(" ")
        match word:
            case "api":
                name, _, arguments = rest.partition(" ")
                answer = self.api(name, arguments).encode() or b"-ERR no reply\n"
                head = f"Content-Type: api/response\nContent-Length: {len(answer)}\n\n"
                self._write(head.encode() + answer)
            case "bgapi":
                self._background(rest, lines[1:])
            case "event":
                self._subscribe(rest.split())
            case "nixevent":
                self.names -= set(rest.split())
                self._reply("+OK events nixed")
            case "noevents":
                self.names.clear()
                self.subclasses.clear()
                self._reply("+OK no longer listening for events")
            case "sendevent":
                self._reply(f"+OK {uuid.UUID(int=self.rng.getrandbits(128))}")
            case "exit":
                self._reply("+OK bye")
                return False
            case "linger" | "nolinger":
                self._reply("-ERR not controlling a session")
            case _:
                self._reply("-ERR command not found")
        return True

    def _background(self, rest: str, headers: list[str]) -> None:
        own = [line.split(": ", 1)[1] for line in headers if line.startswith("Job-UUID: ")]
        job = own[0] if own else str(uuid.UUID(int=self.rng.getrandbits(128)))
        self._head(f"Content-Type: command/reply\nReply-Text: +OK Job-UUID: {job}\nJob-UUID: {job}")
        name, _, arguments = rest.partition(" ")
        told: dict[str, Any] = {"Event-Name": "BACKGROUND_JOB", "Job-UUID": job, "Job-Command": name}
        self.event(told | {"Job-Command-Arg": arguments, "_body": self.api(name, arguments)})

    def _subscribe(self, words: list[str]) -> None:
        if words and words[0] in ("plain", "json"):
            self.format = words.pop(0)
        custom = words.index("CUSTOM") if "CUSTOM" in words else len(words)
        self.names |= set(words[:custom])
        self.subclasses |= set(words[custom + 1 :])
        if not words:
            self._reply("-ERR no keywords supplied")
            return
        self._reply(f"+OK event listener enabled {self.format}")
        self.subscribed.set()

    def _reply(self, text: str) -> None:
        self._head(f"Content-Type: command/reply\nReply-Text: {text}")

    def _head(self, text: str) -> None:
        self._write(f"{text}\n\n".encode())

    def _bye(self) -> None:
        head = f"Content-Type: text/disconnect-notice\nContent-Length: {len(GOODBYE)}\n\n"
        self._write((head + GOODBYE).encode())
        self._over = True
        self._more.set()

    def _write(self, data: bytes) -> None:
        self._out += data
        self._sent.clear()
        self._more.set()

    async def _pump(self) -> None:
        """Carries out what is to be sent, cut anywhere."""
        while True:
            await self._more.wait()
            while self._out and not self.writer.transport.is_closing():
                size = self.rng.choice([1, 7, self.rng.randint(1, 200), 1500, 65536])
                self.writer.write(bytes(self._out[:size]))
                del self._out[:size]
                await self.writer.drain()
                await asyncio.sleep(0)
            self._sent.set()
            if self._over or self.writer.transport.is_closing():
                return
            self._more.clear()
