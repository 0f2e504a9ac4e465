"""The tape: what a lost socket makes go out again, what falls off, and that nothing is forgotten."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.types import Codec, GapReason
from bridge.wire.gate import Action, Audio, EndOfUtterance, Silence
from bridge.wire.replay import TAIL_MS, Tape
from tests.scale import scaled

FRAME_MS = 20.0


def audio(number: int, voiced: bool = True) -> Audio:
    """Frame `number` of a call: its payload tells which it is."""
    return Audio(number.to_bytes(2, "big") * 80, number * FRAME_MS, voiced)


def frames(first: int, last: int, voiced: bool = True) -> list[Action]:
    return [audio(number, voiced) for number in range(first, last)]


def tape(capacity_ms: float = 60_000, lead_ms: float = 100) -> Tape:
    return Tape(Codec.ULAW, capacity_ms, lead_ms)


def send(one: Tape, at_ms: float = 0.0) -> tuple[list[int], float]:
    """Everything that waits goes out; the numbers of the frames, and the session's position after it."""
    numbers = list[int]()
    while pieces := one.next(200):
        one.sent(pieces, at_ms)
        for piece in pieces:
            at_ms += piece.length_ms
            if isinstance(piece.action, Audio):
                payload = piece.action.payload
                numbers += [int.from_bytes(payload[i : i + 2], "big") for i in range(0, len(payload), 160)]
    return numbers, at_ms


def waiting(one: Tape) -> list[int]:
    return send(one)[0]


def test_in_order_and_once_while_nothing_is_lost() -> None:
    one = tape()
    one.append(frames(0, 7))
    one.append(frames(7, 30, voiced=False))
    assert one.waiting_ms == 600
    assert waiting(one) == list(range(30))
    assert (one.idle, one.waiting_ms) == (True, 0)


def test_an_end_of_utterance_goes_out_alone_and_in_its_place() -> None:
    one = tape()
    one.append([*frames(0, 3), EndOfUtterance(60), *frames(3, 5)])
    kinds = list[str]()
    while pieces := one.next(200):
        kinds.append("+".join(type(piece.action).__name__ for piece in pieces))
        one.sent(pieces, 0)
    assert kinds == ["Audio", "EndOfUtterance", "Audio"]


def test_a_message_is_no_longer_than_asked_but_never_empty() -> None:
    one = tape()
    one.append(frames(0, 20))
    (piece,) = one.next(10)
    assert piece.length_ms == 100
    one.append([Silence(400, 5000)])
    assert sum(piece.length_ms for piece in one.next(250)) == 200


def test_after_a_loss_what_no_final_covers_goes_out_again() -> None:
    one = tape()
    one.append(frames(0, 50))
    send(one)
    one.cover(500)
    assert one.unheard
    again_ms = one.rewind()
    assert 500 <= again_ms <= 600
    again = waiting(one)
    assert again == list(range(again[0], 50))
    assert again[0] <= 25


def test_unvoiced_audio_is_moved_on_over_but_what_surrounds_a_voice_is_not() -> None:
    one = tape()
    one.append(frames(0, 100, voiced=False))
    one.append(frames(100, 110))
    one.append(frames(110, 400, voiced=False))
    send(one)
    one.rewind()
    again = waiting(one)
    assert again[0] in range(90, 96)
    assert again[-1] in range(145, 160)
    assert again == list(range(again[0], again[-1] + 1))


def test_silence_alone_is_not_sent_again() -> None:
    one = tape()
    one.append(frames(0, 100, voiced=False))
    send(one)
    assert not one.unheard
    assert one.rewind() == 0
    assert one.idle


def test_a_voice_in_the_first_quarter_of_a_second_counts() -> None:
    one = tape()
    one.append(frames(0, 5))
    send(one)
    assert one.unheard
    assert one.rewind() == 100


def test_where_rtzr_hears_something_that_we_do_not_it_goes_out_again() -> None:
    one = tape()
    one.append(frames(0, 10, voiced=False))
    _, at_ms = send(one)
    one.partial(100)
    one.append(frames(10, 100, voiced=False))
    send(one, at_ms)
    assert one.unheard
    one.rewind()
    assert waiting(one) == list(range(100))


def test_a_voice_that_goes_on_right_after_a_final_is_no_tail() -> None:
    one = tape()
    one.append(frames(0, 160))
    send(one)
    one.cover(3000)
    assert one.rewind() >= 200


def test_of_what_fell_off_only_what_no_final_covers_is_lost() -> None:
    one = tape(capacity_ms=1000)
    one.append(frames(0, 50))
    _, at_ms = send(one)
    one.append(frames(50, 75))
    send(one, at_ms)
    one.cover(400)
    one.rewind()
    (loss,) = one.losses(all_of_them=True)
    assert (loss.start_ms, loss.end_ms, loss.ms) == (400, 500, 100)


def test_the_vads_hang_over_after_a_final_is_no_voice() -> None:
    one = tape()
    one.append(frames(0, 50))
    one.append(frames(50, 60, voiced=False))
    send(one)
    one.cover(1000 - TAIL_MS + 20)
    assert not one.unheard
    assert one.rewind() == 0


def test_speech_that_goes_on_after_a_final_is_one() -> None:
    one = tape()
    one.append(frames(0, 100))
    send(one)
    one.cover(1000)
    assert one.unheard
    one.rewind()
    assert waiting(one)[-1] == 99


def test_over_capacity_what_was_sent_goes_first_and_is_no_loss() -> None:
    one = tape(capacity_ms=1000)
    one.append(frames(0, 50))
    send(one)
    one.append(frames(50, 75))
    assert one.losses(all_of_them=True) == []
    assert waiting(one) == list(range(50, 75))


def test_over_capacity_what_waits_is_lost_and_told_as_one_gap() -> None:
    one = tape(capacity_ms=1000)
    for number in range(100):
        one.append([audio(number)])
    assert one.losses() == [], "it may grow"
    assert waiting(one) == list(range(50, 100))
    (loss,) = one.losses()
    assert (loss.start_ms, loss.end_ms, loss.ms) == (0, 1000, 1000)
    assert (loss.reason, loss.sent_ms) == (GapReason.RING, 0)
    assert one.losses(all_of_them=True) == []


def test_what_was_sent_in_vain_is_lost_once_it_falls_off() -> None:
    one = tape(capacity_ms=1000)
    one.append(frames(0, 50))
    send(one)
    one.rewind()
    one.append(frames(50, 60))
    (loss,) = one.losses(all_of_them=True)
    assert loss.ms == loss.sent_ms == 200


def test_what_no_final_came_for_in_a_ringful_is_lost_with_its_socket_only() -> None:
    one = tape(capacity_ms=1000)
    one.append(frames(0, 50))
    send(one)
    one.append(frames(50, 75))
    send(one, 1000)
    assert one.losses(all_of_them=True) == []
    one.rewind()
    (loss,) = one.losses(all_of_them=True)
    assert (loss.start_ms, loss.end_ms, loss.ms, loss.sent_ms) == (0, 500, 500, 500)


def test_what_is_given_up_is_a_gap_of_its_own_reason() -> None:
    one = tape(capacity_ms=1000)
    for number in range(60):
        one.append([audio(number)])
    one.give_up(GapReason.DRAIN)
    ring, drain = one.losses(all_of_them=True)
    assert (ring.reason, ring.ms, drain.reason, drain.ms) == (GapReason.RING, 200, GapReason.DRAIN, 1000)


def test_made_silence_is_never_a_loss() -> None:
    one = tape()
    one.append([Silence(0, 500)])
    one.give_up(GapReason.REFUSED)
    assert one.losses(all_of_them=True) == []


def test_what_is_still_needed_is_where_the_tape_begins() -> None:
    one = tape()
    needed = [one.needed_from_ms]
    one.append(frames(10, 20))
    needed.append(one.needed_from_ms)
    send(one)
    needed.append(one.needed_from_ms)
    assert needed == [None, 200, 200]
    one.cover(200)
    assert one.needed_from_ms is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("send"), st.integers(1, 10), st.just(True)),
        st.tuples(st.just("cover"), st.integers(0, 100), st.just(True)),
        st.tuples(st.just("lost"), st.just(0), st.just(True)),
    ),
    max_size=60,
)


@settings(max_examples=scaled(1000))
@given(STEPS, st.sampled_from([400.0, 2000.0, 60_000.0]))
def test_every_voiced_frame_is_covered_sent_on_this_session_waiting_or_lost(
    steps: list[tuple[str, int, bool]], capacity_ms: float
) -> None:
    """Whatever happens: in call order, no voiced frame forgotten, and the milliseconds add up."""
    one, number, at_ms, lost_ms, reach = tape(capacity_ms), 0, 0.0, 0.0, 0.0
    covered, on_session, voiced = set[int](), list[tuple[int, float]](), set[int]()
    for what, amount, flag in steps:
        if what == "append":
            one.append(frames(number, number + amount, flag))
            voiced |= set(range(number, number + amount)) if flag else set()
            number += amount
        elif what == "send":
            for _ in range(amount):
                pieces = one.next(100)
                one.sent(pieces, at_ms)
                for piece in pieces:
                    assert isinstance(piece.action, Audio)
                    for i in range(0, len(piece.action.payload), 160):
                        at_ms += FRAME_MS
                        told = int.from_bytes(piece.action.payload[i : i + 2], "big")
                        assert not on_session or told > on_session[-1][0], "in order, once a session"
                        on_session.append((told, at_ms))
        elif what == "cover":
            end_ms = at_ms * amount / 100
            one.cover(end_ms)
            reach = max(reach, end_ms + TAIL_MS if end_ms else 0.0)
            covered |= {frame for frame, end in on_session if end <= reach}
        else:
            one.rewind()
            covered |= {frame for frame, end in on_session if end <= reach}
            on_session, at_ms, reach = [], 0.0, 0.0
        lost_ms += sum(loss.ms for loss in one.losses())
    losses = one.losses(all_of_them=True)
    lost_ms += sum(loss.ms for loss in losses)
    held = {frame for frame, _ in on_session}
    left = set(waiting(one))
    missing = voiced - covered - held - left
    assert len(missing) * FRAME_MS <= lost_ms + 1e-6
    assert one.waiting_ms == pytest.approx(0)
