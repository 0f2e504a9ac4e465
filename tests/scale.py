"""How much work a test does: `SCALE` in the environment, 1 for the whole, 0.1 in everyday runs."""

import os
from typing import Any

SCALE = float(os.environ.get("SCALE", "0.1"))


def some(*values: Any) -> tuple[Any, ...]:
    """Of settings that a test goes through, all at SCALE=1; at less the last, which is to have most in it."""
    return values if SCALE >= 1 else values[-1:]


def scaled(whole: int, least: int = 1) -> int:
    """`whole` repetitions at SCALE=1, fewer at less, `least` at least."""
    return max(least, round(whole * SCALE))
