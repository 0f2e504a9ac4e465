"""A reload from beginning to end: the file is read anew and compared, every part makes ready, all take it.

Who asks for it is the daemon's and the control channel's concern; what the parts are, `bridge.reload.parts`'.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from bridge import metrics
from bridge.config import Config, ConfigError
from bridge.reload.changes import RESTART, Change, compare, taken
from bridge.reload.parts import Parts, Take

_log = structlog.get_logger()

_MOST_FAULTS = 50

_STARTING = "the daemon is starting; reload it once it is ready"
_BUSY = "another reload is under way; try again when it is over"
_STOPPING = "the daemon is stopping, so no call will begin any more; its next start reads the file"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it; with faults, nothing has changed."""

    faults: list[str] = field(default_factory=list)
    """A line each, with the mend; none holds a value of the file or a secret."""
    changes: list[Change] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        changes = [change.as_json() for change in self.changes]
        return {"ok": self.ok, "faults": self.faults, "changes": changes}


class Reloader:
    """`config` is what holds now: the file's, but for what needs a restart."""

    def __init__(self, config: Config, again: Callable[[], Config]) -> None:
        """`again`: read the file once more, in a thread. Raises ConfigError."""
        self.config = config
        self._again = again
        self._parts = Parts()
        self._alone = asyncio.Lock()
        self._why_not = _STARTING

    @property
    def parts(self) -> Parts:
        """Where parts are added."""
        return self._parts

    def knows_sinks_of(self, rule: str | None) -> bool:
        """As of `Config`, by what holds now."""
        return self.config.knows_sinks_of(rule)

    def begin(self) -> None:
        """All parts are there."""
        self._why_not = ""

    def stop(self) -> None:
        """No reload any more."""
        self._why_not = _STOPPING

    async def follow(self, asked: asyncio.Event) -> None:
        """Reload whenever this is set, as a signal sets it, until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self.reload(wait=True)

    async def reload(self, *, check: bool = False, wait: bool = False) -> Reloaded:
        """All of what can be had, or nothing; with `check` nothing, but what would be. Never raises.

        `wait`: until another one is over; else there is an answer at once.
        """
        if self._alone.locked() and not wait:
            return Reloaded([_BUSY])
        async with self._alone:
            try:
                done = await self._reload(check=check)
            except ConfigError as error:
                done = Reloaded(_brief(error.lines))
            except Exception as error:  # of the disk's or of ours: no reason to end calls
                _log.exception("reload failed")
                kind = type(error).__name__
                done = Reloaded([f"the reload failed ({kind}); see the log, and reload again"])
        if not check:
            _tell(done)
            if not self._why_not:
                metrics.RELOAD_OK.set(done.ok)
        return done

    def _refuse(self) -> None:
        """Raises ConfigError outside of the time in which calls begin."""
        if self._why_not:
            raise ConfigError([self._why_not])

    async def _reload(self, *, check: bool) -> Reloaded:
        self._refuse()
        old, new = self.config, await asyncio.to_thread(self._again)
        changes, mixed = await asyncio.to_thread(_compared, old, new)
        takes, back = await self._parts.ready(mixed), await self._parts.ready(old)
        self._refuse()  # it may have been told to stop meanwhile
        if not check and not _all(takes, back):
            return Reloaded(["a part could not take it, and all have again what they had; see the log"])
        if not check:
            self.config = mixed
        return Reloaded(changes=changes)


def _compared(old: Config, new: Config) -> tuple[list[Change], Config]:
    """With a thousand rules that takes a fifth of a second, which no live call has. Raises ConfigError."""
    return compare(old, new), taken(old, new)


def _brief(faults: list[str]) -> list[str]:
    """A file that is none has a fault in every line, and they all are one line of the log."""
    more = len(faults) - _MOST_FAULTS
    return faults if more <= 0 else [*faults[:_MOST_FAULTS], f"and {more} more"]


def _all(takes: list[Take], back: list[Take]) -> bool:
    """Every part takes it, in one step of the loop; where one fails, all go back."""
    for number, take in enumerate(takes, 1):
        try:
            take()
        except Exception:
            _log.exception("configuration not taken")
            for undo in back[:number]:
                undo()
            return False
    return True


def _tell(done: Reloaded) -> None:
    """Keys, not values: a rule may name a caller."""
    if done.faults:
        _log.error("configuration not reloaded; nothing has changed", faults=done.faults)
        return
    waiting = [change.key for change in done.changes if change.effect == RESTART]
    keys = [change.key for change in done.changes if change.effect != RESTART]
    _log.info("configuration reloaded", changed=keys)
    if waiting:
        _log.warning("some keys need a restart, and are left as they were", keys=waiting)
