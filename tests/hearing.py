"""An emulated RTZR in a thread of its own that keeps all it is sent, for tests that block and daemons that
are processes: what it heard is what left the host."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.knobs import Knobs
from bridge.emulator.server import Emulator
from bridge.wire import g711

_WINDOW = 160
"""Samples that are compared: 20 ms."""


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

    def heard(self, sentence: int, among: tuple[int, ...]) -> int:
        """How many pieces of a sentence of the code book arrived, of those that none `among` others has."""
        found = [bytes(one.payload) for one in self._emulator.heard]
        pieces = _pieces(sentence).difference(*map(_pieces, among))
        assert len(pieces) > 10
        return sum(any(piece in payload for payload in found) for piece in pieces)


def _pieces(sentence: int) -> set[bytes]:
    """20 ms each, as linear audio and as mu-law, without silence."""
    pcm = say(SENTENCES[sentence])
    found = set()
    for audio, size in ((pcm, 2 * _WINDOW), (g711.pcm_to_ulaw(pcm), _WINDOW)):
        pieces = (audio[start : start + size] for start in range(0, len(audio) - size, size))
        found |= {piece for piece in pieces if len(set(piece)) > 20}
    return found
