"""One leg's datagrams become its frames, in call time.

Decides which packets are this leg's audio (source, payload type) and gives every one exactly one fate.
Order is `reorder`'s, time is `timeline`'s, and whose address a datagram came from is `net/rtp`'s concern.
"""

from collections.abc import Iterable

from bridge.types import Codec, Frame
from bridge.wire.fates import RtpCounters
from bridge.wire.g711 import swap
from bridge.wire.reorder import Reorder
from bridge.wire.rtp import HEADER, PLAIN, Buffer, Packet, RtpError, parse
from bridge.wire.timeline import Timeline

PAYLOAD_TYPES = {Codec.ULAW: 0, Codec.ALAW: 8, Codec.SLIN: 10, Codec.SLIN16: 118}
"""Asterisk's static table (main/rtp_engine.c): without SDP these are all; its 10 is not RFC 3551's."""
COMFORT_NOISE = frozenset({13, 19})
"""RFC 3389, and 19 from before it."""
TELEPHONE_EVENTS = frozenset({101, 121})
"""RFC 4733 as Asterisk numbers it, and Cisco's."""
NETWORK_ORDER = frozenset({Codec.SLIN, Codec.SLIN16})
LONGEST_MS = 1000
"""A packet that claims to hold more audio is malformed."""

RIVAL_PACKETS = 5
"""So many packets in a row from another SSRC ..."""
SILENT_MS = 200
"""... while the one followed has been silent so long, and the other is followed from then on."""
RIVALS_HELD = 64


class Receiver:
    """What is behind one leg's port. Times are call time in milliseconds; `now_ms` never goes back."""

    __slots__ = (
        "_bytes_per_ms", "_depth_ms", "_heard_ms", "_longest", "_payload_type", "_reorder", "_rival",
        "_rivals", "_ssrc", "_swapped", "_timeline", "_width", "counters", "release_at_ms",
    )  # fmt: skip

    def __init__(self, codec: Codec, depth_ms: float = 60) -> None:
        """`depth_ms`: how long a packet waits at most for one before it. Raises ValueError for a codec that
        has no payload type."""
        if codec not in PAYLOAD_TYPES:
            raise ValueError(f"no RTP payload type for {codec.label}")
        self.counters = RtpCounters()
        # Asked for every packet: an attribute is a tenth of the price of a property of an enum.
        self._swapped = codec in NETWORK_ORDER
        self._bytes_per_ms = codec.bytes_per_ms
        self._width = codec.width
        self._longest = LONGEST_MS * codec.bytes_per_ms
        self._depth_ms = depth_ms
        self._payload_type = PAYLOAD_TYPES[codec]
        self._timeline = Timeline(codec.rate, self.counters)
        self._reorder = self._buffer()
        self._ssrc: int | None = None
        self._heard_ms = 0.0
        self._rival: int | None = None
        self._rivals: list[tuple[Packet, float]] = []  # the rival's last packets, kept in case it is followed
        self.release_at_ms: float | None = None
        """When to call `release`, if nothing is pushed before; None while nothing waits."""

    @property
    def held(self) -> int:
        """How many packets wait for their fate."""
        return len(self._reorder) + len(self._rivals)

    def push(self, datagram: Buffer, now_ms: float) -> list[Frame]:
        """Takes a datagram that arrived at `now_ms`; returns the frames that are ready, oldest first."""
        self.counters.received += 1
        if self.release_at_ms is None and not self._rivals:
            frame = self._expected(datagram, now_ms)
            if frame is not None:
                return [frame]
        return self._sort(datagram, now_ms)

    def _expected(self, datagram: Buffer, now_ms: float) -> Frame | None:
        """The frame of a packet that is the next one and all it should be; nearly all are.

        The way of all others, cut short: a third less for each of fifty packets a second.
        """
        size = len(datagram) - HEADER.size
        if not 0 < size <= self._longest or size % self._width:
            return None
        flags, second, sequence, timestamp, ssrc = HEADER.unpack_from(datagram)
        if flags != PLAIN or second != self._payload_type or ssrc != self._ssrc:
            return None
        if not self._reorder.passes(sequence, now_ms):
            return None
        self._heard_ms = now_ms
        self.counters.accepted += 1
        payload = bytes(datagram[HEADER.size :])
        at_ms = self._timeline.place(timestamp, size / self._bytes_per_ms, False, now_ms)
        return Frame(swap(payload) if self._swapped else payload, at_ms)

    def _sort(self, datagram: Buffer, now_ms: float) -> list[Frame]:
        due_ms = self.release_at_ms
        frames = self.release(now_ms) if due_ms is not None and due_ms <= now_ms else []
        try:
            packet = parse(datagram)
        except RtpError:
            self.counters.malformed += 1
            return frames
        if packet.ssrc == self._ssrc or self._admit(packet, now_ms):
            self._heard_ms = now_ms
            if self._rivals:
                self._drop_rivals()
            frames += self._frames(self._reorder.push(packet.sequence, (packet, now_ms), now_ms))
            self.release_at_ms = self._reorder.release_at_ms
        else:
            frames += self._follow_rival(now_ms)
            self._note_due()
        return frames

    def release(self, now_ms: float) -> list[Frame]:
        """The frames whose wait is over; the gaps before them are lost."""
        frames = self._frames(self._reorder.release(now_ms))
        frames += self._follow_rival(now_ms)
        self._note_due()
        return frames

    def _note_due(self) -> None:
        self.release_at_ms = at_ms = self._reorder.release_at_ms
        if len(self._rivals) >= RIVAL_PACKETS:
            follow_ms = self._heard_ms + SILENT_MS
            self.release_at_ms = follow_ms if at_ms is None else min(at_ms, follow_ms)

    def flush(self) -> list[Frame]:
        """Everything held: the leg has ended."""
        self._drop_rivals()
        self.release_at_ms = None
        return self._frames(self._reorder.flush())

    def _buffer(self) -> Reorder[tuple[Packet, float]]:
        return Reorder(self._depth_ms, counters=self.counters)

    def _admit(self, packet: Packet, now_ms: float) -> bool:
        """Whether `packet`, not of the SSRC followed, is followed at once: only the first of a leg is."""
        known = packet.payload_type == self._payload_type
        if self._ssrc is None and (known or packet.payload_type in COMFORT_NOISE | TELEPHONE_EVENTS):
            self._ssrc = packet.ssrc
            return True
        if self._ssrc is None or not known:
            self._refuse()
            return False
        if packet.ssrc != self._rival:
            self._drop_rivals()
            self._rival = packet.ssrc
        self._rivals.append((packet, now_ms))
        if len(self._rivals) > RIVALS_HELD:
            del self._rivals[0]
            self.counters.foreign_ssrc += 1
        return False

    def _refuse(self) -> None:
        if self._ssrc is None:
            self.counters.foreign_payload += 1
        else:
            self.counters.foreign_ssrc += 1

    def _drop_rivals(self) -> None:
        self.counters.foreign_ssrc += len(self._rivals)
        self._rivals.clear()
        self._rival = None

    def _follow_rival(self, now_ms: float) -> list[Frame]:
        """Follows the rival if its time has come; what was kept of it is played from its own arrival on."""
        if len(self._rivals) < RIVAL_PACKETS or now_ms - self._heard_ms < SILENT_MS:
            return []
        frames = self._frames(self._reorder.flush())
        self._reorder = self._buffer()
        self._timeline.restart()
        self._ssrc, self._rival = self._rival, None
        self.counters.ssrc_changes += 1
        rivals, self._rivals = self._rivals, []
        self._heard_ms = rivals[-1][1]
        for packet, arrived_ms in rivals:
            frames += self._frames(self._reorder.push(packet.sequence, (packet, arrived_ms), arrived_ms))
        return frames

    def _frames(self, packets: Iterable[tuple[Packet, float]]) -> list[Frame]:
        """What of the packets is audio, in call time; what is none is counted."""
        frames = []
        for packet, arrived_ms in packets:
            payload, size = packet.payload, len(packet.payload)
            if packet.payload_type != self._payload_type:
                self._count_other(packet.payload_type)
            elif not size:
                self.counters.empty += 1
            elif size % self._width or size > self._longest:
                self.counters.malformed += 1
            else:
                self.counters.accepted += 1
                length_ms = size / self._bytes_per_ms
                at_ms = self._timeline.place(packet.timestamp, length_ms, packet.marker, arrived_ms)
                frames.append(Frame(swap(payload) if self._swapped else payload, at_ms))
        return frames

    def _count_other(self, payload_type: int) -> None:
        if payload_type in COMFORT_NOISE:
            self.counters.comfort_noise += 1
        elif payload_type in TELEPHONE_EVENTS:
            self.counters.telephone_events += 1
        else:
            self.counters.foreign_payload += 1
