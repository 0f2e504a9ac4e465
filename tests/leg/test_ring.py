"""The hand-over: bounded, in order, every millisecond counted, and its reader woken when it wants to be."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.leg.ring import MIX_LAG_MS, Ring
from bridge.types import Codec, Frame


def frames(count: int, start_ms: float = 0.0, ms: int = 20) -> list[Frame]:
    return [Frame(bytes([number % 256]) * (8 * ms), start_ms + number * ms) for number in range(count)]


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_reader_waits_for_as_much_as_it_wants() -> None:
    ring = Ring(Codec.ULAW, 1000)
    reading = asyncio.create_task(ring.read(40, 60))
    ring.push(frames(1))
    await settled()
    assert not reading.done()
    ring.push(frames(1, 20))
    batch = await reading
    assert [frame.at_ms for frame in batch.frames] == [0, 20]
    assert not batch.ended
    assert ring.waiting_ms == 0


async def test_what_waits_already_is_read_at_once_and_whole() -> None:
    ring = Ring(Codec.ULAW, 1000)
    ring.push(frames(5))
    assert len((await ring.read(40, 60)).frames) == 5


async def test_a_reader_gets_what_there_is_when_its_patience_is_over() -> None:
    ring = Ring(Codec.ULAW, 1000)
    ring.push(frames(1))
    assert len((await ring.read(40, 0.01)).frames) == 1
    assert (await ring.read(40, 0.01)).frames == ()


async def test_the_end_wakes_everybody_and_stays() -> None:
    ring = Ring(Codec.ULAW, 1000)
    reading = asyncio.create_task(ring.read(40, 60))
    wanting, answering = asyncio.create_task(ring.wanted()), asyncio.create_task(ring.answered())
    over = asyncio.create_task(ring.over(60))
    await settled()
    ring.push(frames(1))
    ring.end()
    batch = await reading
    await over
    assert (batch.ended, len(batch.frames)) == (True, 1)
    assert (await wanting, await answering) == (False, None)
    assert (await ring.read(40, 60)).ended


async def test_an_answer_after_the_end_and_a_second_one_change_nothing() -> None:
    ended, twice = Ring(Codec.ULAW, 1000), Ring(Codec.ULAW, 1000)
    ended.end()
    ended.answer(5)
    assert await ended.answered() is None
    twice.answer(5)
    twice.answer(9)
    twice.end()
    assert await twice.answered() == 5
    assert await twice.wanted(), "a short call's words are still to be sent"


async def test_prepare_asks_for_a_session_and_is_no_answer() -> None:
    ring = Ring(Codec.ULAW, 1000)
    ring.prepare()
    assert await ring.wanted()
    answering = asyncio.create_task(ring.answered())
    await settled()
    assert not answering.done()
    ring.answer(7)
    assert await answering == 7


async def test_over_waits_no_longer_than_it_is_told() -> None:
    ring = Ring(Codec.ULAW, 1000)
    await ring.over(0.01)
    assert not ring.ended


async def test_a_cancelled_reader_leaves_the_frames_to_the_next() -> None:
    ring = Ring(Codec.ULAW, 1000)
    reading = asyncio.create_task(ring.read(40, 60))
    await settled()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    ring.push(frames(3))
    assert len((await ring.read(40, 60)).frames) == 3


@given(st.lists(st.integers(0, 12)), st.sampled_from([20, 100, 500]), st.data())
def test_every_frame_is_read_evicted_or_waiting(
    pushes: list[int], capacity_ms: int, data: st.DataObject
) -> None:
    ring, read, at = Ring(Codec.ULAW, capacity_ms), list[Frame](), 0.0

    async def run() -> None:
        nonlocal at
        for count in pushes:
            ring.push(frames(count, at))
            at += 20 * count
            assert ring.waiting_ms <= capacity_ms
            if data.draw(st.booleans()):
                read.extend((await ring.read(0, 0)).frames)

    asyncio.run(run())
    assert ring.arrived_ms == at
    assert ring.arrived_ms == 20 * len(read) + ring.evicted_ms + ring.waiting_ms
    starts = [frame.at_ms for frame in read]
    assert starts == sorted(set(starts)), "in order, none twice"


def frame(level: int, at_ms: float) -> Frame:
    return Frame(Codec.SLIN.silence(0) + level.to_bytes(2, "little", signed=True) * 160, at_ms)


async def test_two_parties_in_one_stream_are_heard_at_once_and_it_ends_with_the_second() -> None:
    host, guest, now = Ring(Codec.SLIN, 60_000), Ring(Codec.SLIN, 60_000), 0.0
    host.mix_in(guest, lambda: now)
    assert (host.mixes, host.mixed, guest.mixes, guest.mixed) == (True, False, False, True)
    host.push([frame(100, 0), frame(100, 20)])
    guest.push([frame(7, 20), frame(7, 40)])
    host.end()
    assert not host.ended
    guest.end()
    batch = await host.read(20, 1)
    assert [(f.at_ms, int.from_bytes(f.payload[:2], "little")) for f in batch.frames] == [
        (0, 100),
        (20, 107),
        (40, 7),
    ]
    assert batch.ended
    assert (host.arrived_ms, guest.arrived_ms, guest.mixed_ms, host.flaws) == (60, 40, 40, [])


async def test_what_was_said_before_both_fell_silent_does_not_wait_for_more() -> None:
    host, guest, now = Ring(Codec.SLIN, 60_000), Ring(Codec.SLIN, 60_000), 0.0
    host.mix_in(guest, lambda: now)
    host.push([frame(100, 0)])
    assert host.read_now().frames == ()
    now = 20 + MIX_LAG_MS
    assert len(host.read_now().frames) == 1


async def test_a_party_whose_audio_draws_back_loses_none_of_it_in_the_mix() -> None:
    host, guest = Ring(Codec.SLIN, 60_000), Ring(Codec.SLIN, 60_000)
    host.mix_in(guest, lambda: 0.0)
    host.push([frame(n, 18.0 * n) for n in range(50)])
    guest.push([frame(7, 2000)])
    host.end()
    guest.end()
    heard = (await host.read(20, 1)).frames
    assert [f.at_ms for f in heard] == [*range(0, 1000, 20), 2000]
    assert [int.from_bytes(f.payload[:2], "little") for f in heard] == [*range(50), 7]
    assert host.flaws == []


async def test_audio_that_comes_after_its_time_was_mixed_is_heard_a_little_later() -> None:
    host, guest = Ring(Codec.SLIN, 60_000), Ring(Codec.SLIN, 60_000)
    host.mix_in(guest, lambda: 1000.0)
    host.push([frame(100, 0)])
    guest.push([frame(7, 0), frame(8, 20)])
    host.end()
    guest.end()
    heard = (await host.read(20, 1)).frames
    levels = [(f.at_ms, int.from_bytes(f.payload[:2], "little")) for f in heard]
    assert levels == [(840, 107), (860, 8)]
    assert host.flaws == []


async def test_what_is_mixed_too_late_to_be_kept_is_a_flaw() -> None:
    host, guest = Ring(Codec.SLIN, 90_000), Ring(Codec.SLIN, 90_000)
    host.mix_in(guest, lambda: 0.0)
    host.push([frame(100, 20.0 * n) for n in range(3001)])
    assert host.flaws == ["mixed too late"]
