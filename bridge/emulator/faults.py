"""What goes wrong with a stream, by its knobs: decisions only. The stream carries them out.

Pure: `now_ms` is an argument, any clock that never goes back.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bridge.emulator.knobs import Knobs

NOISE = (
    "not JSON",
    "[]",
    '{"type": "status", "msg": "unknown"}',
    '{"error": "unknown"}',
    '{"seq": 0, "start_at": -1, "duration": 0, "final": true, "alternatives": [{"text": "x"}]}',
    '{"seq": 0, "start_at": 0, "duration": 0, "final": "true", "alternatives": []}',
)
"""What RTZR does not document, or what no client should believe."""


class Cut(Enum):
    """An end that is no closing handshake."""

    RESET = "reset"


@dataclass(slots=True)
class Faults:
    """One stream's trouble. `token_ends_ms`: when its token expires, on the stream's clock."""

    knobs: Knobs
    opened_ms: float
    token_ends_ms: float
    audio_ms: float = 0.0
    """Audio received."""
    _audio_at_ms: float = field(init=False)
    _paced_ms: float = field(init=False)

    def __post_init__(self) -> None:
        self._audio_at_ms = self.opened_ms
        self._paced_ms = self.opened_ms - self.knobs.burst_s * 1000

    @property
    def mute(self) -> bool:
        after_ms = self.knobs.mute_after_s * 1000
        return self.knobs.mute or 0 < after_ms <= self.audio_ms

    def hear(self, ms: float, now_ms: float) -> int | Cut | None:
        """Audio came: the code to close with, or that it is cut, or neither."""
        self.audio_ms += ms
        self._audio_at_ms = now_ms
        if 0 < self.knobs.cut_after_s * 1000 <= self.audio_ms:
            return Cut.RESET
        if not self.knobs.max_speed:
            return None
        self._paced_ms = max(self._paced_ms, now_ms - self.knobs.burst_s * 1000) + ms / self.knobs.max_speed
        return self.knobs.close_code if self._paced_ms > now_ms else None

    def due_ms(self) -> float | None:
        """When time alone closes it, unless audio comes."""
        knobs, times = self.knobs, list[float]()
        if knobs.idle_s:
            times.append(self._audio_at_ms + knobs.idle_s * 1000)
        if knobs.longest_s:
            times.append(self.opened_ms + knobs.longest_s * 1000)
        if knobs.cut_on_expiry:
            times.append(self.token_ends_ms)
        return min(times, default=None)

    def messages(self, result: dict[str, Any]) -> list[dict[str, Any] | str]:
        """What is sent where `result` is due."""
        if self.mute:
            return []
        said: list[dict[str, Any] | str] = list(NOISE) if self.knobs.noise else []
        said.append(self._bent(result))
        if result["final"] and self.knobs.empty_finals:
            said.append({**result, "duration": 0, "alternatives": []})
            said.append({**result, "duration": 0, "alternatives": [{"text": "", "confidence": 0.0}]})
        return said

    def _bent(self, result: dict[str, Any]) -> dict[str, Any]:
        if not result["final"]:
            return {**result, "duration": self.knobs.partial_duration_ms}
        return {**result, "duration": max(0, result["duration"] - round(self.knobs.final_early_ms))}
