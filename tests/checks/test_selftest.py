"""bridge/checks/selftest.py without a PBX: what a tone is taken for, whole, changed or missing."""

import pytest

from bridge.checks.selftest import share_of_tone, tone
from bridge.types import Codec, Frame
from bridge.wire import g711


def frames(pcm: bytes, codec: Codec) -> list[Frame]:
    return [Frame(g711.from_pcm(pcm, codec), 0.0)]


@pytest.mark.parametrize("codec", [Codec.ULAW, Codec.ALAW, Codec.SLIN])
def test_a_tone_is_known_in_every_codec(codec: Codec) -> None:
    share = share_of_tone(frames(tone(1.0), codec), codec)
    assert share == pytest.approx(1.0, abs=0.01)


def test_swapped_bytes_and_another_codec_are_no_tone() -> None:
    assert (share_of_tone([Frame(g711.swap(tone(1.0)), 0.0)], Codec.SLIN) or 0) < 0.2
    assert (share_of_tone([Frame(g711.pcm_to_alaw(tone(1.0)), 0.0)], Codec.ULAW) or 0) < 0.95


def test_silence_and_nothing_are_nothing() -> None:
    assert share_of_tone([], Codec.ULAW) is None
    assert share_of_tone([Frame(bytes(16_000), 0.0)], Codec.SLIN) is None
