"""What RTZR's seconds cost. Arithmetic only: prices, seconds and the day are arguments.

RTZR bills the seconds of audio of every session, 10 at least, at a price an hour that falls with the month's
hours, step by step (developers.rtzr.ai, "Pricing"). The month is this process's own count: what other
processes or file jobs of the account used is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.wire.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Price:
    """Won an hour, for the month's hours up to `up_to_h`; None for all that follow."""

    won_per_h: float
    up_to_h: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call, or a day, cost; and what the gate saved by sending no silence."""

    billed_s: float = 0.0
    won: float = 0.0
    saved_s: float = 0.0
    saved_won: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.billed_s + other.billed_s,
            self.won + other.won,
            self.saved_s + other.saved_s,
            self.saved_won + other.saved_won,
        )

    def as_json(self) -> dict[str, float]:
        return {
            "billed_s": round(self.billed_s, 1),
            "won": round(self.won, 2),
            "saved_s": round(self.saved_s, 1),
            "saved_won": round(self.saved_won, 2),
        }


def won(prices: Sequence[Price], from_s: float, seconds: float) -> float:
    """What `seconds` cost that follow the month's first `from_s`; VAT is not in it."""
    total, at_s, end_s = 0.0, from_s, from_s + seconds
    for price in prices:
        until_s = end_s if price.up_to_h is None else min(end_s, price.up_to_h * 3600)
        if until_s > at_s:
            total += (until_s - at_s) / 3600 * price.won_per_h
            at_s = until_s
    return total


def saved_s(ledger: Ledger) -> float:
    """Seconds that would have been billed had the gate kept nothing back."""
    rounded_up_s = ledger.billed_s - ledger.sent / 1000
    return max(0.0, ledger.saved / 1000 - rounded_up_s)


@dataclass(slots=True)
class Spending:
    """The month's seconds and the day's cost, as calls end."""

    prices: Sequence[Price]
    day: str = ""
    """ISO date."""
    today: Cost = Cost()
    month_s: float = 0.0

    def add(self, ledger: Ledger, day: str) -> Cost:
        """A call that ended on `day` (ISO date, the administrator's time zone); what it cost."""
        if day[:7] != self.day[:7]:
            self.month_s = 0.0
        if day != self.day:
            self.day, self.today = day, Cost()
        seconds, kept_s = ledger.billed_s, saved_s(ledger)
        cost = Cost(
            seconds,
            won(self.prices, self.month_s, seconds),
            kept_s,
            won(self.prices, self.month_s + seconds, kept_s),
        )
        self.month_s += seconds
        self.today += cost
        return cost
