"""The replay itself, by followers that are no daemon: what is told and played is what was recorded."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bridge.emulator.ear import Ear
from tests.freeswitch.expected import all_expected
from tests.freeswitch.recording import Headers, load, names
from tests.freeswitch.replayer import Replayer

FAST = 10.0


@dataclass
class Follower:
    """An ESL client that asks for everything, and starts a stream on whoever is bridged."""

    port: int
    command: str
    """uuid_audio_* with {uuid} and {url}."""
    media_port: int = 0
    events: list[Headers] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    bridged: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: list[asyncio.Future[str]] = field(default_factory=list)

    async def run(self, subscription: str, password: str = Replayer.password) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            self._writer.write(f"auth {password}\n\n{subscription}\n\n".encode())
            while True:
                headers = await self._headers(reader)
                size = int(headers.get("Content-Length", 0))
                self._take(headers, (await reader.readexactly(size)).decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer.close()

    async def _headers(self, reader: asyncio.StreamReader) -> dict[str, str]:
        text = (await reader.readuntil(b"\n\n")).decode()
        return dict(line.split(": ", 1) for line in text.strip().splitlines())

    def _take(self, headers: dict[str, str], body: str) -> None:
        if headers["Content-Type"] == "text/event-json":
            event: Headers = json.loads(body)
            self.events.append(event)
            if event["Event-Name"] == "CHANNEL_BRIDGE":
                self.bridged.set()
                for side in "AB" if self.command else "":
                    self._start(event[f"Bridge-{side}-Unique-ID"])
        elif headers["Content-Type"] == "api/response":
            self._waiting.pop(0).set_result(body)
        else:
            self.replies.append(headers.get("Reply-Text", headers["Content-Type"]))

    def _start(self, uuid: str) -> None:
        url = f"ws://127.0.0.1:{self.media_port}/{uuid}"
        self._ask(self.command.format(uuid=uuid, url=url))

    def _ask(self, command: str) -> asyncio.Future[str]:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(f"api {command}\n\n".encode())
        return answer

    async def api(self, command: str) -> str:
        return await self._ask(command)


@dataclass
class Media:
    """A WebSocket server that keeps what comes."""

    sizes: dict[str, list[int]] = field(default_factory=dict)
    audio: dict[str, bytes] = field(default_factory=dict)
    closes: dict[str, int | None] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    port: int = 0

    async def take(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        leg = connection.request.path.strip("/")
        self.origins[leg] = connection.request.headers["Origin"]
        try:
            while True:
                message = await connection.recv()
                if isinstance(message, bytes):
                    self.sizes.setdefault(leg, []).append(len(message))
                    self.audio[leg] = self.audio.get(leg, b"") + message
        except ConnectionClosed:
            self.closes[leg] = connection.close_code


@pytest.fixture
async def media() -> AsyncIterator[Media]:
    found = Media()
    server: Server
    async with serve(found.take, "127.0.0.1", 0, compression=None) as server:
        found.port = next(iter(server.sockets)).getsockname()[1]
        yield found


async def follow(
    recording: str, media: Media, command: str, subscription: str = "event json ALL", **options: Any
) -> tuple[Replayer, Follower]:
    expected = all_expected()[recording]
    async with Replayer([recording], {recording: expected.voices}, **{"speed": FAST, **options}) as replayer:
        follower = Follower(replayer.port, command, media.port)
        following = asyncio.create_task(follower.run(subscription))
        await replayer.play()
    await following
    return replayer, follower


def heard(pcm: bytes, rate: int = 8000) -> str:
    ear = Ear(rate)
    return " ".join(one.text for one in ear.hear(pcm) + ear.finish())


MONO = "uuid_audio_stream {uuid} start {url} mono 8k"


async def test_every_event_is_told_once_in_order_with_uuids_and_times_of_its_own(media: Media) -> None:
    name = "mas-01-mono-8k-caller-hangup"
    replayer, follower = await follow(name, media, "")
    recorded = [event for _at, event in load(name).events]
    assert [event["Event-Name"] for event in follower.events] == [event["Event-Name"] for event in recorded]
    call = replayer.calls[name]
    for was, now in zip(recorded, follower.events, strict=True):
        assert was.keys() == now.keys()
        assert now.get("Unique-ID") == (call.fresh(was["Unique-ID"]) if "Unique-ID" in was else None)
        assert now.get("Hangup-Cause") == was.get("Hangup-Cause")
    numbers = [int(event["Event-Sequence"]) for event in follower.events]
    assert numbers == sorted(set(numbers))
    took_us = [int(events[-1]["Event-Date-Timestamp"]) - int(events[0]["Event-Date-Timestamp"])
               for events in (recorded, follower.events)]  # fmt: skip
    held_us = replayer.calls[name].clock.waited * 1e6
    assert took_us[1] == pytest.approx(took_us[0] / FAST + held_us, abs=50_000)


@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        ("event json CHANNEL_ANSWER CHANNEL_BRIDGE", {"CHANNEL_ANSWER", "CHANNEL_BRIDGE"}),
        ("event json CHANNEL_BRIDGE CUSTOM mod_audio_stream::error", {"CHANNEL_BRIDGE"}),
        ("event json CHANNEL_BRIDGE CUSTOM mod_audio_stream::connect", {"CHANNEL_BRIDGE", "CUSTOM"}),
    ],
)
async def test_only_what_was_asked_for_is_told(media: Media, subscription: str, wanted: set[str]) -> None:
    _replayer, follower = await follow("mas-24-mono-on-B-leg", media, MONO, subscription)
    assert {event["Event-Name"] for event in follower.events} == wanted


async def test_a_wrong_password_is_refused(media: Media) -> None:
    async with Replayer(["call-20-rejected-486"], {}) as replayer:
        follower = Follower(replayer.port, "")
        await follower.run("event json ALL", password="wrong")
    assert follower.replies == ["auth/request", "-ERR invalid", "text/disconnect-notice"]


@pytest.mark.parametrize("name", ["mas-04-stereo-8k-callee-hangup", "fork-jambonz-09-handshake-slow-600ms"])
async def test_frames_have_the_recorded_audio_and_each_party_its_own_voice(media: Media, name: str) -> None:
    command = MONO if name.startswith("mas") else "uuid_audio_fork {uuid} start {url} mono 8000 bug"
    replayer, _follower = await follow(name, media, command)
    (script,) = load(name).scripts
    wanted = [round(script.frame_ms(frame.size) * 16) for frame in script.frames]
    for leg in all_expected()[name].legs:
        fresh = replayer.calls[name].fresh(leg.uuid)
        sizes = media.sizes[fresh]
        assert sizes[: len(wanted) - 3] == wanted[: len(sizes)][: len(wanted) - 3]
        assert heard(media.audio[fresh]) == " ".join(leg.texts(1))
        assert media.closes[fresh] == 1000


@pytest.mark.parametrize("command", ["stereo 8k", "stereo 16k"])
async def test_stereo_has_the_named_leg_first(media: Media, command: str) -> None:
    name = "mas-04-stereo-8k-callee-hangup"
    replayer, _follower = await follow(name, media, f"uuid_audio_stream {{uuid}} start {{url}} {command}")
    legs = all_expected()[name].legs
    rate = 16000 if "16k" in command else 8000
    for own, other in (legs, legs[::-1]):
        pcm = media.audio[replayer.calls[name].fresh(own.uuid)]
        sides = [b"".join(pcm[at : at + 2] for at in range(side, len(pcm) // 4 * 4, 4)) for side in (0, 2)]
        assert [heard(side, rate) for side in sides] == [own.texts(1)[0], other.texts(1)[0]]


async def test_a_hold_sends_nothing(media: Media) -> None:
    name = "call-30-hold-inactive-mono"
    replayer, _follower = await follow(name, media, MONO)
    _leg, stream = replayer.calls[name].streams[0]
    times = [at for _ms, at in stream.times]
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert longest > 2.0 / FAST


@pytest.mark.parametrize(
    ("name", "subclass"),
    [
        ("mas-09-refused-403", "mod_audio_stream::error"),
        ("mas-12-handshake-never", "mod_audio_stream::error"),
        ("fork-drachtio-05-tcp-refused", "mod_audio_fork::connect_failed"),
    ],
)
async def test_a_refused_stream_never_connects(media: Media, name: str, subclass: str) -> None:
    word = "uuid_audio_fork" if name.startswith("fork") else "uuid_audio_stream"
    _replayer, follower = await follow(name, media, f"{word} {{uuid}} start {{url}} mono 8000")
    told = [event for event in follower.events if event["Event-Name"] == "CUSTOM"]
    assert [event["Event-Subclass"] for event in told] == [subclass, subclass]
    assert len({event["Unique-ID"] for event in told}) == 2
    assert not media.closes


async def test_questions_are_answered_by_what_was_told(media: Media) -> None:
    name = "mas-24-mono-on-B-leg"
    async with Replayer([name], {name: all_expected()[name].voices}) as replayer:
        follower = Follower(replayer.port, MONO, media.port)
        following = asyncio.create_task(follower.run("event json ALL"))
        playing = asyncio.create_task(replayer.play())
        async with asyncio.timeout(10):
            await follower.bridged.wait()
        legs = [replayer.calls[name].fresh(leg) for leg in load(name).legs]
        channels = json.loads(await follower.api("show channels as json"))
        assert [(row["uuid"], row["callstate"]) for row in channels["rows"]] == [
            (legs[0], "ACTIVE"),
            (legs[1], "ACTIVE"),
        ]
        (row,) = json.loads(await follower.api("show calls as json"))["rows"]
        assert (row["uuid"], row["b_uuid"]) == (legs[0], legs[1])
        assert await follower.api(f"uuid_exists {legs[1]}") == "true"
        assert await follower.api(f"uuid_getvar {legs[0]} sip_h_X-Tenant") == "acme"
        assert await follower.api(f"uuid_getvar {legs[0]} nothing") == "_undef_"
        assert await follower.api("module_exists mod_audio_fork") == "false"
        assert (await follower.api(MONO.format(uuid=legs[0], url="ws://127.0.0.1:1/x"))).startswith("-ERR")
        await playing
        assert json.loads(await follower.api("show channels as json")) == {"row_count": 0}
    await following


def test_every_recording_has_its_expectation() -> None:
    assert set(names()) == set(all_expected())
    for name, expected in all_expected().items():
        assert [leg.uuid for leg in expected.legs] == load(name).legs
