"""The book as JSON: what commands, the page and programs are shown of calls. Shapes only."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bridge.watching.book import WatchedCall, WatchedLeg
from bridge.wire.watched import Note

_SKEW_MS = 5


def call_json(call: WatchedCall, unix_s: float) -> dict[str, Any]:
    """A call at this time (Unix seconds); numbers of parties are masked."""
    return {
        "id": call.id,
        "rule": call.rule,
        "state": "live" if call.live else "ended",
        "started": iso(call.started_s),
        "age_ms": call.at_ms(unix_s) if call.ended_ms is None else call.ended_ms,
        "verdict": call.verdict,
        "reasons": call.reasons,
        "paused": call.paused,
        "cost": call.cost,
        "legs": [leg_json(leg) for leg in call.legs.values()],
    }


def leg_json(leg: WatchedLeg) -> dict[str, Any]:
    return {
        "leg": leg.leg,
        "role": leg.role,
        "number": leg.number,
        "name": leg.name,
        "mode": leg.mode,
        "state": leg.state.value,
        "level_db": leg.level_db,
        "latency_ms": leg.latency_ms,
        "arrived_ms": leg.arrived_ms,
        "sent_ms": leg.sent_ms,
        "lost_ms": leg.lost_ms,
        "paused_ms": leg.paused_ms,
        "sessions": leg.sessions,
        "packets": leg.packets,
        "last": leg.last,
        "partial": leg.partial,
    }


def timeline_json(call: WatchedCall) -> dict[str, Any]:
    """All that happened, the oldest first, and how much of it was dropped, and how many legs."""
    notes = sorted(call.notes, key=_when)  # stable: of one moment, as they were told
    return {
        "timeline": [note_json(note) for note in notes],
        "timeline_dropped": call.notes_dropped,
        "legs_dropped": call.legs_dropped,
    }


def _when(note: Note) -> int:
    """The end of a leg is told by an event, whose clock may be a little before that of its last notes."""
    return note.at_ms + (_SKEW_MS if note.what == "leg over" else 0)


def note_json(note: Note) -> dict[str, Any]:
    return {
        "at_ms": note.at_ms,
        "kind": note.kind.value,
        "leg": note.leg,
        "what": note.what,
        "data": dict(note.data),
    }


@lru_cache(8192)
def iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
