"""One recording being replayed: fresh uuids and times in its events, and the streams started on it."""

import asyncio
import random
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.freeswitch.clock import Clock
from tests.freeswitch.media import MediaConnection
from tests.freeswitch.recording import Headers, Recording, Script
from tests.freeswitch.stream import Order, Stream, Tell
from tests.freeswitch.voices import Saying, Voice, track

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
FAILED = "-ERR Operation Failed\n"
OK = "+OK Success\n"

Voices = Mapping[str, Sequence[Saying]]
"""Recorded uuid of a leg -> what its party says."""


@dataclass(frozen=True, slots=True)
class Started:
    """A start that was asked for."""

    leg: str
    """The recorded uuid."""
    url: str
    mix: str
    rate: int
    at: float
    """In the recording's time."""
    reply: str


@dataclass(slots=True, eq=False)
class Call:
    """`speak`: sends an event with the recording's uuids and times."""

    recording: Recording
    clock: Clock
    rng: random.Random
    voices: Voices
    core: str
    announced: str = ""
    """The recorded uuid of the leg that the dialplan announces to us once it has answered."""
    created: float = 0.0
    """The Unix time of its first channel."""
    starts: list[Started] = field(default_factory=list)
    streams: list[tuple[str, Stream]] = field(default_factory=list)
    """(recorded uuid of the leg, stream), in the order of their starts."""
    attached: dict[str, Stream] = field(default_factory=dict)
    """Recorded uuid of a leg -> the stream whose bug is on it."""
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody listens to everybody who is heard."""
    _heard: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    _fresh: dict[str, str] = field(default_factory=dict)
    _lasts: dict[str, Headers] = field(default_factory=dict)
    """The last event of each leg, with the recording's uuids."""
    say: Callable[[Headers], None] = lambda _event: None

    def fresh(self, recorded: str) -> str:
        """The uuid that stands for a recorded one in this replay."""
        if recorded not in self._fresh:
            self._fresh[recorded] = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        return self._fresh[recorded]

    def recorded(self, fresh: str) -> str | None:
        """The recorded uuid of a channel of this call."""
        return next((leg for leg in self.recording.legs if self.fresh(leg) == fresh), None)

    def tell(self, event: Headers) -> None:
        """A recorded event happens now."""
        self._lasts[event.get("Unique-ID", "")] = event
        if event["Event-Name"] == "CHANNEL_CREATE" and not self.created:
            self.created = self._wall(int(event["Caller-Channel-Created-Time"]) / 1e6)
        self.say({name: self._renewed(name, value) for name, value in event.items()})

    def announce(self, answer: Headers) -> None:
        """What the administrator's line of the dialplan does, right after that event."""
        leg = answer["Unique-ID"]
        event = answer | {"Event-Name": "CUSTOM", "Event-Subclass": "rtzr::call"}
        self.tell(event | {"variable_RTZR_CALL": f"{leg}/{leg}"})

    def _renewed(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._renewed(name, one) for one in value]
        if name == "Core-UUID":
            return self.core
        moved = self._moved(name, str(value))
        return _UUID.sub(lambda found: self.fresh(found[0]), moved)

    def _moved(self, name: str, value: str) -> str:
        """A time of the recording as the same time of the replay."""
        if value.isdigit() and int(value):
            if len(value) == len("1795344401858074"):  # microseconds, whatever the header's name
                return str(round(self._wall(int(value) / 1e6) * 1e6))
            if name.endswith("_epoch"):
                return str(int(self._wall(float(value))))
        if name in ("Event-Date-Local", "Event-Date-GMT") or name.endswith("_stamp"):
            form = "%a, %d %b %Y %H:%M:%S GMT" if name.endswith("GMT") else "%Y-%m-%d %H:%M:%S"
            then = datetime.strptime(value, form).replace(tzinfo=UTC).timestamp()
            return datetime.fromtimestamp(self._wall(then), UTC).strftime(form)
        return value

    def _wall(self, recorded: float) -> float:
        """Unix seconds of the recording -> Unix seconds now."""
        now = asyncio.get_running_loop().time()
        return datetime.now(UTC).timestamp() + self.clock.was(recorded - self.recording.started) - now

    # What is asked of it.

    def start(self, leg: str, url: str, mix: str, rate: int) -> tuple[str, Stream | None]:
        """uuid_audio_* start: the reply, and the stream that has to be played."""
        scripts = self.recording.scripts_for(leg)
        reply = FAILED if leg in self.attached else OK
        script = self._script(leg, scripts)
        if script is None or not script.reply.startswith("+OK"):
            reply = FAILED
        self.starts.append(Started(leg, url, mix, rate, self.clock.now(), reply))
        self._follow(leg, mix)
        if reply == FAILED or script is None:
            return FAILED, None
        stream = self._stream(leg, script, url, mix, rate)
        self.streams.append((leg, stream))
        self.attached[leg] = stream
        return reply, stream

    def heard_now(self, event: Headers) -> bool:
        """Whether somebody is heard from this event on, so that whoever follows has to start streams."""
        if event["Event-Name"] == "CHANNEL_BRIDGE":
            self._heard = {event["Bridge-A-Unique-ID"], event["Bridge-B-Unique-ID"]}
        elif event["Event-Name"] == "CHANNEL_ANSWER" and event["Unique-ID"] == self.announced:
            self._heard = {self.announced}
        else:
            return False
        return bool(self.recording.scripts)

    def _follow(self, leg: str, mix: str) -> None:
        self._heard -= self._heard if mix == "stereo" else {leg}
        if not self._heard:
            self.followed.set()

    def _script(self, leg: str, scripts: Sequence[Script]) -> Script | None:
        """The recorded start that this one repeats; after the last one, a stream that nothing disturbs."""
        count = sum(1 for started, _stream in self.streams if started == leg)
        if count < len(scripts) or not scripts or scripts[-1].refused:
            return scripts[min(count, len(scripts) - 1)] if scripts else None
        return scripts[-1].going_on()

    def _stream(self, leg: str, script: Script, url: str, mix: str, rate: int) -> Stream:
        count = sum(1 for started, _stream in self.streams if started == leg)
        ms = script.audio_ms
        other = next((one for one in self.recording.legs if one != leg), "")
        own, theirs = (track(self.voices.get(one, ()), count, rate, ms) for one in (leg, other))
        order = Order(url, mix, rate, self._ends(leg, script), again=count > 0)
        tell = Tell(
            lambda event: self._tell_of(leg, script, event),
            lambda connection: self._lost(leg, connection),
            lambda reason: self._refused(leg, reason),
        )
        return Stream(script, order, Voice(own, theirs, mix, rate), self.clock, self.rng, tell)

    def _ends(self, leg: str, script: Script) -> float:
        """When hang-up ends a stream on this leg."""
        recording = self.recording
        hung_up = recording.killed_at or recording.time_of("CHANNEL_HANGUP", leg) or 1e9
        near = abs(script.ended - hung_up) < 0.2
        return script.ended if script.with_call and near else hung_up

    def stop(self, leg: str, text: str) -> str:
        """uuid_audio_* stop: the reply."""
        stream = self.attached.pop(leg, None)
        if stream is None:
            return FAILED
        stream.stop(text)
        return OK

    def _tell_of(self, leg: str, script: Script, event: Headers) -> None:
        """A recorded event of a stream, told of the leg that the stream is on here."""
        if event.get("Unique-ID") != leg:
            own = self._lasts.get(leg, {})
            kept = ("Event-Subclass", "Event-Name", "Event-Date-Timestamp", "_body")
            mine = {name: value for name, value in event.items() if name in kept or "Media-Bug" in name}
            event = mine | {k: v for k, v in own.items() if k not in mine and not k.startswith("Event-")}
        self.say({name: self._renewed(name, value) for name, value in event.items()})
        subclass = str(event.get("Event-Subclass", ""))
        if subclass == "mod_audio_stream::error":
            self.attached.pop(leg, None)

    def _lost(self, leg: str, connection: MediaConnection) -> None:
        """The server closed what the recorded one did not."""
        module = self.recording.generation
        if module == "mod_audio_fork":
            self._custom(leg, "mod_audio_fork::disconnect", "")
            return
        said = {"code": connection.code, "reason": connection.reason}
        text = f'{{"status":"disconnected","message":{{"code":{said["code"]},"reason":"{said["reason"]}"}}}}'
        self._custom(leg, "mod_audio_stream::disconnect", text)

    def _refused(self, leg: str, reason: str) -> None:
        self.complaints.append(f"the server took no connection: {reason}")
        if self.recording.generation == "mod_audio_fork":
            self._custom(leg, "mod_audio_fork::connect_failed", '{"reason":"Unable to connect"}')
            return
        self.attached.pop(leg, None)
        body = '{"status":"error","message":{"code":6,"error":"WebSocket upgrade failed"}}'
        self._custom(leg, "mod_audio_stream::error", body)

    def _custom(self, leg: str, subclass: str, body: str) -> None:
        told = {name: v for name, v in self._lasts.get(leg, {}).items() if not name.startswith("Event-")}
        now = (self.recording.started + self.clock.now()) * 1e6
        event = told | {"Event-Name": "CUSTOM", "Event-Subclass": subclass, "_body": body}
        event["Event-Date-Timestamp"] = str(round(now))
        self.say({name: self._renewed(name, value) for name, value in event.items()})
