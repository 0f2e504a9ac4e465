"""By what a leg's audio comes in, whichever transport: a process's ports, and what is opened on them for a
desk.

An inlet reads into its leg's ring until it is closed. Which transport a leg has, and what the PBX is told of
it, is the tap's business; what arrives is `net/`'s and `wire/`'s.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from bridge.net.rtp import Deliver, PortPool, PortsExhausted, RtpPort
from bridge.types import Codec, Transport
from bridge.wire.receiver import Receiver


class NoInlet(Exception):
    """None could be had, or not from this source; the text says why."""


class Place(NamedTuple):
    """What the PBX has to know so as to send here."""

    port: int = 0
    key: str = ""


class Inlet(Protocol):
    """One leg's."""

    @property
    def place(self) -> Place: ...

    @property
    def flaw(self) -> str:
        """What is missing from what came, if anything is; in a word or two."""
        ...

    def tally(self) -> tuple[int, ...]:
        """What became of packets so far, in the order of `FATES`."""
        ...

    def lock(self, address: str, port: int) -> None:
        """Only this source is heard from now on. Raises NoInlet."""

    async def reach(self, url: str) -> None:
        """Connect to where the PBX waits for us. Raises NoInlet."""
        ...

    def close(self) -> None:
        """Read what has come, and let go."""


class RtpInlet:
    """A UDP port."""

    def __init__(self, port: RtpPort) -> None:
        self._port = port
        self.place = Place(port.port)
        self.flaw = ""

    def tally(self) -> tuple[int, ...]:
        return self._port.tally()

    def lock(self, address: str, port: int) -> None:
        try:
            self._port.lock(address, port)
        except (OSError, ValueError) as error:
            raise NoInlet(f"{type(error).__name__} {error}".strip()) from None

    async def reach(self, _url: str) -> None:
        raise NoInlet("a UDP port is sent to, and reaches nobody")

    def close(self) -> None:
        self._port.drain()
        if self._port.dropped_by_kernel:
            self.flaw = "packets dropped"
        self._port.close()


class Inlets:
    """Those of one process."""

    def __init__(self, ports: PortPool, reorder_ms: float) -> None:
        self._ports = ports
        self._reorder_ms = reorder_ms

    async def open(
        self, transport: Transport, codec: Codec, clock: Callable[[], float], deliver: Deliver
    ) -> Inlet:
        """An inlet that delivers frames in call time, by `clock`. Raises NoInlet."""
        if transport is not Transport.RTP:
            raise NoInlet(f"{transport} is not had here")
        try:
            receiver = Receiver(codec, self._reorder_ms)
            return RtpInlet(self._ports.open(receiver, clock, deliver))
        except (PortsExhausted, OSError) as error:
            raise NoInlet(str(error)) from None
