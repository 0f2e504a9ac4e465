"""What the page needs to know of calls, as whoever watches them tells it. Shapes only."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Told = Mapping[str, Any]
"""A JSON object. Of a call: id, rule, state (live or ended), started (ISO, UTC), age_ms, verdict, reasons,
paused, cost, legs. Of a leg: leg, role, number (masked), name, mode, state, level_db, latency_ms,
arrived_ms, sent_ms, lost_ms, paused_ms, sessions, packets, last, partial. Of an entry of its timeline,
the oldest first: at_ms, kind (pbx, packets, utterance, session, gap or order), leg, what, data. The
picture draws an entry from `start_ms` to `end_ms` of its data, a session from "session opened" to the
leg's next one, and a pause from an order whose data says `paused` to the next that says so. Of the
daemon: version, uptime_s, ready, reasons, pbx, calls, legs, sessions_open, sessions_quota, won_today,
lost_ms_today, deliveries_waiting, loop_lag_ms, paused_calls."""


class Watched(Protocol):
    """A bounded book of the calls that are live and the last that are over. Nothing here waits for a PBX."""

    def calls(self) -> Sequence[Told]:
        """All of them, without their timelines; a call that is over does not change for long."""
        ...

    def call(self, name: str) -> Told | None:
        """The one call whose id, or a leg's of it, is or begins with `name`, with its `timeline`."""
        ...

    async def deliveries(self, call: str) -> Sequence[Told]:
        """Of a call's events, by endpoint: `name`, how many are `waiting`, `state` and `error`."""
        ...

    async def status(self) -> Told:
        """How the daemon is."""
        ...

    def pause(self, call: str, paused: bool, who: str) -> bool:
        """Stop the audio of a live call, or let it go on, as `who` wishes, whom `door` knows; False where
        there is none of this id."""
        ...
