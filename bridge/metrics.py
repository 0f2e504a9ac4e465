"""The Prometheus metrics of the daemon, on a registry of their own.

Definitions and differences only: whoever owns the plain counters calls here by tick, so that a packet or a
message costs nothing. No label holds a call, a leg or a number: their count would grow without end. Labels
whose values are known begin at 0, so that the first of a kind is an increase too.
"""

from collections.abc import Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from bridge import VERSION
from bridge.types import GapReason
from bridge.wire.fates import RTP_FATES
from bridge.wire.ledger import Ledger

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for
REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `text`."""
_OF_CONNECTIONS, _OF_LOST = "media_", "lost_"
_OF_WAITS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_OF_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

ProcessCollector(registry=REGISTRY)  # the daemon's own CPU, memory and files, by their usual names
Info("rtzr_bridge_build", "The version that runs", registry=REGISTRY).info({"version": VERSION})

READY = Gauge(
    "rtzr_bridge_ready", "1 while the daemon is ready for calls; /ready says why not", registry=REGISTRY
)
RELOAD_OK = Gauge(
    "rtzr_bridge_config_reload_ok",
    "1 unless the last reload found a fault and changed nothing; the log has it",
    registry=REGISTRY,
)
RELOAD_OK.set(1)
CALLS = Gauge("rtzr_bridge_calls", "Calls that are being transcribed now", registry=REGISTRY)
CALLS_PAUSED = Gauge(
    "rtzr_bridge_calls_paused", "Calls that are paused now: no audio of them leaves", registry=REGISTRY
)
CALLS_ENDED = Counter(
    "rtzr_bridge_calls_ended", "Calls that are over, complete or partial", ["verdict"], registry=REGISTRY
)
LEGS = Gauge("rtzr_bridge_legs", "Legs that are being transcribed now", registry=REGISTRY)
LEGS_STARTED = Counter("rtzr_bridge_legs_started", "Legs that were begun", registry=REGISTRY)
CALLS_REFUSED = Counter(
    "rtzr_bridge_calls_refused",
    "Calls not begun, by what there was no room in",
    ["reason"],
    registry=REGISTRY,
)
LATENCY = Histogram(
    "rtzr_bridge_transcript_latency_seconds",
    "From the end of the audio that a text covers until the text was here, final or partial; none of calls "
    "that were made up for later",
    ["kind"],
    buckets=_OF_WAITS,
    registry=REGISTRY,
)

SESSIONS = Gauge("rtzr_bridge_sessions", "RTZR sockets open now", registry=REGISTRY)
SESSIONS_OPENED = Counter("rtzr_bridge_sessions_opened", "RTZR sockets that were opened", registry=REGISTRY)
SESSION_WAIT = Histogram(
    "rtzr_bridge_session_wait_seconds",
    "From a leg's asking for a session until it was open, the wait for a channel included",
    buckets=_OF_WAITS,
    registry=REGISTRY,
)
WAITING = Gauge("rtzr_bridge_legs_waiting", "Legs that wait for an RTZR channel now", registry=REGISTRY)
LONGEST_WAIT = Gauge(
    "rtzr_bridge_longest_wait_seconds", "Longest that a leg waited for an RTZR channel", registry=REGISTRY
)
BACKLOG = Gauge(
    "rtzr_bridge_backlog_seconds", "Audio not sent yet of the leg that has most of it", registry=REGISTRY
)
QUOTA_USED = Gauge("rtzr_bridge_quota_sessions", "RTZR channels that we hold", registry=REGISTRY)
QUOTA_LIMIT = Gauge(
    "rtzr_bridge_quota_sessions_limit",
    "How many of them RTZR gives, by the YAML or by its refusals; 0 while that is not known",
    registry=REGISTRY,
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
BILLED = Counter(
    "rtzr_bridge_billed_seconds", "Seconds that RTZR bills for calls that are over", registry=REGISTRY
)
WON = Counter("rtzr_bridge_cost_won", "What these cost in won (KRW), without VAT", registry=REGISTRY)
SAVED = Counter("rtzr_bridge_saved_won", "Won that the gate saved by sending no silence", registry=REGISTRY)

PACKETS = Counter(
    "rtzr_bridge_packets",
    "Packets and messages of audio by fate (received is their sum), and what happened to their sources "
    "(lost, reordered, resynced, jumps, ...)",
    ["fate"],
    registry=REGISTRY,
)
CONNECTIONS = Counter(
    "rtzr_bridge_media_connections",
    "Connections to the ports of media WebSockets by fate (opened is their sum)",
    ["fate"],
    registry=REGISTRY,
)
AUDIO = Counter(
    "rtzr_bridge_audio_seconds",
    "Audio by fate: arrived, sent, replayed, filled, withheld, paused, ...; sent_first once a leg is over",
    ["fate"],
    registry=REGISTRY,
)
LOST = Counter(
    "rtzr_bridge_audio_lost_seconds",
    "Audio that RTZR did not hear, by the reason",
    ["reason"],
    registry=REGISTRY,
)
EVENTS = Counter(
    "rtzr_bridge_events",
    "Events by sink and fate: delivered, dropped, ...",
    ["sink", "fate"],
    registry=REGISTRY,
)
SINK_WAITING = Gauge(
    "rtzr_bridge_sink_waiting", "Events that wait for a sink to take them", ["sink"], registry=REGISTRY
)
FEED_READERS = Gauge("rtzr_bridge_feed_readers", "Readers of the live feed now", registry=REGISTRY)
FEED_DROPPED = Counter(
    "rtzr_bridge_feed_dropped", "Readers of the live feed that were too slow and let go", registry=REGISTRY
)

PBX_CONNECTED = Gauge("rtzr_bridge_pbx_connected", "1 while the PBX is followed", registry=REGISTRY)
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

LATE = Counter(
    "rtzr_bridge_late",
    "Spooled audio by what became of it: files sent, resent, done, refused, put_aside; utterances told late",
    ["fate"],
    registry=REGISTRY,
)

LOOP_LAG = Histogram(
    "rtzr_bridge_loop_lag_seconds",
    "How late a process's loop was, the worst of each quarter of a second",
    ["process"],
    buckets=_OF_LAG,
    registry=REGISTRY,
)
WORKERS_LOST = Counter("rtzr_bridge_workers_lost", "Workers that died and were replaced", registry=REGISTRY)
WORKER_CPU = Counter("rtzr_bridge_worker_cpu_seconds", "CPU of a worker", ["process"], registry=REGISTRY)
WORKER_MEMORY = Gauge(
    "rtzr_bridge_worker_resident_memory_bytes", "Memory of a worker", ["process"], registry=REGISTRY
)
WORKER_FILES = Gauge("rtzr_bridge_worker_open_fds", "Open files of a worker", ["process"], registry=REGISTRY)

for _fate in (*RTP_FATES, "foreign"):
    PACKETS.labels(_fate)
for _fate in Ledger().fates():  # an alert on audio that does not come has to find that none came
    AUDIO.labels(_fate)
for _reason in GapReason:
    LOST.labels(_reason.value)
for _verdict in ("complete", "partial"):
    CALLS_ENDED.labels(_verdict)
for _kind in ("full", "nearly_full", "spent"):
    ALARMS.labels(_kind)
for _kind in ("final", "partial"):
    LATENCY.labels(_kind)
for _code in ("400", "401", "403", "404", "500", "503", "A0001", "A0002", "closed", "unreachable"):
    REFUSED.labels(_code)
for _room in ("max_legs", "cpu", "lag", "rtp ports", "pbx slow"):
    CALLS_REFUSED.labels(_room)


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each counter grew from one tick to the next; those that did not are left out.

    `before` is empty at a leg's first tick.
    """
    grown = {fate: number - before.get(fate, 0) for fate, number in after.items()}
    return {fate: number for fate, number in grown.items() if number > 0}


def bump(fates: Mapping[str, float], counter: Counter = PACKETS) -> None:
    """Adds `fates`, a `difference`, to the series of `counter`, whose one label is `fate`. Those of the media
    servers' connections have a metric of their own."""
    for fate, number in fates.items():
        if fate.startswith(_OF_CONNECTIONS):
            CONNECTIONS.labels(fate.removeprefix(_OF_CONNECTIONS)).inc(number)
        else:
            counter.labels(fate).inc(number)


def bump_audio(fates: Mapping[str, float]) -> None:
    """Adds milliseconds by fate, as `Ledger.fates` names them."""
    for fate, ms in fates.items():
        if fate.startswith(_OF_LOST):
            LOST.labels(fate.removeprefix(_OF_LOST)).inc(ms / 1000)
        else:
            AUDIO.labels(fate).inc(ms / 1000)


def export(before: Mapping[str, float], after: Mapping[str, float], counter: Counter = PACKETS) -> None:
    """Adds to `counter` what has happened since the last tick."""
    bump(difference(before, after), counter)


def text() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
