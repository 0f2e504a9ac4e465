"""The emulator's own G.711 against the standard library's (its successor from Python 3.13)."""

import warnings

import pytest

from bridge.emulator.decoder import to_pcm
from bridge.emulator.query import Encoding

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

CODES = bytes(range(256))


def test_every_code_of_both_laws() -> None:
    assert to_pcm(CODES, Encoding.MULAW) == audioop.ulaw2lin(CODES, 2)
    assert to_pcm(CODES, Encoding.ALAW) == audioop.alaw2lin(CODES, 2)


def test_linear_audio_passes_as_it_is() -> None:
    assert to_pcm(b"\x01\x02\x03", Encoding.LINEAR16) == b"\x01\x02\x03"


def test_an_encoding_that_cannot_be_heard() -> None:
    with pytest.raises(KeyError):
        to_pcm(b"\x00", Encoding.FLAC)
