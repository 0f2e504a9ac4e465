"""The end of a call, with what it cost: told to everyone, and summed up by the day.

What a call costs is `bridge.wire.cost`'s to know; when it has ended, the switchboard's.
"""

import time
from collections.abc import Callable, Iterable

import structlog

from bridge import events
from bridge.calls.live import Call
from bridge.types import Event
from bridge.wire.cost import Price, Spending

_log = structlog.get_logger()


class Bills:
    """`publish` gets the ends."""

    def __init__(self, prices: Iterable[Price], publish: Callable[[Event], None]) -> None:
        self._spending = Spending(tuple(prices))
        self._publish = publish

    def adopt(self, prices: Iterable[Price]) -> None:
        """Others, for calls that end from now on."""
        self._spending.prices = tuple(prices)

    def close(self, call: Call) -> None:
        """It has no legs any more."""
        cost = self._spending.add(call.ledger, time.strftime("%Y-%m-%d"))
        today_won = round(self._spending.today.won)
        _log.info("call ended", call=call.id, won=round(cost.won, 2), today_won=today_won)
        self._publish(events.call_ended(call.id, call.now_ms(), call.ledger, call.legs, call.reasons, cost))
