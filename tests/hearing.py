"""An emulated RTZR in a thread of its own that keeps all it is sent, for tests that block and daemons that
are processes: what it heard is what left the host."""

import asyncio
import threading
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.knobs import Knobs
from bridge.emulator.query import Encoding
from bridge.emulator.server import Emulator
from bridge.emulator.stream import Heard
from bridge.wire import g711

_PIECE = 800
"""Samples."""
_ALIKE = 0.9
_Audio = npt.NDArray[np.float64]


class HearingThread:
    """As much of an `EmulatorProcess` as a daemon under test needs."""

    def __init__(self) -> None:
        self._emulator = Emulator(Knobs(recognition_ms=100, record=True))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rtzr")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._emulator.__aenter__(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._emulator.__aexit__(None, None, None), self._loop).result(
                10
            )
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    @property
    def port(self) -> int:
        return self._emulator.port

    @property
    def sockets_open(self) -> int:
        return self._emulator.stats().sockets_open

    def cut(self) -> None:
        """Every session is lost."""
        self._loop.call_soon_threadsafe(self._emulator.cut)

    def heard(self, sentence: int) -> int:
        """How many of the 100 ms pieces of a sentence of the code book arrived, whatever codecs they went
        through. Sentences that are told apart so must have no word in common."""
        arrived = [_linear(one) for one in self._emulator.heard]
        return sum(any(_holds(audio, piece) for audio in arrived) for piece in _pieces(sentence))


def _linear(heard: Heard) -> _Audio:
    payload = bytes(heard.payload)
    linear = heard.query.encoding is Encoding.LINEAR16
    pcm = payload[: len(payload) // 2 * 2] if linear else g711.ulaw_to_pcm(payload)
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def _pieces(sentence: int) -> list[_Audio]:
    """Without silence."""
    audio = np.frombuffer(say(SENTENCES[sentence]), "<i2").astype(np.float64)
    pieces = [audio[start : start + _PIECE] for start in range(0, len(audio) - _PIECE, _PIECE)]
    return [piece for piece in pieces if np.sqrt(np.mean(piece**2)) > 300]


def _holds(audio: _Audio, piece: _Audio) -> bool:
    """Whether the piece is somewhere in the audio: their normalised correlation."""
    if len(audio) < len(piece):
        return False
    size = len(audio) + len(piece)
    alike = np.fft.irfft(np.fft.rfft(audio, size) * np.conj(np.fft.rfft(piece, size)), size)
    alike = alike[: len(audio) - len(piece) + 1]
    energy = np.cumsum(np.concatenate(([0.0], audio**2)))
    power = np.sqrt((energy[len(piece) :] - energy[: -len(piece)]) * np.sum(piece**2))
    return bool(np.max(alike / np.maximum(power, np.sum(piece**2) / 100)) > _ALIKE)
