"""How the daemon does as a whole: what a person asks first. It only asks the parts; nothing depends on it."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from bridge import VERSION
from bridge.delivery.deliveries import EndpointReport
from bridge.load import Observe
from bridge.net.rtzr import Session
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.readiness import line_down
from bridge.watching.book import Book
from bridge.watching.pbxnotes import PbxNotes
from bridge.watching.watch import Watch

_NO_PBX = {"connected": False, "why": "the bridge is starting", "version": ""}


class Delivering(Protocol):
    """The part of `bridge.delivery.deliveries` that is needed."""

    async def report(self) -> list[EndpointReport]: ...


class Status:
    """`begin` tells it of the parts that are open last."""

    def __init__(self, reasons: Callable[[], list[str]], clock: Callable[[], float] = time.monotonic) -> None:
        """`reasons`: why the daemon is not ready."""
        self._reasons = reasons
        self._most: Callable[[], int] = int
        """How many sessions the account may have; 0: nobody has said."""
        self._clock = clock
        self._began_s = clock()
        self._lag_ms = 0.0
        self._others_lag_ms: Callable[[], float] = float
        self._pbx: Callable[[], dict[str, Any]] = lambda: dict(_NO_PBX)
        self._sessions: Callable[[], int] = int

    def begin(self, pbx: Pbx, governor: Governor[Session], notes: PbxNotes) -> None:
        """All is open."""
        self._pbx = lambda: _of_pbx(pbx, notes)
        self._sessions = lambda: governor.counters.held
        self._most = lambda: governor.settings.max_sessions

    def beside(self, observe: Observe) -> Observe:
        """What `load.watch_load` tells goes there, and is kept here."""

        def both(cpu_s: float, lag_ms: float) -> None:
            self._lag_ms = lag_ms
            observe(cpu_s, lag_ms)

        return both

    def ask_lag(self, others: Callable[[], float]) -> None:
        """How late the loops of other processes are, in milliseconds."""
        self._others_lag_ms = others

    async def asked(self, watch: Watch, deliveries: Delivering | None) -> dict[str, Any]:
        """As JSON, as far as is known by now."""
        waiting = 0 if deliveries is None else sum(one.waiting for one in await deliveries.report())
        watch.catch_up()
        return self.as_json(watch.book, waiting)

    def as_json(self, book: Book, deliveries_waiting: int) -> dict[str, Any]:
        live = book.live
        reasons = self._reasons()
        return {
            "version": VERSION,
            "uptime_s": round(self._clock() - self._began_s),
            "ready": not reasons,
            "reasons": reasons,
            "pbx": self._pbx(),
            "calls": len(live),
            "legs": book.legs,
            "sessions_open": self._sessions(),
            "sessions_quota": self._most() or None,
            "won_today": round(book.won, 2),
            "lost_ms_today": book.lost_ms,
            "deliveries_waiting": deliveries_waiting,
            "loop_lag_ms": round(max(self._lag_ms, self._others_lag_ms()), 1),
            "paused_calls": sum(call.paused for call in live),
        }


def _of_pbx(pbx: Pbx, notes: PbxNotes) -> dict[str, Any]:
    why = line_down(pbx)
    return {"connected": not why, "why": why, "version": notes.version}
