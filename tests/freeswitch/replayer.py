"""A FreeSWITCH made of recordings: an ESL server that tells them, and streams played to whom starts them.

One replayer merges any number of recordings of one module into one FreeSWITCH: every call has uuids of its
own, and begins a little after the one before. It answers by what it has told so far, and by nothing else.
"""

import asyncio
import contextlib
import random
import re
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.freeswitch.call import Call, Voices
from tests.freeswitch.clock import Clock
from tests.freeswitch.eslserver import EslClient
from tests.freeswitch.recording import MODULES, Headers, load
from tests.freeswitch.switch import Switch

STAGGER_S = 0.3
RESTART_S = 1.0
HELD_S = 5.0
"""How long a call's time waits for whoever follows to start his streams: what is too slow for a busy machine
is not told from what never comes, and the recorded audio is not cut."""
_START = re.compile(r"(\S+) start (wss?://\S+) (mono|mixed|stereo) (\d+k?)(?: .*)?")


class Replayer:
    """`speed`: 1 for the recorded times, 10 for a tenth of them. Runs in the loop that enters it.

    A real daemon wants speed 1: it stamps audio by its arrival, and takes a lump to have begun its own length
    ago. Ten times as fast, the lumps of a busy machine so begin before the answer, and are left out.
    """

    password = "ClueCon"

    def __init__(
        self,
        recordings: Sequence[str],
        voices: Mapping[str, Voices],
        *,
        speed: float = 1.0,
        stagger_s: float = STAGGER_S,
        seed: int = 0,
        announced: Mapping[str, str] | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        """`voices`: recording -> who says what; `announced`: recording -> the leg its dialplan announces;
        `modules`: those loaded, if not the recordings' own."""
        self.recordings = [load(name) for name in recordings]
        self.port = 0
        self.commands: list[str] = []
        self.switch = Switch()
        self.calls: dict[str, Call] = {}
        self.modules = frozenset(modules or {one.module for one in self.recordings})
        self._voices = voices
        self._announced = announced or {}
        self._speed = speed
        self._stagger_s = stagger_s
        self._rng = random.Random(seed)
        self._core = self._uuid()
        self._sequence = 0
        self._clients: dict[EslClient, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._subscribed = asyncio.Event()

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hush()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._clients.values(), return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _hush(self) -> None:
        """Neither listener nor connection is left."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = EslClient(
            reader, writer, self.password, self._api, random.Random(self._rng.random()), self.commands,
            self._subscribed,
        )  # fmt: skip
        self._clients[client] = asyncio.create_task(client.serve())
        try:
            await self._clients[client]
        finally:
            del self._clients[client]

    async def play(self, timeout_s: float = 30) -> None:
        """Once somebody has asked for events, tell every recording, and return when all is over."""
        async with asyncio.timeout(timeout_s):
            await self._subscribed.wait()
        now = asyncio.get_running_loop().time()
        for index, recording in enumerate(self.recordings):
            clock = Clock(now + index * self._stagger_s - recording.first / self._speed, self._speed)
            rng = random.Random(self._rng.random())
            voices = self._voices.get(recording.name, {})
            announced = self._announced.get(recording.name, "")
            call = Call(recording, clock, rng, voices, self._core, announced, say=self._say)
            self.calls[recording.name] = call
        await asyncio.gather(*(self._tell(call) for call in self.calls.values()))
        await asyncio.gather(*self._tasks)
        await self._flush()

    async def _flush(self) -> None:
        await asyncio.gather(*(client.flush() for client in self._clients))

    async def _tell(self, call: Call) -> None:
        """All events of one recording."""
        for at, event in call.recording.events:
            if call.recording.killed_at and at > call.recording.killed_at:
                break
            await call.clock.until(at)
            call.tell(event)
            if event["Event-Name"] == "CHANNEL_ANSWER" and event["Unique-ID"] == call.announced:
                call.announce(event)
            if call.heard_now(event):
                await self._hold(call)
        if call.recording.killed_at:
            await call.clock.until(call.recording.killed_at)
            await self._die()
        elif any(event["Event-Name"] == "SHUTDOWN" for _at, event in call.recording.events):
            await self._die()

    async def _hold(self, call: Call) -> None:
        call.clock.hold()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELD_S):
                await call.followed.wait()
        call.clock.release()

    async def _die(self) -> None:
        """The process ends; another one comes up, with no call in it."""
        await self._flush()
        self._hush()
        self.switch.clear()
        self._core, self._sequence = self._uuid(), 0
        await asyncio.sleep(RESTART_S)
        await self._listen()

    def _say(self, event: Headers) -> None:
        self._sequence += 1
        event["Event-Sequence"] = str(self._sequence)
        self.switch.see(event)
        for client in self._clients:
            client.event(event)

    # The api commands.

    def _api(self, command: str, arguments: str) -> str:
        words = arguments.split()
        if command in MODULES:
            return self._stream_command(command, arguments)
        if command.startswith("uuid_"):
            return self._of_channel(command, words[0] if words else "", words[1:])
        if command == "show":
            return self._show(words)
        match command, words:
            case "module_exists", [module]:
                return "true" if module in self.modules or module == "mod_event_socket" else "false"
            case "version", _:
                return f"FreeSWITCH Version {self.recordings[0].version}~64bit (64bit)\n"
            case "status", _:
                return f"UP 0 years, 0 days\nFreeSWITCH ({self.recordings[0].version}) is ready\n"
            case "echo", _:
                return arguments
            case "global_getvar" | "event", _:
                return ""
        return f"-ERR {command} Command not found!\n"

    def _show(self, words: list[str]) -> str:
        match words:
            case ["channels", "as", "json"]:
                return self.switch.show_channels() + "\n"
            case ["calls", "as", "json"]:
                return self.switch.show_calls() + "\n"
            case ["channels", "count"]:
                return f"\n{len(self.switch.channels)} total.\n"
        return "-USAGE: codec|endpoint|application|api|dialplan|channels|calls ...\n"

    def _of_channel(self, command: str, channel: str, words: list[str]) -> str:
        match command, words:
            case "uuid_exists", _:
                return "true" if channel in self.switch.channels else "false"
            case "uuid_getvar", [name]:
                return self.switch.variable(channel, name)
            case "uuid_setvar" | "uuid_setvar_multi", _ if channel not in self.switch.channels:
                return "-ERR No such channel!\n"
            case "uuid_setvar", [name, *value]:
                self.switch.set(channel, name, " ".join(value))
                return "+OK\n"
            case "uuid_setvar_multi", [text]:
                for pair in text.split(";"):
                    self.switch.set(channel, *pair.split("=", 1))
                return "+OK\n"
        return f"-ERR {command} Command not found!\n"

    def _stream_command(self, command: str, arguments: str) -> str:
        if not arguments:
            return "-USAGE: <uuid> [start | stop | send_text | pause | resume | graceful-shutdown ] ...\n"
        if MODULES[command] not in self.modules:
            return f"-ERR {command} Command not found!\n"
        channel, _, rest = arguments.partition(" ")
        found = ((call, leg) for call in self.calls.values() if (leg := call.recorded(channel)))
        call, leg = next(found, (None, None))
        if call is None or leg is None or channel not in self.switch.channels:
            return "-ERR Operation Failed\n"
        if rest.split(" ")[0] == "stop":
            return call.stop(leg, _stop_text(rest.split(" ")[1:]))
        started = _START.fullmatch(arguments)
        if started is None:
            return "-ERR Operation Failed\n"
        rate = int(started[4].removesuffix("k")) * (1000 if started[4].endswith("k") else 1)
        if rate % 8000:
            return "-ERR Operation Failed\n"
        reply, stream = call.start(leg, started[2], started[3], rate)
        if stream is not None:
            task = asyncio.create_task(stream.play())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return reply


def _stop_text(words: list[str]) -> str:
    """What stands behind `stop`: the name of a bug is none of it."""
    return next((word for word in words if word.startswith(("{", "["))), "")
