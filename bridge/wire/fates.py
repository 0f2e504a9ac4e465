"""What became of one leg's RTP packets: the counters that `reorder`, `timeline` and `receiver` share.

Plain numbers that only grow; who exports them takes differences by tick.
"""

from dataclasses import dataclass, fields
from operator import attrgetter

MISSED = ("lost", "late", "overrun", "malformed")
"""Fates of packets that a listener can hear."""


@dataclass(slots=True)
class RtpCounters:
    """Every packet received has one fate: received = accepted + malformed + foreign_payload + comfort_noise
    + telephone_events + empty + foreign_ssrc + duplicated + late + strayed + those still held.
    """

    received: int = 0
    accepted: int = 0
    """Became a frame."""
    malformed: int = 0
    """Not RTP, half a sample, or longer than any packet of a call."""
    foreign_payload: int = 0
    """Of a payload type that this leg's codec has not."""
    comfort_noise: int = 0
    telephone_events: int = 0
    empty: int = 0
    """Of the right payload type, without a payload."""
    foreign_ssrc: int = 0
    duplicated: int = 0
    late: int = 0
    """Came after its gap was given up: its number is in `lost` too."""
    strayed: int = 0
    """Numbered far off the line, which then went on without it."""

    lost: int = 0
    """Sequence numbers given up. From here on: not fates of packets."""
    reordered: int = 0
    """Packets that came after a higher number, but in time."""
    resynced: int = 0
    """Times the source's sequence numbers moved far off, and we followed."""
    ssrc_changes: int = 0
    jumps: int = 0
    """Times the timeline was set anew, because the source's clock had left the arrival clock."""
    slips: int = 0
    """Times the timeline was moved forward a little, to follow a slow source or one that swallowed frames."""


RTP_FATES: tuple[str, ...] = tuple(field.name for field in fields(RtpCounters))
numbers = attrgetter(*RTP_FATES)
"""The counters as a tuple, in the order of `RTP_FATES`: a tick asks every leg, so this is to be quick."""
