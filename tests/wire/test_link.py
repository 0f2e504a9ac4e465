"""bridge/wire/link.py: whatever way the bytes are cut, the same messages come out; strange bytes are told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec, Event, GapReason, LegId, NewLeg, Party, Role, Token, Transport
from bridge.wire import link
from bridge.wire.ledger import Ledger, LegReport
from bridge.wire.link import Decoder, LinkError, encode
from bridge.wire.rtzr import Refused, Unreachable

LEG = LegId("call", "channel")
MESSAGES = [
    link.Begin(NewLeg(LEG, Party(Role.CALLER, "0212345678", "홍길동"), 12.5, ("joined late",))),
    link.Ask(1, link.OpenInlet(LEG, Transport.RTP)),
    link.Answer(1, 40_000),
    link.Answer(2, error=Refused(429, "A0001", "too many")),
    link.Answer(3, error=Unreachable("streaming: gone")),
    link.Answer(4, Token("secret", 1.0)),
    link.Withdraw(4),
    link.Lock(LEG, "127.0.0.1", 4000),
    link.WantSession(7, Codec.ULAW, 1, 3.25, None),
    link.Told(Event("id", "rtzr.gap", "call", "now", {"text": "안녕하세요"})),
    link.Ended(LEG, LegReport(Ledger(arrived=20.0, lost={GapReason.RING: 20.0}), reasons=["ring"])),
    link.Counts(1.5, 3.0, 2, 4, {"received": 9}),
]


def same(one: object, other: object) -> bool:
    """Exceptions are equal only to themselves."""
    return repr(one) == repr(other)


def test_every_message_comes_out_as_it_went_in() -> None:
    data = b"".join(map(encode, MESSAGES))
    out = list(Decoder().feed(data))
    assert len(out) == len(MESSAGES)
    for sent, came in zip(MESSAGES, out, strict=True):
        if isinstance(sent, link.Answer) and sent.error is not None:
            assert same(sent, came)
        else:
            assert sent == came


def test_a_refusal_crosses_with_what_it_asks_of_us() -> None:
    sent = Refused(401, "H0002", "unauthorized")
    (came,) = Decoder().feed(encode(link.Answer(1, error=sent)))
    assert (came.error.status, came.error.code, came.error.verdict, str(came.error)) == (
        sent.status,
        sent.code,
        sent.verdict,
        str(sent),
    )


def test_byte_by_byte_is_the_same() -> None:
    data, decoder = b"".join(map(encode, MESSAGES)), Decoder()
    out = [message for at in range(len(data)) for message in decoder.feed(data[at : at + 1])]
    assert list(map(repr, out)) == list(map(repr, MESSAGES))


@given(st.lists(st.integers(0, 2000), max_size=20))
def test_any_cuts_give_the_same(cuts: list[int]) -> None:
    data, decoder = b"".join(map(encode, MESSAGES)), Decoder()
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    out = [message for start, end in itertools.pairwise(places) for message in decoder.feed(data[start:end])]
    assert list(map(repr, out)) == list(map(repr, MESSAGES))


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01x", b"\x00\x00\x00\x00"])
def test_what_no_other_end_would_send_is_an_error(data: bytes) -> None:
    with pytest.raises(LinkError):
        list(Decoder().feed(data))


def test_no_message_shows_what_was_said_or_a_secret() -> None:
    shown = repr(MESSAGES)
    assert "안녕하세요" not in shown
    assert "secret" not in shown
