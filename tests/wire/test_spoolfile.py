"""Records that survive any cut, ranges, and WAV files in which every sample lies where call time says."""

import io
import json
import wave
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.files import hear
from bridge.types import Codec, Frame, LegId, Party, Role
from bridge.wire import g711
from bridge.wire.spoolfile import (
    Closed,
    Covered,
    Job,
    LegHead,
    Lost,
    Piece,
    Record,
    Spans,
    Taken,
    pack,
    pack_job,
    pieces,
    unpack,
    unpack_job,
    wav_header,
)
from tests.scale import scaled

HEAD = LegHead(
    LegId("통화-1", "chan/1"), Party(Role.CALLEE, "0212345678", "상담원"), Codec.ALAW, 1700000000.5, "상담"
)
TIMES = st.floats(-1e9, 1e12)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(Frame, st.binary(max_size=400), TIMES),
    st.builds(Covered, TIMES),
    st.builds(Lost, TIMES, TIMES),
    st.builds(Taken, TIMES, TIMES, st.text(st.characters(codec="utf-8"), max_size=40)),
    st.just(Closed()),
    st.just(HEAD),
)
SPAN = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (min(pair), max(pair)))


def frames(pcm: bytes, codec: Codec = Codec.ULAW, at_ms: float = 0.0) -> list[Frame]:
    """`pcm` as the PBX sends it, 20 ms a packet."""
    payload = g711.from_pcm(pcm, codec)
    size = 20 * codec.bytes_per_ms
    cut = range(0, len(payload), size)
    return [Frame(payload[n : n + size], at_ms + n / codec.bytes_per_ms) for n in cut]


def spans(*ranges: tuple[float, float]) -> Spans:
    made = Spans()
    for start, end in ranges:
        made.add(start, end)
    return made


EVER = spans((0, 1e9))


def texts(piece: Piece) -> list[str]:
    file = wav_header(piece.rate, len(piece.pcm)) + bytes(piece.pcm)
    return [utterance["msg"] for utterance in hear(file)[0]]


# Records.


@given(st.lists(RECORDS, max_size=10))
def test_what_was_written_is_read(records: list[Record]) -> None:
    assert list(unpack(b"".join(map(pack, records)))) == records


@given(st.lists(RECORDS, max_size=6), st.data())
def test_cut_at_any_byte_the_whole_records_before_it_are_read(
    records: list[Record], data: st.DataObject
) -> None:
    packed = [pack(record) for record in records]
    whole = b"".join(packed)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, packed[:n])) for n in range(len(packed) + 1)]
    expected = sum(end <= cut for end in ends) - 1
    assert list(unpack(whole[:cut])) == records[:expected]


@given(st.lists(RECORDS, min_size=1, max_size=6), st.data())
def test_a_spoiled_byte_ends_the_reading_and_gives_nothing_wrong(
    records: list[Record], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(map(pack, records)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    read = list(unpack(bytes(whole)))
    assert len(read) < len(records)
    assert read == records[: len(read)]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert all(isinstance(record, Record) for record in unpack(data))


def test_a_record_that_could_not_be_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="record of"):
        pack(Frame(bytes(1 << 20), 0.0))


# Ranges.


@given(st.lists(st.tuples(st.booleans(), SPAN), max_size=20))
def test_ranges_are_the_set_of_what_was_added_and_not_removed(
    steps: list[tuple[bool, tuple[int, int]]],
) -> None:
    made, expected = Spans(), set[int]()
    for adding, (start, end) in steps:
        # Times ten, so that ranges that do not touch are farther apart than what counts as touching.
        if adding:
            made.add(start * 10, end * 10)
            expected |= set(range(start, end))
        else:
            made.remove(start * 10, end * 10)
            expected -= set(range(start, end))
    assert {n for n in range(200) if made.overlaps(n * 10 + 1, n * 10 + 9)} == expected
    assert all(before[1] <= after[0] for before, after in pairwise(made))
    assert bool(made) == bool(expected)


def test_parts_of_ranges() -> None:
    made = spans((0, 10), (20, 30), (5, 5), (9, 2))
    assert list(made.within(5, 25)) == [(5, 10), (20, 25)]
    assert (made.start_ms, made.end_ms) == (0, 30)


def test_too_many_ranges_become_fewer_and_lose_nothing() -> None:
    made = spans(*((n * 100.0, n * 100.0 + 10) for n in range(1200)))
    assert len(list(made)) == 1000
    assert all(made.overlaps(n * 100.0, n * 100.0 + 10) for n in range(1200))


# Pieces.


@pytest.mark.parametrize("codec", list(Codec))
def test_audio_becomes_one_wav_with_its_words(codec: Codec) -> None:
    pcm = say(SENTENCES[5], codec.rate)
    (piece,) = pieces(frames(pcm, codec, 1234.5), EVER, codec, hole_ms=30_000, longest_ms=300_000)
    assert (piece.start_ms, piece.ms) == (1234.5, len(pcm) / 2 * 1000 / codec.rate)
    assert piece.pcm == g711.to_pcm(g711.from_pcm(pcm, codec), codec)
    assert texts(piece) == [SENTENCES[5]]


def test_the_header_is_one_that_others_read() -> None:
    with wave.open(io.BytesIO(wav_header(16000, 4) + b"\1\0\2\0")) as audio:
        assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (16000, 1, 2)
        assert audio.readframes(10) == b"\1\0\2\0"


@given(st.lists(st.tuples(st.just(0) | st.integers(2, 50), st.integers(1, 30)), min_size=1, max_size=20))
def test_every_sample_lies_where_call_time_says(parts: list[tuple[int, int]]) -> None:
    """Frames of any length with any holes between them: each keeps its place."""
    made, at = [], 7.0
    for number, (hole, length) in enumerate(parts):
        at += hole
        sample = (number + 1).to_bytes(2, "little")
        made.append((Frame(sample * 8 * length, at), sample))
        at += length
    (piece,) = pieces((f for f, _ in made), EVER, Codec.SLIN, hole_ms=1000, longest_ms=1e6)
    for frame, sample in made:
        first = round((frame.at_ms - piece.start_ms) * 8) * 2
        middle = len(frame.payload) // 4 * 2
        assert piece.pcm[first + middle : first + middle + 2] == sample
    assert piece.end_ms == pytest.approx(at, abs=1)


def test_fractions_of_a_millisecond_open_no_holes() -> None:
    parts = [Frame(b"\1\0" * 160, n * 20 + (n % 3) * 0.3) for n in range(500)]
    (piece,) = pieces(parts, EVER, Codec.SLIN, hole_ms=1000, longest_ms=1e6)
    assert piece.pcm == b"\1\0" * 160 * 500


def test_frames_that_overlap_are_not_heard_twice() -> None:
    parts = [Frame(b"\1\0" * 160, 0), Frame(b"\2\0" * 160, 10), Frame(b"\3\0" * 8, 5)]
    (piece,) = pieces(parts, EVER, Codec.SLIN, hole_ms=1000, longest_ms=1e6)
    assert piece.pcm == b"\1\0" * 160 + b"\2\0" * 80


def test_a_long_hole_parts_two_pieces_each_with_its_own_time() -> None:
    parts = frames(say(SENTENCES[0])) + frames(say(SENTENCES[1]), at_ms=60_000)
    first, second = pieces(parts, EVER, Codec.ULAW, hole_ms=30_000, longest_ms=1e6)
    assert (first.start_ms, second.start_ms) == (0, 60_000)
    assert (texts(first), texts(second)) == ([SENTENCES[0]], [SENTENCES[1]])


def test_only_what_is_wanted_is_in_it_to_the_sample() -> None:
    parts = [Frame(bytes([n]) * 160, n * 20.0) for n in range(10)]
    wanted = spans((25, 45), (101.125, 102))
    (piece,) = pieces(parts, wanted, Codec.ULAW, hole_ms=1000, longest_ms=1e6)
    heard = g711.to_pcm(bytes([1]) * 120 + bytes([2]) * 40, Codec.ULAW)
    assert piece.start_ms == 25
    assert piece.pcm[:320] == heard
    assert not any(piece.pcm[320 : 2 * 609])
    assert piece.pcm[2 * 609 :] == g711.to_pcm(bytes([5]) * 7, Codec.ULAW)


def test_a_long_piece_is_cut_between_words() -> None:
    pause = bytes(16 * 700)
    pcm = pause.join(say(sentence) for sentence in SENTENCES)
    cut = list(pieces(frames(pcm), EVER, Codec.ULAW, hole_ms=1000, longest_ms=10_000))
    assert len(cut) > 4
    assert max(piece.ms for piece in cut) <= 10_020
    assert [text for piece in cut for text in texts(piece)] == list(SENTENCES)
    assert b"".join(piece.pcm for piece in cut) == g711.to_pcm(g711.from_pcm(pcm, Codec.ULAW), Codec.ULAW)
    assert all(before.end_ms == after.start_ms for before, after in pairwise(cut))


def test_what_may_go_on_is_left_out_when_asked() -> None:
    pcm = bytes(16 * 700).join(say(sentence) for sentence in SENTENCES[:6])
    cut = list(pieces(frames(pcm), EVER, Codec.ULAW, hole_ms=1000, longest_ms=10_000, rest=False))
    heard = [text for piece in cut for text in texts(piece)]
    assert 0 < len(heard) < 6
    assert heard == list(SENTENCES[: len(heard)])
    assert sum(piece.ms for piece in cut) < len(pcm) / 16


@settings(max_examples=scaled(300))
@given(st.integers(1000, 3000), st.integers(1, 400))
def test_cutting_loses_no_sample(longest: int, packets: int) -> None:
    parts = [Frame(bytes([n % 251]) * 160, n * 20.0) for n in range(packets)]
    cut = list(pieces(parts, EVER, Codec.ULAW, hole_ms=1000, longest_ms=longest))
    whole = b"".join(frame.payload for frame in parts)
    assert b"".join(piece.pcm for piece in cut) == g711.to_pcm(whole, Codec.ULAW)
    assert all(piece.ms <= longest + 20 for piece in cut)


# Jobs.


def test_a_job_comes_back_from_its_sidecar() -> None:
    job = Job(HEAD, 1200, 4500, "id", sending=True, sent=2, failed=1, not_before=1700000123.25)
    assert unpack_job(pack_job(job)) == job


def test_a_jobs_name_is_stable_sorts_by_when_it_was_spoken_and_fits_a_path() -> None:
    first, later = Job(HEAD, 900, 1000), Job(HEAD, 12_000, 13_000)
    assert first.id < later.id
    assert first.change(sent=3).id == first.id
    assert first.id.replace("-", "").isalnum()
    assert first.id.isascii()


@given(st.binary(max_size=200))
def test_no_bytes_are_a_job_by_accident(data: bytes) -> None:
    with pytest.raises(ValueError, match="sidecar"):
        unpack_job(data)


def test_of_a_job_that_says_no_rule_none_is_known() -> None:
    job = Job(HEAD, 1000, 2000)
    said = json.loads(pack_job(job))
    assert said.pop("rule") == HEAD.rule
    assert unpack_job(json.dumps(said).encode()) == job.change(head=replace(HEAD, rule=None))
    for head in (replace(HEAD, rule=None), replace(HEAD, rule="")):
        assert unpack_job(pack_job(job.change(head=head))).head == head
        assert list(unpack(pack(head))) == [head]
