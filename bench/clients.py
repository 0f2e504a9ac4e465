"""Two honest clients to compare the bridge with, as they are published: no audio before the utterance's end.

Both find it as the bridge does, with WebRTC VAD, and wait for 500 ms of silence; they differ only in what a
new token and a new socket cost. Where a choice was open they got the quicker one: the VAD's own hang-over is
not waited for, silence is not uploaded, and HTTP connections are kept.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bench.telephone import CODEC, Telephone
from bridge.emulator.server import Knobs
from bridge.types import Frame
from bridge.wire import rtzr
from bridge.wire.gate import Action, Audio, EndOfUtterance, Gate, GateSettings, Mode, Silence

SILENCE_MS = 500
MESSAGE_MS = 20
_GATE = GateSettings(Mode.VAD, silence_ms=SILENCE_MS, preroll_ms=60, hangover_ms=40)


class Account:
    """Where RTZR is and who we are to it."""

    def __init__(
        self, auth_url: str, stream_url: str, knobs: Knobs, http: httpx.AsyncClient, epd_s: float
    ) -> None:
        self._auth_url = auth_url
        self._stream_url = rtzr.stream_url(stream_url, CODEC, {"epd_time": str(epd_s)})
        self._form = {"client_id": knobs.client_id, "client_secret": knobs.client_secret}
        self._http = http
        self._token: asyncio.Task[str] | None = None

    async def fresh_token(self) -> str:
        """A new one. Raises httpx.HTTPError."""
        answer = await self._http.post(self._auth_url, data=self._form)
        return rtzr.parse_token(answer.raise_for_status().content).value

    async def cached_token(self) -> str:
        """One for the whole process."""
        if self._token is None:
            self._token = asyncio.create_task(self.fresh_token())
        return await self._token

    def dial(self, token: str) -> connect:
        """A socket to RTZR."""
        headers = {"Authorization": f"Bearer {token}"}
        return connect(self._stream_url, additional_headers=headers, compression=None, proxy=None)


async def naive(phone: Telephone, account: Account) -> None:
    """A new token and a new socket for each utterance, ended by EOS."""
    async for utterance in _utterances(phone):
        async with account.dial(await account.fresh_token()) as socket:
            await _upload(socket, utterance)
            await socket.send(rtzr.EOS)
            async for message in socket:
                _note(phone, message)


async def reuse(phone: Telephone, account: Account) -> None:
    """The cached token, and one socket, opened at the first utterance; each is ended by Finalize."""
    async with AsyncExitStack() as opened:
        socket: ClientConnection | None = None
        async for utterance in _utterances(phone):
            if socket is None:
                socket = await opened.enter_async_context(account.dial(await account.cached_token()))
            await _upload(socket, utterance)
            await socket.send(rtzr.FINALIZE)
            while not _note(phone, await socket.recv()):
                pass


async def _upload(socket: ClientConnection, utterance: bytes) -> None:
    size = MESSAGE_MS * CODEC.bytes_per_ms
    for start in range(0, len(utterance), size):
        await socket.send(utterance[start : start + size])


def _note(phone: Telephone, message: str | bytes) -> bool:
    """Whether the message was a final."""
    result = json.loads(message)
    if result["final"]:
        phone.hear(result["alternatives"][0]["text"])
    return bool(result["final"])


async def _utterances(phone: Telephone) -> AsyncIterator[bytes]:
    """Each utterance, whole, once its silence has been waited for."""
    gate, utterance, ended = Gate(_GATE, CODEC), bytearray(), False
    while not ended:
        batch = await phone.ring.read(MESSAGE_MS, _patience_s(gate, phone.clock()))
        ended = batch.ended
        for action in _actions(gate, batch.frames, phone.clock(), ended=ended):
            if isinstance(action, EndOfUtterance):
                yield bytes(utterance)
                utterance.clear()
            else:
                utterance += _payload(action)


def _actions(gate: Gate, frames: Sequence[Frame], now_ms: float, *, ended: bool) -> list[Action]:
    return gate.feed(frames, now_ms) + (gate.finish() if ended else [])


def _patience_s(gate: Gate, now_ms: float) -> float:
    wait_ms = 2.0 * MESSAGE_MS if gate.due_ms is None else gate.due_ms - now_ms
    return max(1.0, min(wait_ms, 2.0 * MESSAGE_MS)) / 1000


def _payload(action: Audio | Silence) -> bytes:
    return action.payload if isinstance(action, Audio) else CODEC.silence(action.length_ms)
