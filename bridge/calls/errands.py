"""What the PBX is asked to do beside the events: none of it is waited for, and what fails is told and harms
nothing.

Which errand, and when, is the switchboard's decision.
"""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from bridge.pbx import Pbx
from bridge.wire.decisions import GiveBack, Pass, RemoveBridge, RemoveStray
from bridge.wire.pbxevents import Channel, Gone, PbxError, PbxRefused, PbxUnreachable

_log = structlog.get_logger()


class Errands:
    """An async context manager: leaving it ends those that are under way."""

    def __init__(self, pbx: Pbx) -> None:
        self._pbx = pbx
        self.tasks = asyncio.TaskGroup()

    def send(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run it beside the events."""
        return self.tasks.create_task(guarded(work))

    def let_be(self, decision: RemoveStray | RemoveBridge | GiveBack | Pass) -> None:
        """What is not to be heard."""
        match decision:
            case Pass(channel, choice):
                _log.info("call passed", channel=channel, rule=choice.rule, reason=choice.reason)
            case RemoveStray(channel):
                _log.info("stray tap removed", tap=channel)
                self.send(self._pbx.hangup(channel))
            case RemoveBridge(bridge):
                _log.info("stray bridge removed", bridge=bridge)
                self.send(self._pbx.destroy_bridge(bridge))
            case GiveBack(channel):
                _log.info("call given back to its dialplan", channel=channel)
                self.send(self._pbx.give_back(channel))


def told(error: Exception) -> str:
    """What went wrong, in a few words."""
    return f"{type(error).__name__} {error}".strip()


async def guarded(work: Coroutine[None, None, None]) -> None:
    """A request that fails is told."""
    try:
        await work
    except (PbxRefused, PbxUnreachable, Gone, PbxError) as error:
        _log.warning("request to the pbx failed", reason=told(error))
    except Exception:
        _log.exception("failed beside the events")


async def give_back(pbx: Pbx, stays: Callable[[Channel], bool]) -> None:
    """Every call that waits in our application: what came last, nobody but the PBX knows. Raises PbxRefused,
    PbxUnreachable and PbxError."""
    waiting = [one.id for one in await pbx.channels() if stays(one)]
    if waiting:
        _log.info("calls given back to their dialplan", calls=len(waiting))
    await asyncio.gather(*(guarded(pbx.give_back(one)) for one in waiting))
