"""A call that the dialplan itself sends to us, with `AudioSocket(uuid,host:port)`: nothing of it has to be
tapped.

It stands where a `Tap` stands, and only waits for the end. Whose call a UUID is, the PBX is asked: whoever
else connects with one is nobody.
"""

import asyncio
from uuid import UUID

import structlog

from bridge.desk import Desk, DeskLost
from bridge.inlets import NoInlet
from bridge.pbx import Pbx
from bridge.types import Transport
from bridge.wire.pbxevents import Channel

_log = structlog.get_logger()

_APPLICATION = "AudioSocket"


class Visit:
    """The audio of one channel that runs the AudioSocket application."""

    id = ""
    """No channel of ours is made."""

    def __init__(self, key: str, desk: Desk) -> None:
        self._key = key
        self._desk = desk
        self._cause = "unknown"
        self._hung_up = asyncio.Event()

    def hang_up(self, cause: str) -> None:
        """As of `Tap`."""
        self._cause = cause
        self._hung_up.set()

    def ended(self) -> None:
        """There is no tap that could end."""

    async def run(self) -> None:
        """Until hung up; ends the stream in every path."""
        try:
            await self._desk.open_inlet(Transport.AUDIOSOCKET, self._key)
            await self._hung_up.wait()
        except NoInlet as error:
            self._desk.flaw("not tapped")
            _log.error("call not heard", reason=str(error))
        except DeskLost:
            pass
        finally:
            await self._desk.close_inlet()
            self._desk.end(self._cause)


async def visitor(pbx: Pbx, key: UUID) -> Channel | None:
    """The channel that runs AudioSocket with this UUID; None if none does, or several: a UUID that is written
    into the dialplan as it is, is no call's own. Raises PbxRefused, PbxUnreachable and PbxError."""
    found = [one for one in await pbx.channels() if one.application == _APPLICATION and _names(one, key)]
    if len(found) == 1:
        return found[0]
    reason = (
        "several channels bring it; let the dialplan make one for each call" if found else "no channel has it"
    )
    _log.warning("audiosocket of nobody", reason=reason)
    return None


def _names(channel: Channel, key: UUID) -> bool:
    try:
        return UUID(channel.application_data.partition(",")[0]) == key
    except ValueError:
        return False
