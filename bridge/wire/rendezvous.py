"""Which of several places a key belongs to: rendezvous hashing, so that all who ask say the same.

When a place is added or goes, only its own keys move. Arithmetic on names; what a place is, it does not ask.
"""

from collections.abc import Iterable
from hashlib import blake2b


def choose(key: str, places: Iterable[str]) -> str:
    """The place of `key`: the one whose hash together with it is the highest (Thaler and Ravishankar, 1998).

    Raises ValueError when there is no place.
    """
    return max(places, key=lambda place: _weight(key, place))


def _weight(key: str, place: str) -> bytes:
    # The place is personal to the hash, not glued to the key: no two pairs can spell the same bytes.
    return blake2b(key.encode(), digest_size=8, key=place.encode()).digest()
