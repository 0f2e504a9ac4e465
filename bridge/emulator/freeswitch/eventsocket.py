"""One client of the emulated FreeSWITCH's event socket: bytes in, commands out, and the events it asked for.

The protocol as recorded (esl-01); what `api` commands do is in `commands`, and nothing here knows of calls.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

from bridge.emulator.freeswitch.channel import Headers
from bridge.emulator.freeswitch.knobs import SwitchKnobs

_AUTH_S = 25.0
_MOST_COMMAND = 1 << 20
_MOST_WAITING = 8 << 20
"""Bytes that may wait for a client that does not read; then events are lost to it."""
_MOST_LOST = 500
"""A client that lost more is cut off, as by mod_event_socket."""
_GOODBYE = b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
_PLAIN_SAFE = "!$'()*,-./_~"
_CHANNEL = """
CREATE DESTROY STATE CALLSTATE ANSWER HANGUP HANGUP_COMPLETE EXECUTE EXECUTE_COMPLETE HOLD UNHOLD BRIDGE
UNBRIDGE PROGRESS PROGRESS_MEDIA OUTGOING PARK UNPARK APPLICATION ORIGINATE UUID DATA
"""
_OTHER = """
CUSTOM API BACKGROUND_JOB CODEC CALL_UPDATE MEDIA_BUG_START MEDIA_BUG_STOP DTMF HEARTBEAT SHUTDOWN MODULE_LOAD
MODULE_UNLOAD RECORD_START RECORD_STOP PLAYBACK_START PLAYBACK_STOP MESSAGE
"""
EVENTS = frozenset((*(f"CHANNEL_{name}" for name in _CHANNEL.split()), *_OTHER.split()))
"""The names it knows; FreeSWITCH knows more."""

Api = Callable[[str], Awaitable[str]]
Fire = Callable[[Headers, str], None]


class EventSocket:
    """`serve` is the whole of it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        knobs: Callable[[], SwitchKnobs],
        api: Api,
        fire: Fire,
        spawn: Callable[[Awaitable[None]], None],
        changed: Callable[[], None],
    ) -> None:
        """`api` carries out a command, `fire` sends an event to every client, `spawn` owns a task.

        `changed` is told when it asked for events.
        """
        self._reader = reader
        self._writer = writer
        self._knobs = knobs
        self._api = api
        self._fire = fire
        self._spawn = spawn
        self._changed = changed
        self._authed = False
        self._plain = False
        self._names: set[str] = set()
        self._subclasses: set[str] = set()
        self._all = False
        self.lost = 0
        """Events that it was too slow for."""

    @property
    def follows(self) -> bool:
        """Whether it asked for any event."""
        return self._all or bool(self._names or self._subclasses)

    async def serve(self) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            if self._knobs().acl_refuses:
                self._send(b"Access Denied, go away.\n", ("Content-Type", "text/rude-rejection"))
            else:
                self._send(b"", ("Content-Type", "auth/request"))
                async with asyncio.timeout(_AUTH_S):
                    going = await self._login()
                while going:
                    going = await self._step(await self._command())
            await self._writer.drain()
        self.close()

    def close(self) -> None:
        """The connection goes, whatever is on its way."""
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    def tell(self, headers: Headers, body: str) -> None:
        """Send an event, if it was asked for."""
        if not self._wants(dict(headers)):
            return
        if self._writer.transport.get_write_buffer_size() > _MOST_WAITING:
            self.lost += 1
            if self.lost > _MOST_LOST:
                self.abort()
            return
        if self._plain:
            self._send(_plain(headers, body), ("Content-Type", "text/event-plain"))
        else:
            self._send(_json(headers, body), ("Content-Type", "text/event-json"))

    def _wants(self, event: dict[str, str]) -> bool:
        name = event["Event-Name"]
        if not self._authed:
            return False
        if name == "CUSTOM" and not self._all:
            return event.get("Event-Subclass", "") in self._subclasses
        return self._all or name in self._names

    async def _login(self) -> bool:
        while not self._authed:
            words = (await self._command())[0].split(maxsplit=1)
            if words[:1] != ["auth"]:
                self._reply("-ERR command not found")
            elif words[1:] == [self._knobs().password]:
                self._authed = True
                self._reply("+OK accepted")
            else:
                self._reply("-ERR invalid")
                self._bye()
                return False
        return True

    async def _command(self) -> tuple[str, dict[str, str], str]:
        """The next command: its first line, its headers and its body."""
        lines = [""]
        while not any(lines):
            head = await self._reader.readuntil(b"\n\n")
            lines = head.decode(errors="replace").replace("\r\n", "\n").strip("\n").split("\n")
        headers = {
            name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        size = int(headers.get("Content-Length") or headers.get("content-length") or 0)
        body = await self._reader.readexactly(size) if 0 < size <= _MOST_COMMAND else b""
        return lines[0].strip(), headers, body.decode(errors="replace")

    async def _step(self, command: tuple[str, dict[str, str], str]) -> bool:
        """Carry one command out; whether there may be another."""
        line, headers, body = command
        verb, _, rest = line.partition(" ")
        match verb:
            case "api":
                await self._answer_api(rest)
            case "bgapi":
                self._begin_job(rest, headers.get("Job-UUID") or str(uuid4()))
            case "event":
                self._reply(self._subscribe(rest.split()))
            case "noevents":
                self._names, self._subclasses, self._all = set(), set(), False
                self._reply("+OK no longer listening for events")
            case "sendevent":
                event = [("Event-Name", rest or "CUSTOM"), *headers.items()]
                self._reply(f"+OK {uuid4()}")
                self._fire([pair for pair in event if pair[0].lower() != "content-length"], body)
            case "linger" | "nolinger":
                self._reply("-ERR not controlling a session")
            case "exit" | "...":
                self._reply("+OK bye")
                self._bye()
                return False
            case _:
                self._reply("-ERR command not found")
        return True

    async def _answer_api(self, command: str) -> None:
        knobs = self._knobs()
        await asyncio.sleep(knobs.reply_delay_s)
        answer = (await self._api(command)).encode()
        if not command.startswith(knobs.swallow or ("\0",)):
            self._send(answer, ("Content-Type", "api/response"))

    def _begin_job(self, command: str, job: str) -> None:
        self._send(
            b"",
            ("Content-Type", "command/reply"),
            ("Reply-Text", f"+OK Job-UUID: {job}"),
            ("Job-UUID", job),
        )
        self._spawn(self._job(command, job))

    async def _job(self, command: str, job: str) -> None:
        answer = await self._api(command)
        name, _, argument = command.partition(" ")
        event = [("Event-Name", "BACKGROUND_JOB"), ("Job-UUID", job), ("Job-Command", name)]
        self._fire([*event, ("Job-Command-Arg", argument)] if argument else event, answer)

    def _subscribe(self, words: list[str]) -> str:
        """After CUSTOM every word is a subclass. A format that is not asked for is plain."""
        style = words.pop(0).lower() if words and words[0].lower() in ("plain", "json", "xml") else "plain"
        if style == "xml":
            return "-ERR xml is not emulated"
        names = [word.upper() for word in words]
        cut = names.index("CUSTOM") if "CUSTOM" in names else len(words)
        wanted = {name for name in names[:cut] if name in EVENTS or name == "ALL"}
        if not wanted and not words[cut:]:
            return "-ERR no keywords supplied"
        self._plain = style == "plain"
        self._all = self._all or "ALL" in wanted
        self._names |= wanted
        self._subclasses.update(words[cut + 1 :])
        self._changed()
        return f"+OK event listener enabled {style}"

    def _bye(self) -> None:
        self._send(_GOODBYE, ("Content-Type", "text/disconnect-notice"))

    def _reply(self, text: str) -> None:
        self._send(b"", ("Content-Type", "command/reply"), ("Reply-Text", text))

    def _send(self, body: bytes, *headers: tuple[str, str]) -> None:
        if self._writer.is_closing():
            return
        lines = [f"{name}: {value}\n" for name, value in headers]
        event = headers[0][1].startswith("text/event")
        if body or headers[0][1] == "api/response":
            lines.insert(0 if event else 1, f"Content-Length: {len(body)}\n")
        self._writer.write("".join(lines).encode() + b"\n" + body)


def _json(headers: Headers, body: str) -> bytes:
    """Names may come twice, which a dict would not allow."""
    pairs = [*headers, ("Content-Length", str(len(body.encode()))), ("_body", body)] if body else headers
    fields = (f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}" for name, value in pairs)
    return ("{" + ",".join(fields) + "}").encode()


def _plain(headers: Headers, body: str) -> bytes:
    lines = [f"{name}: {quote(value, safe=_PLAIN_SAFE)}\n" for name, value in headers]
    content = body.encode()
    if content:
        lines.append(f"Content-Length: {len(content)}\n")
    return "".join(lines).encode() + b"\n" + content
