"""Datagrams to frames: recorded streams, every payload type, hostile sources, one fate for every packet."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Frame
from bridge.wire.g711 import loudness, swap
from bridge.wire.receiver import PAYLOAD_TYPES, RIVALS_HELD, Receiver
from bridge.wire.rtp import Packet, build, parse
from tests.scale import scaled

CAPTURES = Path(__file__).parents[1] / "captures" / "asterisk"
FATES = (
    "accepted", "malformed", "foreign_payload", "comfort_noise", "telephone_events", "empty", "foreign_ssrc",
    "duplicated", "late", "strayed",
)  # fmt: skip
ULAW = PAYLOAD_TYPES[Codec.ULAW]


def datagram(
    number: int,
    *,
    ssrc: int = 1,
    payload_type: int = ULAW,
    payload: bytes | None = None,
    marker: bool = False,
) -> bytes:
    """The `number`th 20 ms of a mu-law stream; its payload tells the number and the source."""
    if payload is None:
        payload = bytes([number % 251, ssrc % 256]) * 80
    timestamp = number * 160 % (1 << 32)
    return build(Packet(payload_type, number % (1 << 16), timestamp, ssrc, payload, marker))


def play(receiver: Receiver, packets: Iterable[tuple[float, bytes]]) -> list[Frame]:
    """Pushes (arrival, datagram) pairs, releasing when due, as the shell does; then flushes."""
    frames: list[Frame] = []
    for now_ms, packet in packets:
        while (due_ms := receiver.release_at_ms) is not None and due_ms < now_ms:
            frames += receiver.release(due_ms)
        frames += receiver.push(packet, now_ms)
    return frames + receiver.flush()


def accounted(receiver: Receiver) -> bool:
    counters: dict[str, int] = asdict(receiver.counters)
    return counters["received"] == sum(counters[fate] for fate in FATES) + receiver.held


def capture(name: str) -> list[tuple[float, bytes]]:
    lines = (CAPTURES / f"{name}.jsonl").read_text().splitlines()
    return [(row["t_ms"], bytes.fromhex(row["hex"])) for row in map(json.loads, lines)]


@pytest.mark.parametrize(
    ("name", "codec", "prompts_ms"),
    [
        ("chanspy_ulaw", Codec.ULAW, [1320, 980]),
        ("chanspy_slin", Codec.SLIN, [1320, 1080]),
        ("chanspy_slin16", Codec.SLIN16, [1320, 1080]),
        ("playback_slin16", Codec.SLIN16, [740]),
    ],
)
def test_recorded_streams_of_asterisk(name: str, codec: Codec, prompts_ms: list[float]) -> None:
    packets, receiver = capture(name), Receiver(codec)
    frames = play(receiver, packets)
    assert receiver.counters.accepted == len(packets) == len(frames)
    assert receiver.counters.jumps == receiver.counters.lost == 0
    assert all(loudness(frame.payload, codec) > 1000 for frame in frames[1:-1])
    # Runs of frames without a hole are the prompts, and the second begins when its first packet came.
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(frames), 1) if b.at_ms - a.at_ms > 100), len(frames)]
    assert [20 * (end - start) for start, end in pairwise(starts)] == prompts_ms
    late = [arrived_ms - frame.at_ms for frame, (arrived_ms, _) in zip(frames, packets, strict=True)]
    assert all(-1 < late[start] < 90 for start in starts[:-1])
    assert max(late) < 200


def test_each_codec_has_its_payload_type_and_linear_is_swapped() -> None:
    for codec, payload_type in PAYLOAD_TYPES.items():
        receiver = Receiver(codec)
        payload = bytes(range(160))
        (frame,) = receiver.push(build(Packet(payload_type, 5, 0, 1, payload)), 100)
        assert frame == Frame(swap(payload) if codec.width == 2 else payload, 100)


def test_a_codec_without_a_payload_type_is_told() -> None:
    with pytest.raises(ValueError, match="slin24"):
        Receiver(Codec.SLIN24)


def test_comfort_noise_and_key_presses_are_counted_and_cost_no_audio() -> None:
    receiver = Receiver(Codec.ULAW)
    kinds = {3: 13, 5: 101, 6: 101, 7: 121, 8: 8, 9: 96, 10: 19}
    frames = play(receiver, ((20.0 * n, datagram(n, payload_type=kinds.get(n, ULAW))) for n in range(20)))
    assert [frame.at_ms for frame in frames] == [20.0 * n for n in range(20) if n not in kinds]
    counters = receiver.counters
    assert (counters.comfort_noise, counters.telephone_events, counters.foreign_payload) == (2, 3, 2)
    assert counters.lost == 0
    assert accounted(receiver)


def test_empty_half_and_endless_payloads() -> None:
    receiver = Receiver(Codec.SLIN)
    for number, size in enumerate((320, 0, 319, 60_000, 44, 2)):
        receiver.push(datagram(number, payload_type=10, payload=bytes(size)), number * 20)
    counters = receiver.counters
    assert (counters.accepted, counters.empty, counters.malformed, counters.lost) == (3, 1, 2, 0)


def test_changing_sizes_and_a_short_last_packet_lie_end_to_end() -> None:
    receiver, timestamp, frames = Receiver(Codec.ULAW), 0, []
    for number, size in enumerate((160, 80, 480, 240, 44)):
        packet = Packet(ULAW, number, timestamp, 1, bytes(size))
        frames += receiver.push(build(packet), timestamp / 8)
        timestamp += size
    assert [(frame.at_ms, len(frame.payload)) for frame in frames] == [
        (0, 160), (20, 80), (30, 480), (90, 240), (120, 44)
    ]  # fmt: skip


def test_a_gap_is_given_up_in_time_and_leaves_a_hole() -> None:
    receiver = Receiver(Codec.ULAW, depth_ms=60)
    receiver.push(datagram(0), 0)
    assert receiver.push(datagram(2), 40) == []
    assert receiver.release_at_ms == 100
    (frame,) = receiver.release(100)
    assert (frame.at_ms, receiver.counters.lost, receiver.held) == (40, 1, 0)


def test_a_late_timer_does_not_hold_what_a_push_finds_due() -> None:
    receiver = Receiver(Codec.ULAW)
    receiver.push(datagram(0), 0)
    receiver.push(datagram(2), 40)
    assert [frame.at_ms for frame in receiver.push(datagram(3), 200)] == [40, 60]


def test_wraps_doubles_and_swaps_keep_the_exact_sample_count() -> None:
    """M6 end to end: sequence numbers wrap, a tenth comes twice, a tenth five places late."""
    random, count = Random(6), scaled(3 << 16, 4000)
    order = list(range(65_000, 65_000 + count))
    for index in range(10, count - 6, 10):
        order.insert(index + 5, order.pop(index))
    arrivals = [number for number in order for _ in range(1 + (random.random() < 0.1))]
    receiver = Receiver(Codec.ULAW, depth_ms=200)
    frames = play(receiver, ((18.0 * n, datagram(number)) for n, number in enumerate(arrivals)))
    assert [frame.payload[0] for frame in frames] == [n % 251 for n in range(65_000, 65_000 + count)]
    assert receiver.counters.lost == receiver.counters.late == 0
    assert accounted(receiver)


def test_a_new_source_is_followed_without_loss_once_the_old_one_is_silent() -> None:
    receiver = Receiver(Codec.ULAW)
    old = [(20.0 * n, datagram(n)) for n in range(10)]
    new = [(200.0 + 20 * n, datagram(5000 + n, ssrc=2)) for n in range(30)]
    frames = play(receiver, old + new)
    assert len(frames) == 40
    assert [frame.at_ms for frame in frames] == [20.0 * n for n in range(40)]
    assert receiver.counters.ssrc_changes == 1
    assert receiver.counters.jumps == receiver.counters.foreign_ssrc == 0


def test_a_new_source_that_falls_silent_is_followed_by_the_timer() -> None:
    receiver = Receiver(Codec.ULAW)
    receiver.push(datagram(0), 0)
    for number in range(4):
        receiver.push(datagram(number, ssrc=2), 20 + number)
        assert receiver.release_at_ms is None
    receiver.push(datagram(4, ssrc=2), 30)
    assert receiver.release_at_ms == 200
    assert len(receiver.release(200)) == 5


def test_four_packets_are_not_enough_and_the_old_source_breaks_a_run() -> None:
    receiver = Receiver(Codec.ULAW)
    packets: list[tuple[float, bytes]] = [(0, datagram(0))]
    packets += [(300.0 + n, datagram(n, ssrc=2)) for n in range(4)]
    packets += [(310, datagram(1))]
    packets += [(600.0 + n, datagram(4 + n, ssrc=2)) for n in range(4)]
    frames = play(receiver, packets)
    assert {frame.payload[1] for frame in frames} == {1}
    assert receiver.counters.foreign_ssrc == 8
    assert accounted(receiver)


def test_an_intruder_beside_the_source_is_never_heard() -> None:
    """M5: as many packets as the source's own, between them."""
    receiver = Receiver(Codec.ULAW)
    packets = [
        packet
        for n in range(500)
        for packet in (
            (20.0 * n, datagram(n)),
            *((20.0 * n + k, datagram(n + k, ssrc=2)) for k in range(1, 9)),
        )
    ]
    frames = play(receiver, packets)
    assert [frame.payload[:2] for frame in frames] == [bytes([n % 251, 1]) for n in range(500)]
    assert receiver.counters.foreign_ssrc == 4000


def test_a_flood_of_sources_takes_no_room_and_the_first_is_followed() -> None:
    """M5: 2^20 SSRCs at SCALE=1, at any rate."""
    receiver, flood = Receiver(Codec.ULAW), scaled(1 << 20) // 16
    frames = []
    for n in range(flood // 8):
        frames += receiver.push(datagram(n), 20.0 * n)
        for k in range(8):
            frames += receiver.push(datagram(0, ssrc=2 + 8 * n + k), 20.0 * n + k)
            assert receiver.held <= 1
    assert len(frames) == flood // 8
    assert {frame.payload[1] for frame in frames} == {1}


def test_a_rival_in_a_hurry_is_kept_within_bounds() -> None:
    receiver = Receiver(Codec.ULAW)
    receiver.push(datagram(0), 0)
    for number in range(1000):
        receiver.push(datagram(number, ssrc=2), 1 + number / 10)
        assert receiver.held <= RIVALS_HELD
    assert len(receiver.push(datagram(1000, ssrc=2), 200)) == RIVALS_HELD + 1
    assert accounted(receiver)


def test_only_audio_makes_a_rival_and_only_known_types_make_the_first() -> None:
    receiver = Receiver(Codec.ULAW)
    receiver.push(datagram(0, payload_type=96, ssrc=9), 0)
    assert receiver.counters.foreign_payload == 1
    receiver.push(datagram(0, payload_type=13), 1)
    for number in range(20):
        receiver.push(datagram(number, payload_type=96, ssrc=3), 300.0 + number)
    assert receiver.counters.foreign_ssrc == 20
    assert len(receiver.push(datagram(1), 400)) == 1


@pytest.mark.parametrize("loss", [0.005, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("jitter_ms", [5, 20, 50])
def test_loss_and_jitter_keep_the_length_of_the_timeline(loss: float, jitter_ms: int) -> None:
    """M11: ten minutes at SCALE=1."""
    random, count = Random(11), scaled(30_000)
    packets = sorted(
        (20.0 * n + random.random() * jitter_ms, datagram(n)) for n in range(count) if random.random() > loss
    )
    receiver = Receiver(Codec.ULAW)
    frames = play(receiver, packets)
    first, last = parse(packets[0][1]), parse(packets[-1][1])
    sent_ms = ((last.timestamp - first.timestamp) % (1 << 32)) / 8
    assert abs(frames[-1].at_ms - frames[0].at_ms - sent_ms) <= max(20, jitter_ms)
    assert receiver.counters.jumps == receiver.counters.slips == 0
    assert accounted(receiver)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 30), st.booleans()), max_size=120))
def test_the_short_way_of_the_expected_packet_changes_nothing(steps: list[tuple[int, int, bool]]) -> None:
    """The same packets with padding, which go the long way: the same frames, and the same fates."""
    short, long = Receiver(Codec.ULAW), Receiver(Codec.ULAW)
    packets, padded, now_ms, number = [], [], 0.0, 65_500
    for wait_ms, jump, back in steps:
        now_ms += wait_ms
        number += 1 if jump < 25 else jump - 28
        packet = parse(datagram(number - 3 if back and jump < 3 else number, marker=jump == 20))
        packets.append((now_ms, build(packet)))
        padded.append((now_ms, build(packet, padding=4)))
    assert play(short, packets) == play(long, padded)
    assert short.counters == long.counters


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 20, 20, 20, 70, 400]),
            st.integers(0, 30),
            st.sampled_from([1, 1, 1, 2]),
            st.sampled_from([ULAW, ULAW, ULAW, 8, 13, 101]),
            st.sampled_from([160, 160, 0, 80]),
        ),
        max_size=80,
    )
)
def test_every_packet_has_exactly_one_fate(arrivals: list[tuple[int, int, int, int, int]]) -> None:
    receiver, now_ms, frames = Receiver(Codec.ULAW), 0.0, []
    for pause_ms, number, ssrc, payload_type, size in arrivals:
        now_ms += pause_ms
        packet = datagram(number, ssrc=ssrc, payload_type=payload_type, payload=bytes(size))
        frames += receiver.push(packet, now_ms)
        assert accounted(receiver)
    frames += receiver.flush()
    assert receiver.held == 0
    assert accounted(receiver)
    assert receiver.counters.accepted == len(frames)
    for before, after in pairwise(frames):
        assert after.at_ms >= before.at_ms + Codec.ULAW.ms(len(before.payload)) - 1e-6


@given(
    st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda one: b"\x80\x00" + one), max_size=40)
)
def test_random_datagrams_raise_nothing(datagrams: list[bytes]) -> None:
    receiver = Receiver(Codec.SLIN16)
    for number, noise in enumerate(datagrams):
        receiver.push(noise, number * 5.0)
    receiver.flush()
    assert receiver.counters.received == len(datagrams)
    assert accounted(receiver)
