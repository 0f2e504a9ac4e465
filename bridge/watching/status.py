"""How the daemon does as a whole: what a person asks first. It only asks the parts; nothing depends on it."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from bridge.load import Observe
from bridge.net.rtzr import Session
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.readiness import line_down
from bridge.watching.book import Book
from bridge.watching.pbxnotes import PbxNotes
from bridge.wire.watched import LegState

_VERSION = version("rtzr-bridge")
"""Read once: it is on the disk, and a page asks every second."""
_NO_PBX = {"connected": False, "why": "the bridge is starting", "version": ""}


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

    def as_json(self, book: Book, deliveries_waiting: int) -> dict[str, Any]:
        live = book.live
        reasons = self._reasons()
        return {
            "version": _VERSION,
            "uptime_s": round(self._clock() - self._began_s),
            "ready": not reasons,
            "reasons": reasons,
            "pbx": self._pbx(),
            "calls": len(live),
            "legs": sum(leg.state is not LegState.ENDED for call in live for leg in call.legs.values()),
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
