"""What desks are told of the configuration. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.leg.conversation import LegSettings
from bridge.types import Codec


@dataclass(frozen=True, slots=True)
class DeskSettings:
    codec: Codec
    """Of legs for which none is named."""
    ring_ms: float
    legs: LegSettings
    by_rule: Mapping[str, LegSettings] = field(default_factory=dict)
    """Those of calls that a rule has chosen."""

    def of(self, rule: str) -> LegSettings:
        """What holds for a call that `rule` has chosen, or none."""
        return self.by_rule.get(rule, self.legs)
