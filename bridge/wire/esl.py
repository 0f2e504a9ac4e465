"""FreeSWITCH's event socket (ESL): bytes to messages, messages to events, and the commands that go back.

Pure. Decides what is a message, what it says and what may be written; whose connection it is and what waits
for a reply is `bridge.net.esl`'s concern, and what an event means to a call is read elsewhere. Sources:
mod_event_socket.c of FreeSWITCH 1.10.12, and what a real one said, in tests/captures/freeswitch/esl-0*.jsonl.
A message is

    header lines | empty line | body of Content-Length bytes, if there is that header
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from bridge.wire.pbxevents import PbxError

AUTH_REQUEST: Final = "auth/request"
COMMAND_REPLY: Final = "command/reply"
API_RESPONSE: Final = "api/response"
EVENT_JSON: Final = "text/event-json"
EVENT_PLAIN: Final = "text/event-plain"
DISCONNECT_NOTICE: Final = "text/disconnect-notice"
RUDE_REJECTION: Final = "text/rude-rejection"

MOST_HEADERS = 64 << 10
"""Bytes of a message's header lines."""
MOST_BODY = 16 << 20
"""Bytes of a message's body; FreeSWITCH 1.11 sets itself the same limit."""
MOST_EVENT = 1 << 20
"""Bytes of an event that is read; those of a call have about ten thousand."""
_MOST_SENT = 1 << 20
"""Bytes of a command: FreeSWITCH reads 10 MiB, and what is beyond as a command of its own."""

_END = b"\n\n"
_NEWLINE = ord("\n")
_DIGITS = re.compile(r"0*([0-9]{1,8})", re.ASCII)
_BREAK = re.compile(r"[\r\n\0]")
_NAME = re.compile(r"[!-9;-~]+", re.ASCII)
_RESERVED = ("command", "content-length", "event-name", "event-subclass", "unique-id")
"""Headers of `sendevent` with a meaning of their own: an event with the Unique-ID of a channel that lives
goes into that channel's own queue, and to the others only when the channel comes to it."""


class EslError(PbxError):
    """Bytes that are not ESL, an event that cannot be read, or a value that cannot go into a command.

    The text never holds a value, so it may be logged whatever the value was.
    """

    def __init__(self, text: str, before: "Sequence[Message]" = ()) -> None:
        super().__init__(text)
        self.before = before
        """The messages that the same bytes held before the fault."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    """Its Content-Type."""
    headers: Mapping[str, str] = field(repr=False)
    """By name as FreeSWITCH spells it, decoded; of a name that is repeated, the first."""
    body: bytes = field(default=b"", repr=False)

    @property
    def reply(self) -> str:
        """What it answers to a command: the body of an api/response, the Reply-Text of a command/reply."""
        if self.kind == API_RESPONSE:
            return self.body.decode("utf-8", "replace")
        return self.headers.get("Reply-Text", "")


@dataclass(frozen=True, slots=True)
class EslEvent:
    name: str
    """CHANNEL_ANSWER, CUSTOM, ..."""
    subclass: str
    """Of a CUSTOM event, such as `mod_audio_stream::connect`; else empty."""
    headers: Mapping[str, str] = field(repr=False)
    """All of them, decoded; of a name that is repeated, the first. Several values of one channel variable are
    one text, `ARRAY::a|:b`, in whatever format the event came."""
    body: str = field(default="", repr=False)


# Bytes to messages.


class Reader:
    """The messages of one connection. It holds less than one message of bytes, whatever comes."""

    __slots__ = ("_fault", "_head", "_rest", "_searched")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        """Bytes of `_rest` that hold no end of the header lines."""
        self._head: tuple[str, dict[str, str], int] | None = None
        """Kind, headers and length of the message whose body is awaited."""
        self._fault = ""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in `data`, which may be cut anywhere.

        Raises EslError, and nothing else, at what is no message, and ever after: there is no way back into
        step. Its `before` has the messages ahead of the fault.
        """
        if self._fault:
            raise EslError(self._fault)
        self._rest += data
        messages: list[Message] = []
        try:
            done = self._parse(messages)
        except EslError as error:
            self._fault = str(error)
            self._rest.clear()
            raise EslError(self._fault, messages) from None
        del self._rest[:done]
        return messages

    def _parse(self, messages: list[Message]) -> int:
        """Appends the whole messages in `_rest`; returns where the first other one begins."""
        rest, start, size = self._rest, 0, len(self._rest)
        while True:
            if self._head is None:
                while start < size and rest[start] == _NEWLINE:
                    start += 1
                end = rest.find(_END, max(start, self._searched))
                if end < 0:
                    _check(size - start - 1, MOST_HEADERS, "header lines")
                    self._searched = max(0, size - start - 1)
                    return start
                _check(end - start, MOST_HEADERS, "header lines")
                self._head = _head(bytes(rest[start:end]))
                start, self._searched = end + len(_END), 0
            kind, headers, length = self._head
            if size - start < length:
                return start
            messages.append(Message(kind, headers, bytes(rest[start : start + length])))
            start, self._head = start + length, None


def _head(block: bytes) -> tuple[str, dict[str, str], int]:
    """Kind, headers and length of body. Raises EslError."""
    headers = _headers(block.decode("utf-8", "replace"))
    kind = headers.get("Content-Type")
    if not kind:
        raise EslError("header lines without a Content-Type")
    if "Event-Name" in headers:  # the answer to an outbound connect is an event, and encoded like one
        headers = {name: unquote(value) for name, value in headers.items()}
        kind = headers["Content-Type"]
    return kind, headers, _length(headers)


def _headers(text: str) -> dict[str, str]:
    """Header lines, not decoded; the first of those that have one name. A line without a colon is none."""
    headers: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name, value.strip(" \r"))
    return headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length")
    if text is None:
        return 0
    digits = _DIGITS.fullmatch(text)
    if digits is None:
        raise EslError("Content-Length is no number, or one of more digits than any")
    length = int(digits[1])
    _check(length, MOST_BODY, "body")
    return length


def _check(size: int, most: int, what: str) -> None:
    if size > most:
        raise EslError(f"{what} of {size} bytes, at most {most}")


# Messages to events.


def event_of(message: Message) -> EslEvent:
    """The event of a text/event-json or text/event-plain. Raises EslError for what is none."""
    if len(message.body) > MOST_EVENT:
        raise EslError(f"event of {len(message.body)} bytes, at most {MOST_EVENT}")
    if message.kind == EVENT_JSON:
        headers, body = _json(message.body)
    elif message.kind == EVENT_PLAIN:
        headers, body = _plain(message.body)
    else:
        raise EslError("message is no event in JSON or plain text")
    name = headers.get("Event-Name")
    if not name:
        raise EslError("event without an Event-Name")
    return EslEvent(name, headers.get("Event-Subclass", ""), headers, body)


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The first of those that have one name, and nothing more to do where there are none."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


# Numbers as they are written: nothing has to be computed. One decoder for all: to make one costs as much as
# to read a short event.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_first, parse_int=str, parse_float=str, parse_constant=str, strict=False
)


def _json(data: bytes) -> tuple[dict[str, str], str]:
    text = data.decode("utf-8", "replace")
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise EslError("event is no JSON") from None
    if not isinstance(found, dict):
        raise EslError("event is no JSON object")
    if set(map(type, found.values())) != {str}:
        found = {name: value for name, held in found.items() if (value := _text(held)) is not None}
    if "\\ud" in text or "\\uD" in text:
        found = {_whole(name): _whole(value) for name, value in found.items()}
    return found, found.pop("_body", "")


def _text(value: object) -> str | None:
    """A value that is no string: those of a list as they are in plain events, others dropped."""
    if isinstance(value, list):
        return "ARRAY::" + "|:".join(one for one in value if isinstance(one, str))
    return value if isinstance(value, str) else None


def _whole(text: str) -> str:
    """Halves of letters, which JSON can write and nobody can send on, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(data: bytes) -> tuple[dict[str, str], str]:
    head, _, rest = data.partition(_END)
    headers = {name: unquote(value) for name, value in _headers(head.decode("utf-8", "replace")).items()}
    length = _length(headers)
    if length > len(rest):
        raise EslError(f"event whose body has {len(rest)} of {length} bytes")
    return headers, rest[:length].decode("utf-8", "replace")


# Commands.


def auth(password: str) -> bytes:
    """Log in. Raises EslError for a password that would be more than one line, or none."""
    if not password:
        raise EslError("password is empty")
    return _command(f"auth {_checked(password, 'password')}")


def subscribe(events: Iterable[str], subclasses: Iterable[str] = ()) -> bytes:
    """Be sent these events, and the CUSTOM ones of `subclasses`, in JSON, besides those asked for before.

    Names that FreeSWITCH does not know are passed over there, unless it knows none. Raises EslError.
    """
    names = [_word(name, "event") for name in events]
    if "CUSTOM" in names:
        raise EslError("CUSTOM is asked for by its subclasses")
    custom = [_word(name, "subclass") for name in subclasses]
    words = [*names, *(["CUSTOM", *custom] if custom else [])]  # all that comes after CUSTOM is a subclass
    if not words:
        raise EslError("no event is asked for")
    return _command(f"event json {' '.join(words)}")


def api(command: str, *words: str) -> bytes:
    """Have a command carried out; its reply is an api/response.

    FreeSWITCH cuts at spaces, so only the last word may have some. Raises EslError.
    """
    *firsts, last = command, *words
    parts = [_word(word, "argument") for word in firsts]
    return _command(" ".join(["api", *parts, _checked(last, "argument")]))


def sendevent(subclass: str, headers: Mapping[str, str], body: str = "") -> bytes:
    """Send all who listen a CUSTOM event; its reply is a command/reply.

    `body` may have several lines. Raises EslError, for a header with a meaning of its own too.
    """
    lines = ["sendevent CUSTOM", f"Event-Subclass: {_word(subclass, 'subclass')}"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
            raise EslError("a header of this name cannot be sent")
        lines.append(f"{name}: {_checked(value, name)}")
    if "\0" in body:
        raise EslError("body has a NUL in it")
    data = _encoded(body)
    if data:
        lines.append(f"Content-Length: {len(data)}")
    return _command("\n".join(lines), data)


def refusal(message: Message) -> str | None:
    """Why a command was refused, in 200 characters at most; None when it was not."""
    text = message.reply.lstrip()
    if not text.startswith(("-ERR", "-USAGE")):
        return None
    return " ".join(text[:1000].split())[:200]


def _checked(value: str, what: str) -> str:
    if _BREAK.search(value):
        raise EslError(f"{what} has a line break or NUL in it")
    return value


def _word(value: str, what: str) -> str:
    if not value or " " in value or "\t" in value:
        raise EslError(f"{what} is not one word")
    return _checked(value, what)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _command(text: str, body: bytes = b"") -> bytes:
    data = _encoded(text) + _END + body
    _check(len(data), _MOST_SENT, "command")
    return data
