"""AudioSocket's TCP server: the PBX connects, and each connection belongs to the leg whose UUID it names.

Decides whose connection is heard and how long it may wait for its leg. The socket itself is `audiopeer`'s
concern, what the bytes mean `wire/audiosocket`'s, and what becomes of the audio `wire/intake`'s.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog

from bridge.net.audiopeer import Line, Peer
from bridge.types import Codec, Frame
from bridge.wire.audiosocket import FRAME_MS, Identified, Message
from bridge.wire.intake import Intake, IntakeCounters, Kept, numbers

_log = structlog.get_logger()

IDENTIFY_S = 2.0
"""How long a connection may take to name its UUID; Asterisk does at once."""
KNOCK_S = 5.0
"""How long one is kept whose UUID nobody expects yet."""
FAREWELL_S = 1.0
"""How long the PBX may take to close its side after we closed ours."""
WAITING = 256
"""Connections that may wait for each of these."""
CONNECTIONS = 4096
STALE_S = 0.5
"""A connection that was heard since is not replaced by another one of its UUID."""
ACCEPTS = 32
"""Connections accepted in one wake-up."""
ACCEPT_AGAIN_S = 1.0
_TICK_S = FRAME_MS / 1000
_SEND_BUFFER = 16_384
"""Bytes, some dozens of frames: a PBX that reads again after a pause gets no minute of old silence."""


@dataclass(slots=True)
class ServerCounters:
    """What became of connections, and of what no leg was there for."""

    connections: int = 0
    """Accepted. Each has one of the next five fates at most; the others were a leg's."""
    refused: int = 0
    """Closed at once: there were as many as may be."""
    unidentified: int = 0
    """Named no UUID in time, or ended before."""
    foreign: int = 0
    """Named a UUID that nobody expected in time."""
    rivals: int = 0
    """Named the UUID of a leg whose connection was alive and speaking."""
    garbage: int = 0
    """Sent what is not AudioSocket. A leg's own too: a short write puts Asterisk out of step."""
    replaced: int = 0
    """Connections of a leg that another one took the place of."""
    overrun: int = 0
    """Messages of audio dropped while their connection waited for its leg, for more came than is kept."""
    silence_skipped: int = 0
    """Frames of silence not sent, because the PBX did not read those before."""


Deliver = Callable[[list[Frame]], None]


class AudioSocketInlet:
    """One leg's audio. `drain` it at hang-up, `close` it in every path.

    Connections may follow one another meanwhile: where the PBX ended one, the tap can be put back.
    """

    __slots__ = ("_clock", "_deliver", "_ended", "_intake", "_let_go", "closed", "key", "lone", "peer")

    def __init__(
        self,
        key: UUID,
        intake: Intake,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None,
        let_go: Callable[["AudioSocketInlet"], None],
    ) -> None:
        self.key = key
        self.peer: Peer | None = None
        self.closed = self.lone = False
        self._intake = intake
        self._clock = clock
        self._deliver = deliver
        self._ended = ended
        self._let_go = let_go

    @property
    def counters(self) -> IntakeCounters:
        return self._intake.counters

    def tally(self) -> tuple[int, ...]:
        """All counters so far, in the order of `bridge.wire.intake.FATES`."""
        tally: tuple[int, ...] = numbers(self._intake.counters)
        return tally

    def drain(self) -> None:
        """Delivers what the PBX has sent and the kernel still holds: the leg has ended."""
        if self.peer is not None:
            self.peer.drain()

    def close(self) -> None:
        """Drains, and takes leave of the PBX. Without effect the second time.

        A channel AudioSocket/... ends by it. So does the AudioSocket application; its call goes on in the
        dialplan from Asterisk 22.4 and 20.14 on, and before that, no way to leave would spare the call.
        """
        if not self.closed:
            self.closed = True
            self.drain()
            self._let_go(self)

    def take(self, peer: Peer, messages: Sequence[Message], arrived_s: float) -> None:
        frames = self._intake.push(messages, self._clock() - (peer.now_s() - arrived_s) * 1000)
        if frames:
            self._deliver(frames)

    def lose(self) -> None:
        """Its connection has ended, and not by us."""
        self.peer = None
        self.counters.lost += 1
        if self._ended is not None and not self.closed:
            self._ended()


class AudioSocketServer:
    """Listens for the PBX's connections. Use it as an async context manager, in a running loop."""

    def __init__(self, bind: str, port: int = 0, knock: Callable[[UUID], None] | None = None) -> None:
        """`knock` is told of a UUID that nobody expects; within KNOCK_S `expect` may be asked for it. Without
        `knock` such a connection is closed at once. Whoever can reach the port can send UUIDs. Raises
        ValueError if `bind` is no IP address."""
        self.counters = ServerCounters()
        self._address = ipaddress.ip_address(bind)
        self._asked_port = port
        self._knock = knock
        self._inlets: dict[UUID, AudioSocketInlet] = {}
        self._knocks: dict[UUID, tuple[Peer, Kept]] = {}
        self._peers: set[Peer] = set()
        self._hearers: dict[Peer, None] = {}  # in order: each gets its silence at the same point of a tick
        self._unnamed = Line(IDENTIFY_S, WAITING, self._unidentified)
        self._knocking = Line(KNOCK_S, WAITING, self._foreign)
        self._leaving = Line(FAREWELL_S, WAITING, self._close)
        self._listener: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick_s = 0.0
        self._nobody = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens; RuntimeError while it does not."""
        if self._listener is None:
            raise RuntimeError("the server does not listen")
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Raises OSError if address and port are not to be had."""
        family = socket.AF_INET6 if self._address.version == 6 else socket.AF_INET
        address = (self._address.compressed, self._asked_port)
        self._listener = socket.create_server(address, family=family, backlog=WAITING)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # for all it accepts
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._accept)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all inlets; the PBX has FAREWELL_S to close its side. Without effect the second time."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        self._loop.remove_reader(listener)
        listener.close()
        for inlet in list(self._inlets.values()):
            inlet.close()
        self._unnamed.clear()
        self._knocking.clear()
        try:
            while self._peers:
                self._nobody.clear()
                await self._nobody.wait()
        finally:
            self._leaving.clear()
            if self._timer is not None:
                self._timer.cancel()

    def expect(
        self,
        key: UUID,
        codec: Codec,
        clock: Callable[[], float],
        deliver: Deliver,
        ended: Callable[[], None] | None = None,
        *,
        lone: bool = False,
    ) -> AudioSocketInlet:
        """From now on the connection that names `key` is heard, until the inlet is closed.

        `clock` gives call time now in ms; `deliver` gets frames, oldest first, one list a wake-up: the first
        ones before this returns, if the connection has knocked already. `ended` is told each time the PBX
        ends the connection; the inlet waits for another one then. One that comes while the last is still
        open takes its place, unless the last was heard within STALE_S: then the same UUID was given to two
        calls, and the second is refused, so that nobody's words come into another's transcript. With `lone`,
        for a key that is not ours, it is so however long the last was not heard.

        Raises ValueError if `key` is expected already, or AudioSocket cannot carry `codec`.
        """
        if key in self._inlets:
            raise ValueError("this UUID is expected already")
        inlet = AudioSocketInlet(key, Intake(codec), clock, deliver, ended, self._let_go)
        inlet.lone = lone
        self._inlets[key] = inlet
        if (knocked := self._knocks.pop(key, None)) is not None:
            peer, kept = knocked
            self._knocking.remove(peer)
            inlet.peer, peer.take = peer, inlet.take
            self.counters.overrun += kept.overrun
            for arrived_s, lot in kept.lots():
                inlet.take(peer, lot, arrived_s)
        return inlet

    def refuse(self, key: UUID) -> None:
        """Whoever has knocked with it need not wait any longer."""
        if (knocked := self._knocks.get(key)) is not None:
            self._knocking.remove(knocked[0])
            self._foreign(knocked[0])

    # Connections come and name themselves.

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            if self._listener is None:
                return
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor is free: to try again at once would take all the CPU there is.
                _log.warning("audiosocket accepts nothing", reason=error.strerror, again_s=ACCEPT_AGAIN_S)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(ACCEPT_AGAIN_S, self._accept_again)
                return
            self._admit(sock)

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)

    def _admit(self, sock: socket.socket) -> None:
        if len(self._peers) >= CONNECTIONS:
            self.counters.refused += 1
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counters.connections += 1
        peer = Peer(sock, self._identify, self._lost)
        self._peers.add(peer)
        self._unnamed.add(peer)
        if self._timer is None:
            self._tick_s = self._loop.time()
            self._wait()

    def _identify(self, peer: Peer, messages: Sequence[Message], arrived_s: float) -> None:
        match messages:
            case [Identified(key), *rest]:
                self._unnamed.remove(peer)
                peer.key = key
                self._hearers[peer] = None
                self._assign(peer, key)
                if rest and not peer.closed:
                    peer.take(peer, rest, arrived_s)

    def _assign(self, peer: Peer, key: UUID) -> None:
        if key in self._inlets:
            self._inlets[key].drain()  # its connection may be over, only not read so far
        inlet = self._inlets.get(key)
        if inlet is not None:
            self._join(inlet, peer)
        elif self._knock is None:
            self._foreign(peer)
        else:
            self.refuse(key)
            kept = Kept()
            peer.take = lambda _, messages, arrived_s: kept.push(messages, arrived_s)
            self._knocks[key] = peer, kept
            self._knocking.add(peer)
            self._knock(key)

    def _join(self, inlet: AudioSocketInlet, peer: Peer) -> None:
        former = inlet.peer
        if former is not None and (inlet.lone or peer.now_s() - former.heard_s < STALE_S):
            self.counters.rivals += 1
            _log.warning("audiosocket refused", reason="another call has its UUID; each needs its own")
            self._dismiss(peer)
            return
        inlet.peer, peer.take = peer, inlet.take
        if former is not None:
            self.counters.replaced += 1
            self._dismiss(former)

    # They end, or we end them.

    def _lost(self, peer: Peer, garbage: str | None) -> None:
        if peer.closed:
            return
        if self._leaving.remove(peer):
            self._close(peer)
            return
        self.counters.garbage += garbage is not None
        inlet = self._inlets.get(peer.key) if peer.key is not None else None
        if self._unnamed.remove(peer):
            self.counters.unidentified += garbage is None
        elif self._knocking.remove(peer):
            self._forget_knock(peer)
            self.counters.foreign += garbage is None
        elif garbage is not None:
            _log.warning("audiosocket out of step", reason=garbage)
        if garbage is None:
            self._close(peer)
        else:
            self._dismiss(peer)
        if inlet is not None and inlet.peer is peer:
            inlet.lose()

    def _unidentified(self, peer: Peer) -> None:
        self.counters.unidentified += 1
        self._dismiss(peer)

    def _foreign(self, peer: Peer) -> None:
        self.counters.foreign += 1
        self._forget_knock(peer)
        self._dismiss(peer)

    def _forget_knock(self, peer: Peer) -> None:
        if peer.key is not None and self._knocks.get(peer.key, (None,))[0] is peer:
            self.counters.overrun += self._knocks.pop(peer.key)[1].overrun

    def _let_go(self, inlet: AudioSocketInlet) -> None:
        del self._inlets[inlet.key]
        peer, inlet.peer = inlet.peer, None
        if peer is not None:
            self._dismiss(peer)

    def _dismiss(self, peer: Peer) -> None:
        """Takes leave; what it still says is read, so that its last writes do not fail, and not heard."""
        self._hearers.pop(peer, None)
        peer.take = _unheard
        peer.bid_farewell()
        self._leaving.add(peer)

    def _close(self, peer: Peer) -> None:
        self._hearers.pop(peer, None)
        self._peers.discard(peer)
        peer.close()
        if not self._peers:
            self._nobody.set()

    # One timer for all of them.

    def _wait(self) -> None:
        # After a stall one frame goes out at once, and none for the time that is over.
        self._tick_s = max(self._tick_s + _TICK_S, self._loop.time())
        self._timer = self._loop.call_at(self._tick_s, self._tick)

    def _tick(self) -> None:
        self._speak()
        now_s = self._loop.time()
        for line in (self._unnamed, self._knocking, self._leaving):
            line.expire(now_s)
        self._timer = None
        if self._peers:
            self._wait()

    def _speak(self) -> None:
        for peer in list(self._hearers):
            if not peer.speak():
                self.counters.silence_skipped += 1


def _unheard(_: Peer, messages: Sequence[Message], arrived_s: float) -> None:
    """Nobody's any more."""
