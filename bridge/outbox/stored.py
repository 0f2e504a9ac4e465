"""What the outbox hands to an endpoint, and what an endpoint may answer. Values and shapes only.

An endpoint is a receiver with a name of its own: a webhook, a Redis stream. What waits for it is in
`bridge.outbox`, who sends it and when in `bridge.delivery.delivering`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as it was committed."""

    seq: int
    """The order of commit, never reused."""
    id: str
    """The event's."""
    call: str
    type: str
    """rtzr.transcript.final, ..."""
    body: bytes = field(repr=False)
    """The CloudEvents JSON object, UTF-8."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what came after an event, for who comes back."""

    events: Sequence[Stored]
    """The oldest first; with an empty body what a person dropped."""
    gap: bool
    """Others may have come after that event, and are erased or were not kept."""


class Sender(Protocol):
    """An endpoint."""

    name: str
    """Stable: the key of what waits for it, such as webhook:crm or redis:calls."""
    batch: int
    """Most events in one send; 1: single."""

    async def send(self, events: Sequence[Stored]) -> None:
        """Returns only once the receiver has them all. Raises Rejected, Unreachable."""
        ...


class Rejected(Exception):
    """The receiver answered, and not that it has them. The text is for a person, without any secret."""

    def __init__(
        self,
        text: str,
        *,
        retry_after_s: float | None = None,
        gone: bool = False,
        poison: bool = False,
    ) -> None:
        """`retry_after_s`: how long the receiver asks us to wait. `gone`: it wants nothing any more (410); it
        is disabled until a restart or `deliveries retry`. `poison`: it is this event that it does not take
        (400, 413, 422 for a single one), which is given up after the last try."""
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.gone = gone
        self.poison = poison


class Unreachable(Exception):
    """No answer. The text is for a person, without any secret."""
