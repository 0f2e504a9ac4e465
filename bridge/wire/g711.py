"""What audio looks like in each codec: G.711 and linear PCM, and how loud it is.

The only module that knows of `audioop` (the standard library's before Python 3.13, `audioop-lts` after).
PCM here is always 16 bits, little-endian, mono. No resampling and no voice detection.
"""

import warnings

from bridge.types import Codec

with warnings.catch_warnings():
    # 3.11 and 3.12 announce that audioop will go; audioop-lts takes its place where it has gone.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_WIDTH = 2


class G711Error(ValueError):
    """The bytes are not whole samples."""


def ulaw_to_pcm(payload: bytes) -> bytes:
    """PCM of mu-law bytes, two bytes for one (ITU-T G.711)."""
    return audioop.ulaw2lin(payload, _WIDTH)


def alaw_to_pcm(payload: bytes) -> bytes:
    """PCM of A-law bytes, two bytes for one (ITU-T G.711)."""
    return audioop.alaw2lin(payload, _WIDTH)


def pcm_to_ulaw(pcm: bytes) -> bytes:
    """Mu-law of PCM, one byte for two. Raises G711Error for an odd size."""
    return audioop.lin2ulaw(_whole(pcm), _WIDTH)


def pcm_to_alaw(pcm: bytes) -> bytes:
    """A-law of PCM, one byte for two. Raises G711Error for an odd size."""
    return audioop.lin2alaw(_whole(pcm), _WIDTH)


def swap(linear: bytes) -> bytes:
    """16-bit samples with their bytes swapped: RTP carries L16 big-endian (RFC 3551 section 4.5.11), RTZR and
    the VAD want it little-endian. It is its own inverse. Raises G711Error for an odd size."""
    return audioop.byteswap(_whole(linear), _WIDTH)


def to_pcm(payload: bytes, codec: Codec) -> bytes:
    """PCM of a frame's payload; linear payloads are PCM already. Raises G711Error for half a sample."""
    if codec is Codec.ULAW:
        return ulaw_to_pcm(payload)
    if codec is Codec.ALAW:
        return alaw_to_pcm(payload)
    return _whole(payload)


def from_pcm(pcm: bytes, codec: Codec) -> bytes:
    """A frame's payload of `pcm`, as near as `codec` can hold it. Raises G711Error for half a sample."""
    if codec is Codec.ULAW:
        return pcm_to_ulaw(pcm)
    if codec is Codec.ALAW:
        return pcm_to_alaw(pcm)
    return _whole(pcm)


def split(pcm: bytes) -> tuple[bytes, bytes]:
    """The two channels of interleaved stereo PCM, whose size is a multiple of 4."""
    return audioop.tomono(pcm, _WIDTH, 1, 0), audioop.tomono(pcm, _WIDTH, 0, 1)


def thirds(pcm: bytes) -> bytes:
    """A third of the rate, by a plain average of three samples: good enough to find a voice, not to keep.

    The size is a multiple of 6. Twenty milliseconds of 24 kHz take five microseconds.
    """
    samples = memoryview(pcm).cast("h")  # only moved, so that the machine's byte order does not matter
    one, two, three = (audioop.mul(samples[at::3].tobytes(), _WIDTH, 1 / 3) for at in range(3))
    return audioop.add(audioop.add(one, two, _WIDTH), three, _WIDTH)


def halves(pcm: bytes) -> bytes:
    """Half of the rate, by a plain average of two samples, as a telephone line would have it, or nearly.

    The size is a multiple of 4.
    """
    samples = memoryview(pcm).cast("h")
    one, two = (audioop.mul(samples[at::2].tobytes(), _WIDTH, 1 / 2) for at in range(2))
    return audioop.add(one, two, _WIDTH)


def rms(pcm: bytes) -> int:
    """The root mean square of the samples, 0 to 32768; 0 for none. Raises G711Error for half a sample."""
    return audioop.rms(_whole(pcm), _WIDTH)


def peak(pcm: bytes) -> int:
    """The greatest of the samples' absolute values; 0 for none. Raises G711Error for half a sample."""
    return audioop.max(_whole(pcm), _WIDTH)


def loudness(payload: bytes, codec: Codec) -> int:
    """`rms` of a payload in `codec`: the cheap energy mark of a message. 20 ms take about a microsecond."""
    return rms(to_pcm(payload, codec))


def _whole(linear: bytes) -> bytes:
    if len(linear) % _WIDTH:
        raise G711Error(f"{len(linear)} bytes, needed a multiple of {_WIDTH}")
    return linear
