"""A call that the dialplan itself sends to us, with `AudioSocket(uuid,host:port)`: nothing of it has to be
tapped.

It stands where a `Tap` stands, and only waits for the end. Whose call a UUID is, the PBX is asked: whoever
else connects with one is nobody.
"""

import asyncio
from typing import Protocol
from uuid import UUID

import structlog

from bridge.calls.census import family
from bridge.calls.errands import guarded
from bridge.leg.desk import Desk, DeskLost
from bridge.leg.inlets import NoInlet
from bridge.pbx import Pbx
from bridge.types import CallId, Transport
from bridge.wire.pbxevents import Channel

_log = structlog.get_logger()

_APPLICATION = "AudioSocket"
_AGAIN_S = 0.2


class Visit:
    """The audio of one channel that runs the AudioSocket application."""

    id = standing = ""
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

    def begin(self) -> None:
        """It has begun by itself."""

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


class Lobby(Protocol):
    """Where calls wait that bring a UUID: `inlets.Inlets`."""

    knocks: asyncio.Queue[UUID]

    def knock(self, key: UUID) -> None:
        """Ask about it once more."""

    def refuse(self, key: UUID) -> None:
        """Its call goes on in the dialplan."""

    def hold(self, key: UUID) -> None:
        """Its call stays, and is not heard by this way. Raises ValueError if it is held or heard already."""


class Host(Protocol):
    """Who begins legs: `switchboard.Switchboard`."""

    def tapped(self, channel: str) -> bool | None:
        """Whether a tap hears this channel; None where no leg is on it."""

    def host(self, channel: Channel, linkedid: CallId, key: UUID) -> bool:
        """Begin a leg that is heard by this visit; False: it is not to be heard."""
        ...


async def receive(pbx: Pbx, lobby: Lobby, host: Host) -> None:
    """Whoever knocks, until cancelled; one after another, for who reaches the port can have the PBX asked."""
    while True:
        key = await lobby.knocks.get()
        await guarded(_receive(pbx, lobby, host, key))


async def _receive(pbx: Pbx, lobby: Lobby, host: Host, key: UUID) -> None:
    channel = await visitor(pbx, key)
    linkedid = None if channel is None else await family(pbx, channel)
    if channel is None or linkedid is None:
        lobby.refuse(key)
        return
    tapped = host.tapped(channel.id)
    if tapped:
        _log.warning("call is tapped already; its audiosocket is kept, unheard", channel=channel.id)
        lobby.hold(key)
    elif tapped is not None:  # its last visit is not worked off yet
        asyncio.get_running_loop().call_later(_AGAIN_S, lobby.knock, key)
    elif not host.host(channel, linkedid, key):
        lobby.refuse(key)


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
