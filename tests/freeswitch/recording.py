"""A recorded FreeSWITCH session as values: what it told over ESL, and what each start of a stream led to.

Pure but for reading the file. The format is told in tests/captures/freeswitch/README.md. The recorder's own
commands about streams, and what came of them, are taken out of the story and become `Script`s: whoever
follows the replay gives commands of its own.
"""

import base64
import itertools
import json
import re
import statistics
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parent.parent / "captures" / "freeswitch"
MODULES = {"uuid_audio_stream": "mod_audio_stream", "uuid_audio_fork": "mod_audio_fork"}
CHANNELS = {"mono": 1, "mixed": 1, "stereo": 2}
SLOW_S = 0.3
"""An upgrade that took longer was slow on the recorder's side: the replay connects so much later instead."""

Line = dict[str, Any]
Headers = dict[str, Any]
"""An event: header -> text (a list of texts where the header came more than once); `_body`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One thing that FreeSWITCH did on a connection."""

    at: float
    """Seconds since the start of the recording, here and everywhere."""
    op: str
    """connect, text, binary, ping, pong, close; gone: TCP ends without one; reset: by the server."""
    conn: int
    size: int = 0
    fill: bool = False
    """Binary: all that is known of it is 0xFF."""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Script:
    """One start of a stream, and what FreeSWITCH did because of it until the next one."""

    at: float
    leg: str
    module: str
    mix: str
    rate: int
    reply: str
    sent: tuple[Sent, ...]
    events: tuple[tuple[float, Headers], ...]
    requests: dict[int, str] = field(repr=False)
    """The upgrade request of each connection."""
    with_call: bool
    """Whether it ended because its leg did, and not before."""

    @property
    def channels(self) -> int:
        return CHANNELS[self.mix]

    @property
    def refused(self) -> bool:
        """Whether no connection came of it."""
        return not any(step.op == "connect" for step in self.sent)

    @property
    def frames(self) -> list[Sent]:
        return [step for step in self.sent if step.op == "binary" and step.size]

    def going_on(self) -> "Script":
        """The same once more, as if nothing had ended it but its leg."""
        connect = next(step for step in self.sent if step.op == "connect")
        frames = [step for step in self.sent if step.op == "binary" and step.size][:10]
        end = Sent(self.ended, "close", connect.conn, payload=(1000).to_bytes(2, "big"))
        begins = [
            one for one in self.events if one[1].get("Event-Subclass", "::connect").endswith("::connect")
        ]
        return replace(self, sent=(connect, *frames, end), events=tuple(begins[:2]), with_call=True)

    def frame_ms(self, size: int) -> float:
        """How much audio a frame of so many bytes is."""
        return size * 1000 / (2 * self.channels * self.rate)

    @property
    def audio_ms(self) -> float:
        return sum(self.frame_ms(frame.size) for frame in self.frames)

    @property
    def ended(self) -> float:
        """When its last connection was closed."""
        return max((step.at for step in self.sent), default=self.at)

    @property
    def graceful(self) -> bool:
        """Whether its audio ends with a frame of no bytes, after which the server has to close."""
        return any(step.op == "binary" and not step.size for step in self.sent)

    @property
    def cadence_s(self) -> float:
        """Usual time between two frames."""
        times = [frame.at for frame in self.frames]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return statistics.median(gaps) if gaps else 0.02


@dataclass(frozen=True)
class Recording:
    name: str
    started: float
    """Unix seconds of its time 0."""
    events: tuple[tuple[float, Headers], ...]
    scripts: tuple[Script, ...]
    killed_at: float | None
    """When FreeSWITCH got SIGKILL."""
    version: str
    generation: str
    """mod_audio_stream, mod_audio_stream v1.0.2, mod_audio_fork."""

    @property
    def first(self) -> float:
        """When its first event is due."""
        return min(at for at, _event in self.events)

    @property
    def module(self) -> str:
        return self.generation.split()[0]

    @cached_property
    def legs(self) -> list[str]:
        """Uuids of its channels, in the order of their creation."""
        return [event["Unique-ID"] for _at, event in self.events if event["Event-Name"] == "CHANNEL_CREATE"]

    def scripts_for(self, leg: str) -> tuple[Script, ...]:
        """What a start on this leg leads to, the first time, the second, ...: its own, or the other's."""
        own = tuple(script for script in self.scripts if script.leg == leg)
        return own or self.scripts

    def time_of(self, name: str, leg: str) -> float | None:
        """When an event of that name first told of that leg."""
        times = (
            at for at, event in self.events if event["Event-Name"] == name and event.get("Unique-ID") == leg
        )
        return next(times, None)


def names() -> list[str]:
    """Every recording of calls; those of the ESL's own bytes are tests/wire/test_esl.py's."""
    return sorted(path.stem for path in CAPTURES.glob("*.jsonl") if not path.stem.startswith("esl-"))


@lru_cache(maxsize=128)
def load(name: str) -> Recording:
    """Read one recording."""
    text = (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    killed = [line["t"] for line in lines if line["src"] == "rig" and "SIGKILL" in line["what"]]
    return Recording(
        name,
        lines[0]["started"],
        tuple(sorted(_story(lines), key=lambda told: told[0])),
        tuple(_scripts(lines)),
        killed[0] if killed else None,
        lines[0]["freeswitch"],
        _generation(name),
    )


def _generation(name: str) -> str:
    if name.startswith("fork"):
        return "mod_audio_fork"
    return "mod_audio_stream v1.0.2" if name.startswith("mas102") else "mod_audio_stream"


def _story(lines: list[Line]) -> Iterator[tuple[float, Headers]]:
    """The events that are no answer to a command about a stream."""
    for line in lines:
        if line["src"] == "esl" and "event" in line and not _of_a_stream(line["event"]):
            yield line["t"], line["event"]
        elif line["src"] == "esl_raw" and "text/event-plain" in line.get("raw", ""):
            event = _plain(line["raw"])
            if event["Event-Name"] in ("SHUTDOWN", "HEARTBEAT"):
                yield line["t"], event


def _of_a_stream(event: Headers) -> bool:
    subclass, function = event.get("Event-Subclass", ""), event.get("Media-Bug-Function", "")
    return (
        subclass.startswith("mod_audio_")
        or (event["Event-Name"].startswith("MEDIA_BUG_") and "audio" in function)
        or (event["Event-Name"] == "API" and event.get("API-Command") in MODULES)
    )


def _plain(raw: str) -> Headers:
    """An event of `event plain`."""
    headers = raw.split("\n\n", 1)[1].rstrip("\n").splitlines()
    pairs = (header.split(": ", 1) for header in headers if ": " in header)
    return {name: urllib.parse.unquote(value) for name, value in pairs if name != "Content-Length"}


@dataclass(frozen=True, slots=True)
class _Start:
    at: float
    leg: str
    module: str
    mix: str
    rate: int
    reply: str


def _scripts(lines: list[Line]) -> Iterator[Script]:
    starts = _starts(lines)
    ends = [start.at for start in starts[1:]] + [1e9]
    for start, until in zip(starts, ends, strict=False):
        conns = [conn for conn, at in _accepts(lines) if start.at - 0.05 <= at < until - 0.05]
        events = [
            (line["t"], line["event"])
            for line in lines
            if line["src"] == "esl" and "event" in line and start.at - 0.05 <= line["t"] < until - 0.05
            if _of_a_stream(line["event"]) and line["event"]["Event-Name"] in ("CUSTOM", "MEDIA_BUG_START")
        ]
        sent = sorted((s for conn in conns for s in _sent(lines, conn)), key=lambda step: step.at)
        requests = {
            line["conn"]: line["raw"]
            for line in lines
            if line["src"] == "http_request" and line["conn"] in conns
        }
        yield Script(
            start.at, start.leg, start.module, start.mix, start.rate, start.reply, tuple(sent), tuple(events),
            requests, _with_call(lines, start.leg, sent),
        )  # fmt: skip


def _with_call(lines: list[Line], leg: str, sent: list[Sent]) -> bool:
    ends = [
        line["t"]
        for line in lines
        if (line["src"] == "rig" and "signal" in line["what"])
        or (
            line.get("event", {}).get("Event-Name") == "CHANNEL_HANGUP"
            and line["event"].get("Unique-ID") == leg
        )
    ]
    final = [step.at for step in sent if step.op in ("close", "gone")]
    return bool(final and ends) and min(ends) - final[-1] < SLOW_S


def _starts(lines: list[Line]) -> list[_Start]:
    found = [start for line in lines if line["src"] == "esl_cmd" and (start := _start(line))]
    good = [start for start in found if start.reply.startswith("+OK")]
    if good or found:
        return good or found[:1]
    accepts = _accepts(lines)  # started by the dialplan: no command is seen
    leg = next((line["event"]["Unique-ID"] for line in lines if "Unique-ID" in line.get("event", ())), "")
    return [_Start(at, leg, "mod_audio_stream", "mono", 8000, "+OK Success\n") for _conn, at in accepts[:1]]


def _start(line: Line) -> _Start | None:
    word = r"api (uuid_audio_\w+) (\S+) start \S+ (mono|stereo|mixed) (\S+)"
    found = re.match(word, line["command"])
    if found is None or found[2].startswith("00000000"):
        return None
    rate = int(found[4].removesuffix("k")) * (1000 if found[4].endswith("k") else 1)
    return _Start(line["t"], found[2], MODULES[found[1]], found[3], rate, line["reply"])


def _accepts(lines: list[Line]) -> list[tuple[int, float]]:
    return [(line["conn"], line["t"]) for line in lines if line["src"] == "tcp" and line["what"] == "accept"]


def _sent(lines: list[Line], conn: int) -> Iterator[Sent]:
    """What FreeSWITCH did on one connection; nothing if the server never let it in."""
    of_conn = [line for line in lines if line.get("conn") == conn]
    answer = next((line for line in of_conn if line["src"] == "http_response"), None)
    if answer is None or " 101 " not in answer["raw"]:
        return
    asked = next(line["t"] for line in of_conn if line["src"] == "http_request")
    yield Sent(answer["t"] if answer["t"] - asked > SLOW_S else asked, "connect", conn)
    yield from (_step(line) for line in of_conn if line["src"] == "ws" and line["dir"] == "c2s")
    if not any(line["src"] == "ws" and line["dir"] == "c2s" and line["op"] == "close" for line in of_conn):
        ends = [line["t"] for line in of_conn if line["src"] == "tcp" and line["what"] == "c2s EOF"]
        broken = [line["t"] for line in lines if line["src"] == "tcp" and "(rst)" in line["what"]]
        for at in ends:
            yield Sent(at, "reset" if any(abs(at - t) < SLOW_S for t in broken) else "gone", conn)


def _step(line: Line) -> Sent:
    match line["op"]:
        case "binary":
            head = line.get("head_hex", "00")
            return Sent(line["t"], "binary", line["conn"], line["wire_len"], set(head) <= {"f"})
        case "text":
            return Sent(line["t"], "text", line["conn"], payload=line["text"].encode())
        case "close":
            code = line["code"].to_bytes(2, "big") if line["code"] else b""
            return Sent(line["t"], "close", line["conn"], payload=code + (line["reason"] or "").encode())
        case op:
            return Sent(line["t"], op, line["conn"], payload=bytes.fromhex(line["payload_hex"]))


def upgrade(recorded: str, host: str, port: int, path: str, key: bytes) -> bytes:
    """The recorded upgrade request, sent to another server: only path, Host, Origin and key are changed."""
    text = re.sub(r"^GET \S+", lambda _: f"GET {path}", recorded)
    text = re.sub(
        r"(?im)^(Host: ?)([^:\r]+)(:\d+)?(?=\r)",
        lambda m: f"{m[1]}{host}" + (f":{port}" if m[3] else ""),
        text,
    )
    text = re.sub(
        r"(?im)^(Origin: ?\w+://)([^:\r]+)(:\d+)?(?=\r)",
        lambda m: f"{m[1]}{host}" + (f":{port}" if m[3] else ""),
        text,
    )
    text = re.sub(r"(?im)^(Sec-WebSocket-Key: ?)\S+", lambda m: m[1] + base64.b64encode(key).decode(), text)
    return text.encode()
