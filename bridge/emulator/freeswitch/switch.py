"""A FreeSWITCH in this process: event socket, channels, media streams, and calls that a script makes.

`async with Switch() as switch: call = switch.call("1001", "2000"); await call.ring(); await call.answer()`.
What is here: who listens, who is told, who owns the tasks. Nothing prints or logs.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from itertools import count
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from bridge.emulator.freeswitch import call as calls
from bridge.emulator.freeswitch.call import Call
from bridge.emulator.freeswitch.channel import Channel, Headers, micros
from bridge.emulator.freeswitch.commands import Commands
from bridge.emulator.freeswitch.eventsocket import EventSocket
from bridge.emulator.freeswitch.knobs import DEFAULTS, SwitchKnobs
from bridge.emulator.freeswitch.stream import Stream, StreamOrder
from bridge.emulator.freeswitch.voice import Voice, tone_of

_TONE = re.compile(r"app=playback:tone_stream://%\((\d+)\\,0\\,(\d+)\)")
"""One tone: milliseconds and Hz. A dial string is parted at commas that are not escaped."""
_GRACE_S = 2.0
"""On leaving, what streams have to close in order."""


class Switch:
    """It listens from entry to exit; on exit every socket and task of it is gone.

    Raises OSError when the port is taken.
    """

    def __init__(self, knobs: SwitchKnobs = DEFAULTS, host: str = "127.0.0.1", port: int = 0) -> None:
        self.knobs = knobs
        self.channels: dict[str, Channel] = {}
        self.sessions = 0
        """Channels since it was started."""
        self.streams: list[Stream] = []
        """Every stream that was started, the ended too."""
        self.commands: list[str] = []
        """Every `api` and `bgapi` command, in order."""
        self.received: list[dict[str, str]] = []
        """The events that clients sent."""
        self._host = host
        self._port = port
        self._core = str(uuid4())
        self._sequence = count(1)
        self._clients: set[EventSocket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._api = Commands(self)
        self._origin_s = 0.0
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        """The event socket's, once entered."""
        return self._port

    @property
    def clients(self) -> int:
        """How many are connected to the event socket."""
        return len(self._clients)

    @property
    def followed(self) -> bool:
        """Whether a client has asked for events."""
        return any(client.follows for client in self._clients)

    @property
    def lost(self) -> int:
        """Events that connected clients were too slow for."""
        return sum(client.lost for client in self._clients)

    async def __aenter__(self) -> Self:
        self._origin_s = asyncio.get_running_loop().time()
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self.streams:
            stream.stop(hangup=True)
        await self.deafen()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._faults and error is None:
            raise self._faults[0]

    async def listen(self) -> None:
        """Open the event socket, on the same port again after `deafen`."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=1 << 20)
        self._port = self._server.sockets[0].getsockname()[1]

    async def deafen(self) -> None:
        """Close the event socket and every connection to it, as a FreeSWITCH that is killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.close_esl()
        await asyncio.sleep(0)

    def close_esl(self) -> None:
        """Cut the connections to the event socket; a client may come back."""
        for client in list(self._clients):
            client.abort()

    def drop_streams(self, uuid: str = "") -> None:
        """Lose the TCP connection of a channel's streams, or of all."""
        channels = [self.channels[uuid]] if uuid else list(self.channels.values())
        for channel in channels:
            for stream in channel.streams.values():
                stream.drop()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds: asked whenever an event is fired, or asked for."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def call(
        self,
        caller: str,
        called: str,
        *,
        name: str = "Alice Caller",
        context: str = "default",
        click: bool = False,
        variables: dict[str, str] | None = None,
    ) -> Call:
        """A call between two numbers, that does nothing yet; with `click`, FreeSWITCH calls both."""
        a = self.open_channel(
            name=f"sofia/lo/{caller}@127.0.0.1:15061",
            direction="outbound" if click else "inbound",
            number="" if click else caller,
            caller_name="" if click else name,
            destination=caller if click else called,
            context=context,
            callee=caller if click else "",
        )
        a.variables.update(variables or {})
        return Call(self, a, called, click=click)

    def fire(self, name: str, channel: Channel, extra: Headers | None = None, body: str = "") -> None:
        """An event of a channel, to every client that asked for it."""
        self.fire_event([("Event-Name", name), *(extra or []), *channel.headers()], body)

    def fire_event(self, headers: Headers, body: str = "") -> None:
        """An event with these headers and what every event bears."""
        now, stamp = time.time(), micros()
        common = [
            headers[0],
            ("Core-UUID", self._core),
            ("FreeSWITCH-Hostname", "vm"),
            ("FreeSWITCH-Switchname", "vm"),
            ("FreeSWITCH-IPv4", "192.0.2.2"),
            ("FreeSWITCH-IPv6", "fd00::2"),
            ("Event-Date-Local", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))),
            ("Event-Date-GMT", formatdate(now, usegmt=True)),
            ("Event-Date-Timestamp", str(stamp)),
            ("Event-Calling-File", "switch_channel.c"),
            ("Event-Sequence", str(next(self._sequence))),
        ]
        for client in list(self._clients):
            client.tell(common + headers[1:], body)
        self._changed.set()

    def say(self, channel: Channel, pcm: bytes, at_s: float | None = None) -> float:
        """Let its party say 8 kHz `pcm`, now or from `at_s` on; when the last of it will be sent."""
        return channel.voice.say(pcm, asyncio.get_running_loop().time() if at_s is None else at_s)

    def open_channel(self, **values: Any) -> Channel:
        channel = Channel(uuid=values.pop("uuid", "") or str(uuid4()), voice=Voice(self._origin_s), **values)
        self.channels[channel.uuid] = channel
        self.sessions += 1
        return channel

    def forget(self, channel: Channel) -> None:
        self.channels.pop(channel.uuid, None)

    def start_stream(self, channel: Channel, order: StreamOrder) -> None:
        """Attach a stream, which connects by itself; a channel that was not answered gets early media."""
        if channel.answer_state == "ringing":
            channel.answer_state, channel.callstate, channel.codec = "early", "EARLY", True
            self.fire("CHANNEL_PROGRESS_MEDIA", channel)
        stream = Stream(channel, order, lambda: self.knobs, self._tell, self._origin_s)
        channel.streams[order.bug] = stream
        self.streams.append(stream)
        self._tell("MEDIA_BUG_START", "", channel, order.bug)
        self.spawn(stream.run())

    def stop_stream(self, channel: Channel, bug: str, text: str) -> None:
        channel.streams.pop(bug).stop(text)
        self._tell("MEDIA_BUG_STOP", "", channel, bug)

    def close_streams(self, channel: Channel) -> None:
        for stream in channel.streams.values():
            stream.stop(hangup=True)

    def kill(self, channel: Channel, cause: str) -> None:
        """As `uuid_kill`; the halves of a loopback call end together."""
        other = self.channels.get(channel.variables.get("other_loopback_leg_uuid", ""))
        calls.end(self, channel, cause, by_party=False)
        if other is not None:
            calls.end(self, other, cause, by_party=False)

    def join(self, one: Channel, other: Channel) -> None:
        """As `uuid_bridge`: two channels of two calls meet, and whom they leave is hung up."""
        calls.meet(self, one, other)

    async def originate(self, uuid: str, variables: dict[str, str], target: str) -> Channel:
        """A loopback call: its two halves are answered, and the first is parked. With `app=playback:` and a
        tone they have early media only, and the tone is heard on the first."""
        tone = _TONE.fullmatch(target)
        number, _, context = ("playback", "", "") if tone else target.partition("/")
        common = {"number": "0000000000", "caller_name": "", "destination": number, "callee": number}
        context = context or "default"
        a = self.open_channel(
            uuid=uuid, name=f"loopback/{number}-a", direction="outbound", context=context, **common
        )
        b = self.open_channel(name=f"loopback/{number}-b", direction="inbound", context=context, **common)
        a.variables.update(variables, other_loopback_leg_uuid=b.uuid, is_loopback="1")
        b.variables.update(variables, other_loopback_leg_uuid=a.uuid, is_loopback="1")
        for channel in (a, b):
            self.fire("CHANNEL_CREATE", channel)
        for channel in (b, a):
            channel.codec, channel.state = True, "CS_EXECUTE"
            if tone:
                channel.answer_state, channel.callstate = "early", "EARLY"
                self.fire("CHANNEL_PROGRESS_MEDIA", channel)
                continue
            channel.answer_state, channel.answered, channel.callstate = "answered", micros(), "ACTIVE"
            self.fire("CHANNEL_ANSWER", channel)
        if tone:
            self.say(a, tone_of(int(tone[1]), int(tone[2]) + self.knobs.tone_off_hz))
        a.parked = True
        self.fire("CHANNEL_PARK", a)
        return a

    def spawn(self, work: Awaitable[None]) -> None:
        """Own a task until it is done; what goes wrong in one is raised on leaving."""
        task = asyncio.ensure_future(_as_coroutine(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._faults.append(fault)

    def _tell(self, name: str, subclass: str, channel: Channel, text: str) -> None:
        if name == "CUSTOM":
            self.fire(name, channel, [("Event-Subclass", subclass)], text)
        else:
            self.fire(name, channel, [("Media-Bug-Function", text), ("Media-Bug-Target", "N/A")])

    async def _run(self, command: str) -> str:
        self.commands.append(command)
        return await self._api.run(command)

    def _sent(self, headers: Headers, body: str) -> None:
        """An event that a client sent, which goes to all."""
        if headers[0][1] != "BACKGROUND_JOB":
            self.received.append({**dict(headers), "_body": body})
        self.fire_event(headers, body)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = EventSocket(
            reader, writer, lambda: self.knobs, self._run, self._sent, self.spawn, self._changed.set
        )
        self._clients.add(client)
        self.spawn(self._serve(client))

    async def _serve(self, client: EventSocket) -> None:
        try:
            await client.serve()
        finally:
            client.abort()
            self._clients.discard(client)


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
