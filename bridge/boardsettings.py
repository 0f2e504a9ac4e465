"""What the switchboard is told of the YAML. Values only."""

from dataclasses import dataclass

from bridge.tap import TapSettings
from bridge.ways import WaySettings
from bridge.wire.cost import Price
from bridge.wire.rtpbudget import RtpBudget
from bridge.wire.rules import CallRule


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
