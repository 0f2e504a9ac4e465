"""The Prometheus metrics of the daemon, on a registry of their own.

Definitions and differences only: whoever owns the plain counters calls here by tick, so that a packet or a
message costs nothing. No label holds a call, a leg or a number: their count would grow without end.
"""

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `text`."""

LEGS = Gauge("rtzr_bridge_legs", "Legs that are being transcribed now", registry=REGISTRY)
LEGS_STARTED = Counter("rtzr_bridge_legs_started", "Legs that were begun", registry=REGISTRY)
CALLS_REFUSED = Counter(
    "rtzr_bridge_calls_refused",
    "Calls not begun, by what there was no room in",
    ["reason"],
    registry=REGISTRY,
)
SESSIONS = Gauge("rtzr_bridge_sessions", "RTZR sockets open now", registry=REGISTRY)
SESSIONS_OPENED = Counter("rtzr_bridge_sessions_opened", "RTZR sockets that were opened", registry=REGISTRY)
WAITING = Gauge("rtzr_bridge_legs_waiting", "Legs that wait for an RTZR channel now", registry=REGISTRY)
LONGEST_WAIT = Gauge(
    "rtzr_bridge_longest_wait_seconds", "Longest that a leg waited for an RTZR channel", registry=REGISTRY
)
ALARMS = Gauge(
    "rtzr_bridge_quota_alarm",
    "1 while channels are full, nearly full, or the quota is spent",
    ["kind"],
    registry=REGISTRY,
)
EVICTED = Counter(
    "rtzr_bridge_sessions_evicted", "Sessions given up for a leg of higher priority", registry=REGISTRY
)
REFUSED = Counter("rtzr_bridge_refusals", "RTZR's refusals by code", ["code"], registry=REGISTRY)
TOKENS_ISSUED = Counter("rtzr_bridge_tokens_issued", "RTZR tokens that were issued to us", registry=REGISTRY)
PACKETS = Counter(
    "rtzr_bridge_rtp",
    "RTP packets by fate, and what happened to their sources (lost, reordered, resynced, jumps, ...); "
    "media_...: connections to the ports of media WebSockets",
    ["fate"],
    registry=REGISTRY,
)
AUDIO_MS = Counter(
    "rtzr_bridge_audio_ms",
    "Milliseconds of audio by fate: arrived, sent, withheld, filled, lost, ...",
    ["fate"],
    registry=REGISTRY,
)
EVENTS = Counter(
    "rtzr_bridge_events",
    "Events by sink and fate: delivered, dropped, ...",
    ["sink", "fate"],
    registry=REGISTRY,
)
FEED_READERS = Gauge("rtzr_bridge_feed_readers", "Readers of the live feed now", registry=REGISTRY)
FEED_DROPPED = Counter(
    "rtzr_bridge_feed_dropped", "Readers of the live feed that were too slow and let go", registry=REGISTRY
)

PBX = Counter(
    "rtzr_bridge_pbx",
    "Connections to the PBX, events and requests by what became of them",
    ["fate"],
    registry=REGISTRY,
)

OUTBOX = Counter(
    "rtzr_bridge_outbox",
    "Events of the outbox by fate: written, delivered, dropped_full, ...",
    ["fate"],
    registry=REGISTRY,
)
OUTBOX_DEGRADED = Gauge(
    "rtzr_bridge_outbox_degraded", "1 while the outbox cannot be written, or is full", registry=REGISTRY
)
DELIVERIES = Counter(
    "rtzr_bridge_deliveries",
    "By endpoint: events sent and given_up, and sends that failed",
    ["endpoint", "fate"],
    registry=REGISTRY,
)
DELIVERIES_WAITING = Gauge(
    "rtzr_bridge_deliveries_waiting", "Events that wait for an endpoint", ["endpoint"], registry=REGISTRY
)
DELIVERIES_OLDEST = Gauge(
    "rtzr_bridge_deliveries_oldest_seconds",
    "How long the oldest event has waited for an endpoint",
    ["endpoint"],
    registry=REGISTRY,
)


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each counter grew from one tick to the next; those that did not are left out.

    `before` is empty at a leg's first tick.
    """
    grown = {fate: number - before.get(fate, 0) for fate, number in after.items()}
    return {fate: number for fate, number in grown.items() if number > 0}


def bump(fates: Mapping[str, float], counter: Counter = PACKETS) -> None:
    """Adds `fates`, a `difference`, to the series of `counter`, whose one label is `fate`."""
    for fate, number in fates.items():
        counter.labels(fate=fate).inc(number)


def export(before: Mapping[str, float], after: Mapping[str, float], counter: Counter = PACKETS) -> None:
    """Adds to `counter` what has happened since the last tick."""
    bump(difference(before, after), counter)


def text() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
