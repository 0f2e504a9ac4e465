"""What the PBX does to the legs, in short phrases: for who watches. No decision follows from it."""

from collections.abc import Mapping
from typing import Any, Protocol

from bridge.wire import pbxevents as pbx
from bridge.wire.pbxevents import Connected, Disconnected
from bridge.wire.watched import Tell, unheard

_STATES = {"ringing": "rings", "busy": "busy"}


class Noting(Protocol):
    """The part of a `live.Live` that is needed."""

    def note(self, what: str, data: Mapping[str, Any] | None = None) -> None: ...


class PbxNotes:
    """`tell` gets the notes; `version` is that of the PBX, once it has said it."""

    def __init__(self, tell: Tell = unheard) -> None:
        self.tell = tell
        self.version = ""
        self._lost = False

    def take(self, event: pbx.PbxEvent | Connected | Disconnected, legs: Mapping[str, Noting]) -> None:
        """An event that was acted on already; `legs` live, by their channels."""
        match event:
            case Connected():
                self.version = event.pbx.version
                if self._lost:
                    _all(legs, "the PBX is connected again", {})
                self._lost = False
            case Disconnected():
                self._lost = True
                _all(legs, "the PBX is lost", {"reason": event.reason})
            case pbx.Dial(peer=peer, status=status) if status and peer.id in legs:
                legs[peer.id].note(f"dialled: {status.lower()}")
            case _:
                self._moved(event, legs)

    def _moved(self, event: pbx.PbxEvent, legs: Mapping[str, Noting]) -> None:
        channel = getattr(event, "channel", None)
        leg = None if channel is None else legs.get(channel.id)
        if leg is None:
            return
        match event:
            case pbx.ChannelStateChange(channel=one) if (what := _STATES.get(one.state.lower())) is not None:
                leg.note(what)
            case pbx.ChannelEnteredBridge(bridge=bridge, holding=holding):
                leg.note(
                    "is put on hold or parked" if holding else "joins a conversation", {"bridge": bridge}
                )
            case pbx.ChannelLeftBridge(bridge=bridge):
                leg.note("leaves the conversation", {"bridge": bridge})
            case pbx.ChannelHold():
                leg.note("holds the other party")
            case pbx.ChannelUnhold():
                leg.note("takes the other party back")
            case pbx.ChannelHangupRequest(cause=cause):
                leg.note("a hang-up is asked for", {"cause": cause})


def _all(legs: Mapping[str, Noting], what: str, data: dict[str, Any]) -> None:
    for leg in legs.values():
        leg.note(what, data)
