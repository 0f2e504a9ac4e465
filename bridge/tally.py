"""What the events tell the metrics: calls, latencies and what they cost, wherever their legs are heard.

It only looks at them. What no event tells, `bridge.meter` asks for.
"""

from collections.abc import Callable

from bridge import metrics
from bridge.types import Event

_CALL, _SPOKEN = "rtzr.call.", "rtzr.transcript."
_FINAL = metrics.LATENCY.labels("final")
_PARTIAL = metrics.LATENCY.labels("partial")


def tallied(publish: Callable[[Event], None]) -> Callable[[Event], None]:
    """`publish`, with every event counted before."""

    def tell(event: Event) -> None:
        tally(event)
        publish(event)

    return tell


def tally(event: Event) -> None:
    """Count it; of a transcript that was made up for later, nothing."""
    if event.type.startswith(_SPOKEN):
        if not event.data.get("late"):
            spoken = _FINAL if event.type.endswith("final") else _PARTIAL
            spoken.observe(max(0.0, event.data["latency_ms"] / 1000))
    elif event.type == f"{_CALL}started":
        metrics.CALLS.inc()
    elif event.type == f"{_CALL}ended":
        _end(event)


def _end(event: Event) -> None:
    cost = event.data["cost"]
    metrics.CALLS.dec()
    metrics.CALLS_ENDED.labels(event.data["verdict"]).inc()
    metrics.BILLED.inc(cost["billed_s"])
    metrics.WON.inc(cost["won"])
    metrics.SAVED.inc(cost["saved_won"])
