"""From the encodings the emulator can hear to 16-bit linear PCM.

Written from G.711 itself and on purpose not shared with `bridge.wire.g711`: an emulator that used the
bridge's own tables could not find a fault in them. Pure: bytes in, bytes out.
"""

import numpy as np
from numpy.typing import NDArray

from bridge.emulator.query import Encoding


def to_pcm(payload: bytes, encoding: Encoding) -> bytes:
    """`payload` as 16-bit little-endian PCM. Raises KeyError for an encoding the emulator cannot hear."""
    if encoding is Encoding.LINEAR16:
        return payload
    return _TABLES[encoding][np.frombuffer(payload, np.uint8)].tobytes()


def _mulaw() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


def _alaw() -> NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    step = ((code & 0x0F) << 4) + 8
    magnitude = np.where(segment == 0, step, (step + 0x100) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")


_TABLES = {Encoding.MULAW: _mulaw(), Encoding.ALAW: _alaw()}
