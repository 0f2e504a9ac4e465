"""The port pool and one leg's port on real loopback sockets, under asyncio and uvloop."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from bridge.net.rtp import BATCH, FATES, KEPT, KEPT_EACH, PortPool, PortsExhausted, RtpPort
from bridge.types import Codec, Frame
from bridge.wire.receiver import Receiver
from bridge.wire.rtp import Packet, build
from tests.scale import scaled


class Clock:
    """Call time, moved by the test."""

    def __init__(self) -> None:
        self.ms = 1000.0

    def __call__(self) -> float:
        return self.ms


class Bench:
    """A pool on the loopback, one port of it, and what it delivered."""

    def __init__(self, pool: PortPool) -> None:
        self.pool = pool
        self.clock = Clock()
        self.batches: list[list[Frame]] = []
        self.receiver = Receiver(Codec.ULAW)
        self.port = pool.open(self.receiver, self.clock, self.batches.append)

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch]

    @property
    def numbers(self) -> list[int]:
        return [frame.payload[0] for frame in self.frames]

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():  # noqa: ASYNC110 - what is waited for is the loop's own work
                await asyncio.sleep(0)


class Sender:
    """A socket that sends to one port and may receive; unconnected, so that a refusal by ICMP is no error."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))

    def send(self, datagram: bytes) -> None:
        self.sock.sendto(datagram, self._to)


@contextmanager
def sender(port: int) -> Iterator[Sender]:
    one = Sender(port)
    with one.sock:
        yield one


def datagram(number: int, size: int = 160) -> bytes:
    return build(Packet(0, number, number * 160, 1, bytes([number % 256]) * size))


def lock(port: RtpPort, source: Sender) -> None:
    port.lock(*source.sock.getsockname())


def free_range(count: int) -> tuple[int, int]:
    """A range of ports in a row that nobody has just now, below the kernel's own choices."""
    for first in range(23_000, 30_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first, first + count - 1
    raise AssertionError("no free ports")


@pytest.fixture(autouse=True)
async def no_callback_fails() -> AsyncIterator[None]:
    """A reader's exception only reaches the loop's handler, where no test would see it."""
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    yield
    assert not failures


@pytest.fixture
def pool() -> PortPool:
    return PortPool("127.0.0.1", *free_range(8))


@pytest.fixture
async def bench(pool: PortPool) -> AsyncIterator[Bench]:
    one = Bench(pool)
    yield one
    one.port.close()


async def test_packets_of_the_source_are_delivered_with_their_arrival(bench: Bench) -> None:
    with sender(bench.port.port) as pbx:
        lock(bench.port, pbx)
        pbx.send(datagram(0))
        await bench.until(lambda: bool(bench.frames))
        bench.clock.ms = 1020
        pbx.send(datagram(1))
        await bench.until(lambda: len(bench.frames) == 2)
    assert [(frame.at_ms, frame.payload[0]) for frame in bench.frames] == [(1000, 0), (1020, 1)]


async def test_what_came_before_the_lock_is_judged_by_it(bench: Bench) -> None:
    with sender(bench.port.port) as pbx, sender(bench.port.port) as stranger:
        for number in range(4):
            bench.clock.ms = 1000 + 200 * number
            for sock in (stranger, pbx):
                sock.send(datagram(number if sock is pbx else 99))
            await bench.until(lambda: readable_nothing(bench))
        lock(bench.port, pbx)
        # 1000 is more than 500 ms before 1600
        assert bench.numbers == [1, 2, 3]
        assert bench.frames[0].at_ms == 1200
        assert (bench.port.counters.foreign, bench.port.counters.expired) == (3, 2)


def readable_nothing(bench: Bench) -> bool:
    """Whether the port's socket has been read empty."""
    return not select.select([bench.port.fileno()], [], [], 0)[0]


async def test_a_stranger_who_is_first_and_louder_is_never_heard(bench: Bench) -> None:
    """M2: he starts before the PBX and sends more; all of the PBX's packets are heard and none of his."""
    with sender(bench.port.port) as pbx, sender(bench.port.port) as stranger:
        for _ in range(200):
            stranger.send(datagram(200))
        await bench.until(lambda: readable_nothing(bench))
        for number in range(10):
            pbx.send(datagram(number))
            for _ in range(5):
                stranger.send(datagram(200))
        await bench.until(lambda: readable_nothing(bench))
        lock(bench.port, pbx)
        for number in range(10, 20):
            stranger.send(datagram(200))
            pbx.send(datagram(number))
        await bench.until(lambda: len(bench.frames) >= 20)
        assert bench.numbers == list(range(20))
        assert bench.port.counters.foreign == KEPT_EACH
        assert bench.port.counters.overrun == 250 - KEPT_EACH


async def test_what_the_kernel_queued_before_the_lock_is_judged_too(bench: Bench) -> None:
    with sender(bench.port.port) as pbx, sender(bench.port.port) as stranger:
        for number in range(5):
            stranger.send(datagram(100 + number))
            pbx.send(datagram(number))
        lock(bench.port, pbx)  # nothing has been read yet
        await bench.until(lambda: len(bench.frames) == 5)
        assert bench.numbers == [0, 1, 2, 3, 4]
        assert bench.port.counters.foreign == 5


async def test_many_senders_do_not_fill_the_memory(bench: Bench) -> None:
    for _ in range(KEPT // KEPT_EACH + 3):
        with sender(bench.port.port) as one:
            for number in range(KEPT_EACH):
                one.send(datagram(number))
            await bench.until(lambda: readable_nothing(bench))
    bench.port.close()
    counters = bench.port.counters
    assert counters.overrun >= 2 * KEPT_EACH
    assert counters.discarded == KEPT


async def test_a_port_bound_to_every_address_still_hears_the_source_only() -> None:
    one = Bench(PortPool("0.0.0.0", *free_range(1)))
    with sender(one.port.port) as pbx, sender(one.port.port) as stranger:
        lock(one.port, pbx)
        for number in range(3):
            stranger.send(datagram(7))
            pbx.send(datagram(number))
            await one.until(lambda number=number: len(one.frames) > number)  # type: ignore[misc]
    one.port.close()
    assert one.numbers == [0, 1, 2]
    assert one.port.counters.foreign == 3


async def test_nothing_is_ever_sent(bench: Bench) -> None:
    """M3: neither to the source nor to a stranger."""
    with sender(bench.port.port) as pbx, sender(bench.port.port) as stranger:
        lock(bench.port, pbx)
        for number in range(20):
            pbx.send(datagram(number))
            stranger.send(datagram(number))
        await bench.until(lambda: len(bench.frames) == 20)
        bench.port.drain()
        assert not select.select([pbx.sock, stranger.sock], [], [], 0.05)[0]


async def test_a_gap_is_given_up_by_a_timer(bench: Bench) -> None:
    with sender(bench.port.port) as pbx:
        lock(bench.port, pbx)
        pbx.send(datagram(0))
        pbx.send(datagram(2))
        await bench.until(lambda: len(bench.frames) == 2)
    assert bench.receiver.counters.lost == 1


async def test_drain_reads_the_socket_empty_and_gives_up_what_is_held(bench: Bench) -> None:
    with sender(bench.port.port) as pbx:
        lock(bench.port, pbx)
        for number in (*range(2 * BATCH), 2 * BATCH + 1):
            pbx.send(datagram(number))
        bench.port.drain()
    assert bench.numbers == [*range(2 * BATCH), 2 * BATCH + 1]
    assert len(bench.batches) == 1


async def test_a_flooded_port_leaves_the_others_their_turn(pool: PortPool) -> None:
    """M8: one wake-up reads `BATCH` datagrams at most, and every other port is read between two of them."""
    flooded, quiet = Bench(pool), Bench(pool)
    with sender(flooded.port.port) as flood, sender(quiet.port.port) as pbx:
        lock(flooded.port, flood)
        lock(quiet.port, pbx)
        count = 4 * BATCH
        for number in range(count):
            flood.send(datagram(number))
        pbx.send(datagram(1))
        await quiet.until(lambda: bool(quiet.frames))
        assert len(flooded.frames) <= 2 * BATCH
        await flooded.until(lambda: len(flooded.frames) == count)
        assert max(len(batch) for batch in flooded.batches) <= BATCH
    flooded.port.close()
    quiet.port.close()


async def test_a_closed_port_stays_closed_and_counts_once(bench: Bench) -> None:
    with sender(bench.port.port) as pbx:
        pbx.send(datagram(0))
        await bench.until(lambda: readable_nothing(bench))
    bench.port.close()
    bench.port.close()
    bench.port.drain()
    assert (bench.pool.in_use, bench.port.counters.discarded) == (0, 1)
    assert dict(zip(FATES, bench.port.tally(), strict=True))["discarded"] == 1
    assert not bench.frames


async def test_the_kernels_drops_are_known(bench: Bench) -> None:
    with sender(bench.port.port) as pbx:
        for _ in range(20_000):
            pbx.send(datagram(0, size=20))
            if bench.port.dropped_by_kernel:
                break
    assert bench.port.dropped_by_kernel > 0


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "pbx.example", ""])
async def test_a_source_that_is_no_address_is_refused(bench: Bench, address: str) -> None:
    with pytest.raises(ValueError, match=r"address|source"):
        bench.port.lock(address, 4000)


async def test_a_closed_port_rests_before_it_is_used_again() -> None:
    """M9: what the PBX sends to the old call does not reach the next."""
    clock, first_last = Clock(), free_range(2)
    pool = PortPool("127.0.0.1", *first_last, rest_s=30, now=lambda: clock.ms)
    first, second = Bench(pool), Bench(pool)
    with pytest.raises(
        PortsExhausted, match=rf"{first_last[0]}-{first_last[1]} is free: 2 carry a leg, 0 rest"
    ):
        Bench(pool)
    first.port.close()
    clock.ms += 29.9
    with pytest.raises(
        PortsExhausted, match="1 carry a leg, 1 rest or are another program's; widen the range"
    ):
        Bench(pool)
    clock.ms += 0.2
    third = Bench(pool)
    assert third.port.port == first.port.port
    for one in (second, third):
        one.port.close()
    assert pool.in_use == 0


async def test_a_port_of_another_program_is_passed_over() -> None:
    first, last = free_range(2)
    pool = PortPool("127.0.0.1", first, last)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", first))
        one = Bench(pool)
        assert one.port.port == last
        with pytest.raises(PortsExhausted):
            Bench(pool)
    one.port.close()


async def test_a_hundred_short_calls_over_few_ports_hear_no_stale_packet() -> None:
    """M9: the PBX goes on sending to a port after its call has ended."""
    clock = Clock()
    pool = PortPool("127.0.0.1", *free_range(4), rest_s=1, now=lambda: clock.ms)
    for call in range(scaled(1000, 100)):
        one = Bench(pool)
        with sender(one.port.port) as pbx:
            lock(one.port, pbx)
            pbx.send(datagram(call))
            await one.until(lambda one=one: bool(one.frames))  # type: ignore[misc]
            one.port.drain()
            one.port.close()
            assert one.numbers == [call % 256]
        clock.ms += 0.4
    assert pool.in_use == 0


async def test_an_impossible_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="ports 20 to 10"):
        PortPool("127.0.0.1", 20, 10)
    with pytest.raises(ValueError, match="localhost"):
        PortPool("localhost", 10, 20)
