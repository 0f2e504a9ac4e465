"""How many RTP ports of the PBX are left: Asterisk crashes when a tap asks for one and there is none (#1757).

Pure. A channel that carries audio over RTP takes two ports (RTP and RTCP), a tap of ours too.
"""

from dataclasses import dataclass

_SPARE = 10
"""One in so many is never taken by a tap: calls come in, and a tap is put back, while we count."""
_LEAST_SPARE = 4


RtpRange = tuple[int, int]
"""rtpstart and rtpend."""
_LOWEST, _HIGHEST = 1024, 65535


def read(first: str, last: str) -> RtpRange | None:
    """Of the texts of rtp.conf; None where Asterisk would not take them either."""
    if not all(one.isascii() and one.isdigit() and len(one) < 6 for one in (first, last)):
        return None
    low, high = int(first), int(last)
    return (low, high) if _LOWEST <= low < high <= _HIGHEST else None


@dataclass(frozen=True, slots=True)
class RtpBudget:
    """What rtp.conf gives, in pairs of ports."""

    pairs: int

    @classmethod
    def of(cls, first: int, last: int) -> "RtpBudget":
        """Of `rtpstart` and `rtpend`; a pair begins with an even port."""
        return cls(max(0, (last + 1 - (first + first % 2)) // 2))

    @property
    def spare(self) -> int:
        return max(_LEAST_SPARE, self.pairs // _SPARE)

    def room(self, channels: int, taps: int) -> int:
        """How many more taps there may be beside so many channels with audio and taps."""
        return max(0, self.pairs - self.spare - channels - taps)
