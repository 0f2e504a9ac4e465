"""What the switchboard is told of the configuration. Values only."""

from dataclasses import dataclass, field

from bridge.calls.tap import TapSettings
from bridge.calls.ways import WaySettings
from bridge.wire.cost import Price
from bridge.wire.rtpbudget import RtpBudget
from bridge.wire.rules import CallRule
from bridge.wire.wishes import WishWays


@dataclass(frozen=True, slots=True)
class SwitchboardSettings:
    taps: TapSettings
    ways: WaySettings
    user_event: str
    early_media: bool
    preopen: bool
    max_legs: int = 0
    prices: tuple[Price, ...] = ()
    rules: tuple[CallRule, ...] = ()
    trunks: tuple[str, ...] = ()
    rtp: RtpBudget | None = None
    reap_s: float = 60.0
    wishes: WishWays = field(default_factory=WishWays)
    consent: frozenset[str] = frozenset()
    """Rules whose calls begin paused."""
