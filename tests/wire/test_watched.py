"""bridge/wire/watched.py: how loud a second is, in decibels that people know."""

from math import pi, sin

import pytest

from bridge.types import Codec, LegId
from bridge.wire import g711
from bridge.wire.link import Decoder, Noted, Snapshots, encode
from bridge.wire.watched import FAINTEST_DB, LegSnapshot, LegState, Note, NoteKind, level_db, unheard


def sine(peak: int, codec: Codec) -> bytes:
    samples = (round(peak * sin(2 * pi * 440 * n / codec.rate)) for n in range(codec.rate))
    return g711.from_pcm(b"".join(s.to_bytes(2, "little", signed=True) for s in samples), codec)


@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.ALAW, Codec.SLIN, Codec.SLIN16])
@pytest.mark.parametrize(("peak", "db"), [(32000, -3.2), (3200, -23.2), (320, -43.2)])
def test_a_sines_level_is_three_decibels_below_its_peak(codec: Codec, peak: int, db: float) -> None:
    assert level_db([sine(peak, codec)], codec) == pytest.approx(db, abs=0.5)


def test_silence_and_nothing_are_told_apart() -> None:
    assert level_db([], Codec.ULAW) is None
    assert level_db([b""], Codec.SLIN) is None
    assert level_db([Codec.SLIN.silence(20)], Codec.SLIN) == FAINTEST_DB
    loud, quiet = sine(32000, Codec.ULAW), Codec.ULAW.silence(1000)
    assert level_db([loud, quiet], Codec.ULAW) == pytest.approx(-6.2, abs=0.5), "half of the time"


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(g711.G711Error):
        level_db([b"abc"], Codec.SLIN)


def test_both_go_over_the_link_and_show_no_text() -> None:
    note = Note("c", "c/1", 5, NoteKind.SESSION, "안녕", {"reason": "비밀"})
    legs = (LegSnapshot(LegId("c", "1"), LegState.STREAMING, "hybrid", -20.0, packets={"lost": 2}),)
    told = list(Decoder().feed(encode(Noted(note)) + encode(Snapshots(legs))))
    assert told == [Noted(note), Snapshots(legs)]
    assert "안녕" not in repr(told)
    assert "비밀" not in repr(told)
    unheard(note)
