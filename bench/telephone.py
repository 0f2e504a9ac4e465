"""One party of a benchmark's call: a telephone whose RTP reaches a leg's ring as a PBX's would."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from bridge.leg.ring import Ring
from bridge.net.rtp import PortPool, RtpPort
from bridge.player import Player
from bridge.types import Codec
from bridge.wire.receiver import Receiver

HOST = "127.0.0.1"
CODEC = Codec.ULAW
_RING_MS = 60_000


def clock() -> Callable[[], float]:
    """Call time in milliseconds, of a call that begins now."""
    loop = asyncio.get_running_loop()
    origin_s = loop.time()
    return lambda: (loop.time() - origin_s) * 1000


@dataclass(slots=True)
class Final:
    """A text and when it came, in seconds of the loop's clock."""

    text: str
    came_s: float


@dataclass(slots=True)
class Telephone:
    """A leg that was answered: its player, its ring, and the finals that came back."""

    player: Player
    port: RtpPort
    ring: Ring
    clock: Callable[[], float]
    finals: list[Final] = field(default_factory=list)

    def hear(self, text: str) -> None:
        """A final has come."""
        self.finals.append(Final(text, asyncio.get_running_loop().time()))

    def hang_up(self) -> None:
        self.port.drain()
        self.ring.end()


@contextmanager
def lifted(ports: PortPool) -> Iterator[Telephone]:
    """A telephone from its answer to its end. Raises PortsExhausted."""
    now_ms, ring = clock(), Ring(CODEC, _RING_MS)
    with (
        closing(ports.open(Receiver(CODEC), now_ms, ring.push)) as port,
        closing(Player(HOST, port.port)) as player,
    ):
        port.lock(*player.address)
        ring.answer(now_ms())
        yield Telephone(player, port, ring, now_ms)
