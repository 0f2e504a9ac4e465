"""By what a leg's audio comes in, whichever transport: a process's ports, and what is opened on them for a
desk.

An inlet reads into its leg's ring until it is closed. Which transport a leg has, and what the PBX is told of
it, is the tap's business; what arrives is `net/`'s and `wire/`'s.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import NamedTuple, Protocol
from uuid import UUID, uuid4

from bridge.net import mediasocket
from bridge.net.audiosocket import AudioSocketInlet, AudioSocketServer
from bridge.net.audiostream import AudioStreamInlet, AudioStreamServer
from bridge.net.mediasocket import MediaSocketInlet, MediaSocketServer, NotConnected
from bridge.net.rtp import FATES as PORT_FATES
from bridge.net.rtp import PortPool, PortsExhausted, RtpPort
from bridge.types import Codec, Frame, Transport
from bridge.wire.audiostream import AUDIOSTREAM_FATES
from bridge.wire.intake import FATES as AUDIOSOCKET_FATES
from bridge.wire.mediasocket import MEDIA_FATES
from bridge.wire.receiver import Receiver

_MOST_KNOCKS = 256
_THERE_S = 1.0


class NoInlet(Exception):
    """None could be had, or not from this source; the text says why."""


class Place(NamedTuple):
    """What the PBX has to know so as to send here."""

    port: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """For whom an inlet is opened."""

    codec: Codec
    clock: Callable[[], float]
    """Call time now, in milliseconds."""
    deliver: Callable[[list[Frame]], None]
    ended: Callable[[], None] | None = None
    """Told when the PBX has ended a stream of its own making."""
    channels: int = 1
    """2: the other party's audio comes in the same stream."""
    other: Callable[[list[Frame]], bool] | None = None
    """Whom that is for."""
    over: Callable[[bool], None] | None = None
    """Told when a stream of FreeSWITCH's has ended, and does not come again; whether in order."""


class Inlet(Protocol):
    """One leg's."""

    place: Place
    flaw: str
    """What is missing from what came, if anything is; in a word or two."""
    fates: tuple[str, ...]
    """What `tally` counts, by name."""

    def tally(self) -> tuple[int, ...]:
        """What became of what came so far."""
        ...

    def lock(self, address: str, port: int) -> None:
        """Only this source is heard from now on. Raises NoInlet."""

    async def reach(self, url: str) -> None:
        """Connect to where the PBX waits for us. Raises NoInlet."""
        ...

    async def close(self) -> None:
        """Read what has come, and let go."""


class _Inlet:
    """What most have in common."""

    fates: tuple[str, ...] = ()

    def __init__(self, place: Place) -> None:
        self.place = place
        self.flaw = ""

    def lock(self, _address: str, _port: int) -> None:
        """A connection has one source, and its key was its pass."""

    async def reach(self, _url: str) -> None:
        raise NoInlet("the PBX sends here by itself")


class RtpInlet(_Inlet):
    """A UDP port."""

    fates = PORT_FATES

    def __init__(self, port: RtpPort) -> None:
        super().__init__(Place(port.port))
        self._port = port

    def tally(self) -> tuple[int, ...]:
        return self._port.tally()

    def lock(self, address: str, port: int) -> None:
        try:
            self._port.lock(address, port)
        except (OSError, ValueError) as error:
            raise NoInlet(f"{type(error).__name__} {error}".strip()) from None

    async def close(self) -> None:
        self._port.drain()
        if self._port.dropped_by_kernel:
            self.flaw = "packets dropped"
        self._port.close()


class StreamInlet(_Inlet):
    """An AudioSocket that the PBX connects."""

    fates = AUDIOSOCKET_FATES

    def __init__(self, port: int, inlet: AudioSocketInlet) -> None:
        super().__init__(Place(port, str(inlet.key)))
        self._inlet = inlet

    def tally(self) -> tuple[int, ...]:
        return self._inlet.tally()

    async def close(self) -> None:
        self._inlet.close()


class MessageInlet(_Inlet):
    """A WebSocket: one that the PBX connects, with an inlet that is there already, or one that we connect."""

    fates = MEDIA_FATES

    def __init__(self, place: Place, listener: Listener, inlet: MediaSocketInlet | None = None) -> None:
        super().__init__(place)
        self._listener = listener
        self._inlet = inlet

    def tally(self) -> tuple[int, ...]:
        return (0,) * len(MEDIA_FATES) if self._inlet is None else self._inlet.tally()

    async def reach(self, url: str) -> None:
        listener = self._listener
        try:
            self._inlet = await mediasocket.connect(url, listener.codec, listener.clock, listener.deliver)
        except NotConnected as error:
            raise NoInlet(str(error)) from None

    async def close(self) -> None:
        if self._inlet is not None:
            await self._inlet.close()


class SpokenInlet(_Inlet):
    """A stream of FreeSWITCH's, which comes, and comes again if it is lost."""

    fates = AUDIOSTREAM_FATES

    def __init__(self, place: Place, inlet: AudioStreamInlet) -> None:
        super().__init__(place)
        self._inlet = inlet

    @property
    def connected(self) -> bool:
        return self._inlet.connected

    @property
    def agent(self) -> str:
        """What the module said that it was, if it did."""
        return self._inlet.agent

    def tally(self) -> tuple[int, ...]:
        return self._inlet.tally()

    async def reach(self, _url: str) -> None:
        """It comes by itself, and has to be there."""
        try:
            async with asyncio.timeout(_THERE_S):
                await self._inlet.arrived.wait()
        except TimeoutError:
            raise NoInlet("the PBX says that its stream has reached us, and it has not") from None

    async def close(self) -> None:
        await self._inlet.close()
        self.flaw = self._inlet.flaw


@dataclass(frozen=True, slots=True)
class Ports:
    """A process's own: for each leg over UDP one, over TCP one for all."""

    bind: str
    rtp: range
    audiosocket: int
    websocket: int
    rest_s: float = 30.0
    audiostream: int = 0
    """Of FreeSWITCH's streams."""
    media_tls_cert: str | None = None
    """With which they are met over TLS; none: in clear."""
    media_tls_key: str | None = None

    def media_tls(self) -> ssl.SSLContext | None:
        """Raises OSError (ssl.SSLError is one) for files that will not do."""
        if self.media_tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.media_tls_cert, self.media_tls_key)
        return context


class Inlets:
    """Those of one process; `close` them. What listens begins with the first leg that needs it."""

    def __init__(self, ports: Ports, reorder_ms: float, *, visits: bool = False) -> None:
        """`visits`: whether an AudioSocket that no leg expects may be a call that the dialplan sends."""
        self._reorder_ms = reorder_ms
        self._rtp = PortPool(ports.bind, ports.rtp.start, ports.rtp.stop - 1, ports.rest_s)
        self.knocks = asyncio.Queue[UUID](_MOST_KNOCKS)
        """UUIDs of AudioSockets that no leg expects."""
        self._ports = ports
        self._visits = visits
        self._audiosocket: AudioSocketServer | None = None
        self._websocket: MediaSocketServer | None = None
        self._audiostream: AudioStreamServer | None = None
        self._opened = AsyncExitStack()
        self._lock = asyncio.Lock()

    def knock(self, key: UUID) -> None:
        """Somebody waits who brought it."""
        with suppress(asyncio.QueueFull):  # it is given up in time, and counted there
            self.knocks.put_nowait(key)

    def refuse(self, key: UUID) -> None:
        """Let whoever knocked with it go."""
        if self._audiosocket is not None:
            self._audiosocket.refuse(key)

    def hold(self, key: UUID) -> None:
        """Keep whoever knocked with it, unheard, until the PBX ends it: the call is heard otherwise."""
        if (server := self._audiosocket) is not None:
            now_s = asyncio.get_running_loop().time
            held = server.expect(key, Codec.SLIN, now_s, _unheard, lambda: held.close(), lone=True)

    async def close(self) -> None:
        """Nobody listens any more."""
        await self._opened.aclose()

    async def open(self, transport: Transport, listener: Listener, key: str = "") -> Inlet:
        """An inlet that delivers to the leg; `key` is one that the PBX has chosen. Raises NoInlet."""
        try:
            match transport:
                case Transport.RTP:
                    receiver = Receiver(listener.codec, self._reorder_ms)
                    return RtpInlet(self._rtp.open(receiver, listener.clock, listener.deliver))
                case Transport.AUDIOSOCKET:
                    return await self._open_audiosocket(listener, key)
                case Transport.WEBSOCKET_CLIENT:
                    return await self._open_websocket(listener)
                case Transport.AUDIOSTREAM | Transport.AUDIOSTREAM_STEREO:
                    return await self._open_audiostream(listener)
        except (PortsExhausted, OSError, ValueError) as error:
            raise NoInlet(str(error)) from None
        return MessageInlet(Place(), listener)

    async def _open_audiosocket(self, listener: Listener, key: str) -> Inlet:
        server = await self.audiosocket()
        uuid = UUID(key) if key else uuid4()
        expected = server.expect(
            uuid, listener.codec, listener.clock, listener.deliver, listener.ended, lone=bool(key)
        )
        return StreamInlet(server.port, expected)

    async def _open_websocket(self, listener: Listener) -> Inlet:
        server, secret = await self.websocket(), uuid4().hex
        inlet = server.expect(secret, listener.codec, listener.clock, listener.deliver)
        return MessageInlet(Place(server.port, secret), listener, inlet)

    async def _open_audiostream(self, listener: Listener) -> Inlet:
        server, secret = await self.audiostream(), token_hex(32)
        inlet = server.expect(
            secret,
            listener.codec,
            listener.clock,
            listener.deliver,
            channels=listener.channels,
            other=listener.other,
            over=listener.over,
        )
        return SpokenInlet(Place(server.port, secret), inlet)

    def met(self) -> Counter[str]:
        """What became of connections to the media servers so far: `media_admitted`, `media_foreign`, ..."""
        total = Counter[str]()
        for server in (self._websocket, self._audiostream):
            if server is not None:
                total.update({f"media_{fate}": number for fate, number in asdict(server.counters).items()})
        return total

    async def websocket(self) -> MediaSocketServer:
        """Where Asterisk connects its WebSockets. Raises OSError if the port is not to be had."""
        async with self._lock:
            if self._websocket is None:
                server = MediaSocketServer(self._ports.bind, self._ports.websocket)
                self._websocket = await self._opened.enter_async_context(server)
        return self._websocket

    async def audiostream(self) -> AudioStreamServer:
        """Where FreeSWITCH connects its streams. Raises OSError if the port, or a file, is not to be had."""
        async with self._lock:
            if self._audiostream is None:
                ports = self._ports
                server = AudioStreamServer(ports.bind, ports.audiostream, tls=ports.media_tls())
                self._audiostream = await self._opened.enter_async_context(server)
        return self._audiostream

    async def audiosocket(self) -> AudioSocketServer:
        """Where the PBX connects its AudioSockets. Raises OSError if the port is not to be had."""
        async with self._lock:
            if self._audiosocket is None:
                knock = self.knock if self._visits else None
                server = AudioSocketServer(self._ports.bind, self._ports.audiosocket, knock)
                self._audiosocket = await self._opened.enter_async_context(server)
        return self._audiosocket


def _unheard(frames: list[Frame]) -> None:
    """The same words come by a tap."""
