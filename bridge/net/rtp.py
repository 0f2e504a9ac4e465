"""UDP ports for legs: a pool of them, and the shell that reads one into its `Receiver`.

Decides whose datagrams are read (the one address the PBX named) and when; what is in them is `wire/`'s
concern. Nothing is ever sent, so the bridge cannot be made to answer a stranger.
"""

import asyncio
import errno
import ipaddress
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from math import inf
from operator import attrgetter
from time import monotonic
from typing import NamedTuple

from bridge.types import Frame
from bridge.wire.fates import RTP_FATES, numbers
from bridge.wire.receiver import Receiver

BATCH = 32
"""Datagrams read in one wake-up: a flooded port cannot keep the loop from the others."""
ALONE_MS = 5
"""Wake-ups this far apart find one datagram each: the calmest case, and the commonest."""
KEPT_MS = 500
"""How long a packet that came before the PBX named the source is kept."""
KEPT = 256
KEPT_EACH = 50
"""Packets kept in all, and of one sender: a flood by one does not push the PBX's own out."""
LONGEST = 2048
"""Bytes of a datagram that is worth keeping: no audio packet of a call is longer."""

_BUFFER = memoryview(bytearray(65_536))  # the loop's thread reads one datagram at a time, whatever the port
_KERNEL_BUFFER = 1 << 20
"""Bytes that wait while we are kept from reading: the usual default holds five seconds of speech. The kernel
cuts it to net.core.rmem_max."""
_SO_MEMINFO = 55  # Linux (include/uapi/asm-generic/socket.h); Python has no name for it
_MEMINFO = struct.Struct("9I")  # SK_MEMINFO_VARS numbers; the last is SK_MEMINFO_DROPS
_TAKEN = {errno.EADDRINUSE, errno.EACCES}

Deliver = Callable[[list[Frame]], None]
Address = tuple[str, int]


class PortsExhausted(RuntimeError):
    """No port of the range is to be had: all carry a leg, rest, or belong to another program."""


@dataclass(slots=True)
class PortCounters:
    """What became of datagrams that never reached the receiver."""

    foreign: int = 0
    """From another address than the PBX's."""
    overrun: int = 0
    """Came before the source was known, and more of them than are kept."""
    expired: int = 0
    """Came more than `KEPT_MS` before the source was known."""
    discarded: int = 0
    """Kept, but the source was never known."""


_PORT_FATES = tuple(field.name for field in fields(PortCounters))
_numbers = attrgetter(*_PORT_FATES)
FATES = RTP_FATES + _PORT_FATES
"""What a port counts, by name."""


class _Kept(NamedTuple):
    at_ms: float
    sender: Address
    datagram: bytes


class RtpPort:
    """One leg's UDP port. `lock` it to the PBX's address, `drain` it at hang-up, `close` it in every path."""

    __slots__ = (
        "_clock", "_closed", "_connected", "_deliver", "_filtered", "_kept", "_kept_of", "_loop",
        "_read_ms", "_sock", "_source", "_timer", "_timer_ms", "counters", "port", "receiver",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        receiver: Receiver,
        clock: Callable[[], float],
        deliver: Deliver,
        closed: Callable[[int], None],
    ) -> None:
        """Begins to read at once. `clock` gives call time now in ms; `deliver` gets frames, oldest
        first, one list a wake-up; `closed` gets the port's number back."""
        self.port: int = sock.getsockname()[1]
        self.counters = PortCounters()
        self.receiver = receiver
        self._sock = sock
        self._clock = clock
        self._deliver = deliver
        self._closed = closed
        self._source: Address | None = None
        self._connected = False
        self._filtered = False  # connected, and what the kernel had queued before is read
        self._kept: deque[_Kept] = deque()
        self._kept_of: Counter[Address] = Counter()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0.0
        self._read_ms = -inf
        self._loop.add_reader(sock, self._readable)

    @property
    def dropped_by_kernel(self) -> int:
        """Datagrams that found the socket's buffer full; 0 where the kernel does not say."""
        with suppress(OSError, struct.error):
            numbers = _MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
            return int(numbers[-1])
        return 0

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self._sock.fileno()

    def tally(self) -> tuple[int, ...]:
        """All counters of this port and its receiver so far, in the order of `FATES`."""
        return (*numbers(self.receiver.counters), *_numbers(self.counters))

    def lock(self, address: str, port: int) -> None:
        """Only this source is heard from now on; of what was kept, its packets are played in order.

        A port bound to one address has the kernel drop all others, uncounted; else they are dropped here.
        Raises ValueError if `address` is not the IP address of a host, OSError if there is no way to it.
        """
        source = (_as_the_kernel_says(address, self._sock.family), port)
        if not ipaddress.ip_address(self._sock.getsockname()[0]).is_unspecified:
            # The kernel's filter. Of a socket bound to every address it would also fix the own one, by its
            # route to the source, and that need not be the one the PBX sends to.
            self._sock.connect(source)
            self._connected = True
        self._source, self._filtered = source, False
        frames: list[Frame] = []
        for kept in self._take_kept():
            if kept.sender == source:
                frames += self.receiver.push(kept.datagram, kept.at_ms)
            else:
                self.counters.foreign += 1
        self._hand_on(frames)

    def drain(self) -> None:
        """Reads the socket empty and delivers all that the receiver holds: the leg has ended."""
        if self.fileno() < 0:
            return
        frames: list[Frame] = []
        # The kernel's queue is bounded; the loop is too, should somebody fill it faster than it is read.
        for _ in range(1024):
            batch, emptied = self._read(self._clock())
            frames += batch
            if emptied:
                break
        frames += self.receiver.flush()
        self._hand_on(frames)

    def close(self) -> None:
        """Stops reading and gives the port to rest. Without effect the second time."""
        if self.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        if self._timer:
            self._timer.cancel()
        self.counters.discarded += len(self._take_kept())
        self._sock.close()
        self._closed(self.port)

    def _readable(self) -> None:
        now_ms = self._clock()
        # Packets that come one by one do not make us look for a second each time; if there is one, the loop
        # wakes us again at once, and then we read on.
        alone = self._filtered and now_ms - self._read_ms >= ALONE_MS
        self._read_ms = now_ms
        self._hand_on(self._read_one(now_ms) if alone else self._read(now_ms)[0])

    def _hand_on(self, frames: list[Frame]) -> None:
        if frames:
            self._deliver(frames)
        due_ms = self.receiver.release_at_ms
        if due_ms is not None and (self._timer is None or due_ms < self._timer_ms):
            self._wait_until(due_ms)

    def _wait_until(self, due_ms: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = self._loop.call_later(max(due_ms - self._clock(), 0) / 1000, self._release)

    def _release(self) -> None:
        self._timer = None
        self._hand_on(self.receiver.release(max(self._clock(), self._timer_ms)))

    def _read_one(self, now_ms: float) -> list[Frame]:
        """Reads one datagram of a socket that the kernel filters; returns its frames."""
        try:
            size = self._sock.recv_into(_BUFFER)
        except BlockingIOError:
            return []
        return self.receiver.push(_BUFFER[:size], now_ms)

    def _read(self, now_ms: float) -> tuple[list[Frame], bool]:
        """Reads a batch of datagrams; returns their frames, and whether the socket is known to be empty."""
        frames: list[Frame] = []
        for _ in range(BATCH):
            try:
                if self._filtered:
                    size = self._sock.recv_into(_BUFFER)
                else:
                    size, sender = self._sock.recvfrom_into(_BUFFER)
                    if sender[:2] != self._source:
                        self._set_aside(sender[:2], size, now_ms)
                        continue
            except BlockingIOError:
                self._filtered = self._connected
                return frames, True
            frames += self.receiver.push(_BUFFER[:size], now_ms)
        return frames, False

    def _set_aside(self, sender: Address, size: int, now_ms: float) -> None:
        """Keeps a datagram until the source is known; after that it is foreign."""
        if self._source is not None:
            self.counters.foreign += 1
            return
        while self._kept and self._kept[0].at_ms < now_ms - KEPT_MS:
            self._forget_oldest()
            self.counters.expired += 1
        if size > LONGEST or self._kept_of[sender] >= KEPT_EACH:
            self.counters.overrun += 1
            return
        if len(self._kept) >= KEPT:
            self._forget_oldest()
            self.counters.overrun += 1
        self._kept.append(_Kept(now_ms, sender, bytes(_BUFFER[:size])))
        self._kept_of[sender] += 1

    def _forget_oldest(self) -> None:
        sender = self._kept.popleft().sender
        self._kept_of[sender] -= 1
        if not self._kept_of[sender]:
            del self._kept_of[sender]

    def _take_kept(self) -> list[_Kept]:
        """What was kept and has not expired, oldest first; nothing is kept afterwards."""
        oldest_ms = self._clock() - KEPT_MS
        fresh = [kept for kept in self._kept if kept.at_ms >= oldest_ms]
        self.counters.expired += len(self._kept) - len(fresh)
        self._kept.clear()
        self._kept_of.clear()
        return fresh


def _as_the_kernel_says(address: str, family: int) -> str:
    """`address` in the form in which senders' addresses come from a socket of `family`."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        raise ValueError(f"{address} is no source: the PBX must name the address it sends from")
    if parsed.version == 4 and family == socket.AF_INET6:
        return f"::ffff:{parsed}"
    return socket.inet_ntop(family, parsed.packed)


class PortPool:
    """The ports `first` to `last` of the address `bind`, handed out in turn. A closed port rests before it is
    used again, so that what a PBX still sends to the old call does not reach the new one."""

    def __init__(
        self, bind: str, first: int, last: int, rest_s: float = 30, now: Callable[[], float] = monotonic
    ) -> None:
        """`now` gives seconds. Raises ValueError if `bind` is no IP address, or the range is impossible."""
        if not 0 < first <= last <= 65_535:
            raise ValueError(f"ports {first} to {last}, needed a range within 1 to 65535")
        self._address = ipaddress.ip_address(bind)
        self._range = f"{first}-{last}"
        self._rest_s = rest_s
        self._now = now
        self._free = deque(range(first, last + 1))
        self._resting: deque[tuple[float, int]] = deque()  # until when, oldest first
        self.in_use = 0

    def __len__(self) -> int:
        """How many ports may be tried now."""
        self._wake()
        return len(self._free)

    def open(self, receiver: Receiver, clock: Callable[[], float], deliver: Deliver) -> RtpPort:
        """A port that reads into `receiver`. Raises PortsExhausted; OSError if `bind` is not our address."""
        sock = self._bound()
        self.in_use += 1
        return RtpPort(sock, receiver, clock, deliver, self._take_back)

    def _bound(self) -> socket.socket:
        family = socket.AF_INET6 if self._address.version == 6 else socket.AF_INET
        for _ in range(len(self)):
            port = self._free.popleft()
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
            try:
                sock.bind((self._address.compressed, port))
            except OSError as error:
                sock.close()
                self._rest(port)  # another program's: asked again later
                if error.errno not in _TAKEN:
                    raise
            else:
                return sock
        raise PortsExhausted(
            f"no RTP port of {self._range} is free: {self.in_use} carry a leg, "
            f"{len(self._resting)} rest or are another program's; widen the range"
        )

    def _take_back(self, port: int) -> None:
        self.in_use -= 1
        self._rest(port)

    def _rest(self, port: int) -> None:
        self._resting.append((self._now() + self._rest_s, port))

    def _wake(self) -> None:
        while self._resting and self._resting[0][0] <= self._now():
            self._free.append(self._resting.popleft()[1])
