"""One media stream of the emulated FreeSWITCH: the WebSocket client, and what its module does after a drop.

Frames go out in real time. What each generation of module does, and the bodies of its events, are those of
the recordings.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Origin, Subprotocol

from bridge.emulator.freeswitch.channel import Channel
from bridge.emulator.freeswitch.knobs import Module, SwitchKnobs
from bridge.emulator.freeswitch.voice import FRAME_MS, MOST_BEHIND, interleaved, mixed

_FILL = b"\xff"
_FILL_FRAMES = 2
"""A stream begins with this much of it, at once."""
_FORK_TYPES = {
    "transcription": "transcription",
    "transfer": "transfer",
    "playAudio": "play_audio",
    "killAudio": "kill_audio",
    "disconnect": "disconnect",
    "error": "error",
    "json": "json",
}
"""What mod_audio_fork makes an event of; other text it drops."""
_OLD_AGENT = "ixwebsocket/11.4.3 linux ssl/OpenSSL OpenSSL 3.0.22 25 Aug 2026 zlib 1.2.13"
_RESET = "Connection reset by peer (system error 104)"


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """What `start` was told."""

    url: str
    mix: str
    """mono, stereo or mixed."""
    rate: int
    bug: str
    """Its name on the channel."""
    metadata: str = ""


class Stream:
    """From `start` to `stop`, to hang-up, or to a drop. `run` is the whole of it."""

    def __init__(
        self,
        channel: Channel,
        order: StreamOrder,
        knobs: Callable[[], SwitchKnobs],
        tell: Callable[[str, str, Channel, str], None],
        origin_s: float,
    ) -> None:
        """`tell` fires an event: its name, a subclass, the channel, and a body or the media bug's name.

        Frames are counted from `origin_s` of the loop's clock.
        """
        self.order = order
        self.paused = False
        self.connections = 0
        self.frames_sent = 0
        self.text_heard: list[str] = []
        self._channel = channel
        self._module = knobs().module
        self._knobs = knobs
        self._tell = tell
        self._origin_s = origin_s
        self._socket: ClientConnection | None = None
        self._leaving = asyncio.Event()
        self._stopped = False
        self._last_text = ""
        self._behind = deque[bytes]()

    async def run(self) -> None:
        knobs = self._knobs()
        if knobs.never_connect:
            await self._leaving.wait()
            return
        await self._pause(knobs.connect_delay_s)
        while not self._leaving.is_set():
            async with AsyncExitStack() as opened:
                try:
                    socket = await self._open(opened)
                except (OSError, InvalidHandshake, InvalidMessage, EOFError, TimeoutError) as error:
                    self._refused(error)
                    return
                self._say("connect", '{"status":"connected"}')
                await self._talk(socket)
            if self._leaving.is_set() or not self._lost(socket):
                break
        if self._stopped and self._module is Module.AUDIO_STREAM_OLD:
            self._say("disconnect", _disconnected(1000, "Normal closure"))

    def stop(self, text: str = "", *, hangup: bool = False) -> None:
        """End it, with a last text if one is given; the connection is closed with 1000 meanwhile."""
        self._last_text = text
        self._stopped = not hangup
        self._leaving.set()

    def drop(self) -> None:
        """Lose the TCP connection, as a network would."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def send_text(self, text: str) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(text)

    async def graceful_shutdown(self) -> None:
        """mod_audio_fork's: one empty frame, and no audio any more; the server is to close."""
        self.paused = True
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(b"")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    async def _open(self, opened: AsyncExitStack) -> ClientConnection:
        socket = await self._dial(opened)
        if self._knobs().connect_twice:
            socket = await self._dial(opened)
        if self.order.metadata:
            await socket.send(self.order.metadata)
        return socket

    async def _dial(self, opened: AsyncExitStack) -> ClientConnection:
        fork = self._module is Module.AUDIO_FORK
        parts = urlsplit(self.order.url)
        async with asyncio.timeout(self._knobs().connect_timeout_s):
            socket = await connect(
                self.order.url,
                subprotocols=[Subprotocol("audio.drachtio.org")] if fork else None,
                compression=None,
                origin=Origin(f"http://{parts.hostname if fork else parts.netloc}"),
                user_agent_header=_OLD_AGENT if self._module is Module.AUDIO_STREAM_OLD else None,
                ping_interval=None,
                open_timeout=None,
                close_timeout=1,
                proxy=None,
            )
        opened.push_async_callback(socket.close)
        self.connections += 1
        return socket

    async def _talk(self, socket: ClientConnection) -> None:
        """Until we leave or the connection is gone."""
        self._socket = socket
        reading = asyncio.create_task(self._read(socket))
        playing = asyncio.create_task(self._play(socket))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self._leaving.is_set():
                await self._leave(socket, playing)
        finally:
            self._socket = None
            for task in (reading, playing, leaving):
                task.cancel()
            done = await asyncio.gather(reading, playing, leaving, return_exceptions=True)
        for fault in done:
            if isinstance(fault, Exception):
                raise fault

    async def _leave(self, socket: ClientConnection, playing: asyncio.Task[None]) -> None:
        playing.cancel()
        if self._last_text:
            await self.send_text(self._last_text)
        await socket.close(1000, "" if self._module is Module.AUDIO_FORK else "Normal closure")

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                if isinstance(message, str):
                    self._heard(message)

    def _heard(self, text: str) -> None:
        self.text_heard.append(text)
        if self._module is not Module.AUDIO_FORK:
            self._say("json", text)
            return
        with suppress(ValueError):
            found = json.loads(text)
            kind = _FORK_TYPES.get(found.get("type", "")) if isinstance(found, dict) else None
            if kind is not None:
                self._say(
                    kind, json.dumps(found.get("data", found), separators=(",", ":"), ensure_ascii=False)
                )

    async def _play(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        channels = 2 if self.order.mix == "stereo" else 1
        fill = _FILL * (2 * channels * self.order.rate * FRAME_MS // 1000)
        number = int((loop.time() - self._origin_s) * 1000 / FRAME_MS)
        with suppress(ConnectionClosed):
            for _ in range(0 if self._knobs().mute else _FILL_FRAMES):
                await self._send(socket, fill)
            while True:
                due_s = self._origin_s + (number + 1) * FRAME_MS / 1000
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                frame = self._frame(number)
                if frame and not self._knobs().mute:
                    await self._send(socket, frame)
                number += 1

    async def _send(self, socket: ClientConnection, frame: bytes) -> None:
        await socket.send(frame)
        self.frames_sent += 1

    def _frame(self, number: int) -> bytes:
        """What goes out for this frame, if anything does: on hold and in a pause, nothing."""
        channel, rate = self._channel, self.order.rate
        if channel.held or self.paused:
            return b""
        own = channel.voice.frame(number, rate)
        if self.order.mix == "mono":
            return own
        other = self._written(number)
        if not other:
            # Both directions are awaited, and the party's own audio stays late by that for the whole call.
            if sum(map(len, self._behind)) < MOST_BEHIND:
                self._behind.append(own)
            return b""
        if self._behind:
            self._behind.append(own)
            own = self._behind.popleft()
        return interleaved(own, other) if self.order.mix == "stereo" else mixed(own, other)

    def _written(self, number: int) -> bytes:
        """What is written to the channel: its peer's voice, or silence if it was asked for."""
        channel = self._channel
        if channel.peer is not None:
            return channel.peer.voice.frame(number, self.order.rate)
        if channel.variables.get("send_silence_when_idle", "0") != "0":
            return bytes(2 * self.order.rate * FRAME_MS // 1000)
        return b""

    def _lost(self, socket: ClientConnection) -> bool:
        """Tell of a connection that the other side or the network ended; whether to connect again."""
        close = socket.protocol.close_rcvd
        if self._module is Module.AUDIO_FORK:
            self._say("disconnect", "")
            return False
        if self._module is Module.AUDIO_STREAM_OLD:
            code, reason = (close.code, close.reason) if close else (1006, "Abnormal closure")
            self._say("disconnect", _disconnected(code, reason))
            return self._channel.variables.get("STREAM_NO_RECONNECT") != "true"
        if close is not None:
            self._say("disconnect", _disconnected(close.code, close.reason))
        else:
            self._say("error", _error(1, _RESET))
            self._detach()
        return False

    def _refused(self, error: Exception) -> None:
        """Tell of a connection that could not be opened; only mod_audio_fork keeps its bug."""
        status = error.response.status_code if isinstance(error, InvalidStatus) else 0
        refused = isinstance(error, ConnectionRefusedError)
        if self._module is Module.AUDIO_FORK:
            why = "HS: ws upgrade response not 101" if status else "Unable to connect"
            self._say("connect_failed", _json(reason=why))
            return
        if self._module is Module.AUDIO_STREAM_OLD:
            why = (
                f"Expecting status 101 (Switching Protocol), got {status} status"
                if status
                else "Connect error"
            )
            self._say("error", _json(status="error", message=_old_message(why, status)))
        elif isinstance(error, TimeoutError):
            self._say("error", _error(10, "Timeout"))
        elif status:
            self._say("error", _error(6, "WebSocket upgrade failed"))
        elif refused:
            self._say("error", _error(6, "Connection refused (system error 111)"))
        else:
            self._say("error", _error(6, "Connection closed during handshake (EOF)"))
        self._detach()

    def _detach(self) -> None:
        """The module takes its bug off the channel."""
        if self._channel.streams.get(self.order.bug) is self:
            del self._channel.streams[self.order.bug]
            self._tell("MEDIA_BUG_STOP", "", self._channel, self.order.bug)

    def _say(self, what: str, body: str) -> None:
        if self._module is Module.AUDIO_FORK and what in ("connect", "kill_audio"):
            body = ""
        self._tell("CUSTOM", f"{self._module.file}::{what}", self._channel, body)


def _json(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _disconnected(code: int, reason: str) -> str:
    return _json(status="disconnected", message={"code": code, "reason": reason})


def _error(code: int, error: str) -> str:
    return _json(status="error", message={"code": code, "error": error})


def _old_message(error: str, status: int) -> dict[str, object]:
    return {"retries": 1, "error": error, "wait_time": 100, "http_status": status}
