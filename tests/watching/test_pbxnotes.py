"""bridge/watching/pbxnotes.py: what the PBX does to a leg is told in short phrases, of no other channel."""

from collections.abc import Mapping
from typing import Any

import pytest

from bridge.watching.pbxnotes import PbxNotes
from bridge.wire import pbxevents as pbx
from bridge.wire.pbxevents import Connected, Disconnected, PbxInfo


class Leg:
    def __init__(self) -> None:
        self.noted: list[tuple[str, dict[str, Any]]] = []

    def note(self, what: str, data: Mapping[str, Any] | None = None) -> None:
        self.noted.append((what, dict(data or {})))


def channel(id_: str, state: str = "Up") -> pbx.Channel:
    return pbx.Channel(id_, f"PJSIP/{id_}", state, "1001", "", 0.0, "", "")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (pbx.ChannelStateChange(1, channel("a", "Ringing")), [("rings", {})]),
        (pbx.ChannelStateChange(1, channel("a")), []),
        (pbx.Dial(1, None, channel("a"), "BUSY"), [("dialled: busy", {})]),
        (pbx.Dial(1, None, channel("a"), ""), []),
        (pbx.ChannelEnteredBridge(1, channel("a"), "b1"), [("joins a conversation", {"bridge": "b1"})]),
        (
            pbx.ChannelEnteredBridge(1, channel("a"), "b1", holding=True),
            [("is put on hold or parked", {"bridge": "b1"})],
        ),
        (pbx.ChannelLeftBridge(1, channel("a"), "b1"), [("leaves the conversation", {"bridge": "b1"})]),
        (pbx.ChannelHangupRequest(1, channel("a"), 16), [("a hang-up is asked for", {"cause": 16})]),
        (pbx.ChannelHold(1, channel("a")), [("holds the other party", {})]),
        (pbx.ChannelUnhold(1, channel("a")), [("takes the other party back", {})]),
        (pbx.ChannelLeftBridge(1, channel("z"), "b1"), []),
        (pbx.Dial(1, None, channel("z"), "BUSY"), []),
    ],
)
def test_what_is_done_to_a_leg_is_told(event: pbx.PbxEvent, told: list[tuple[str, dict[str, Any]]]) -> None:
    leg = Leg()
    PbxNotes().take(event, {"a": leg})
    assert leg.noted == told


def test_all_legs_are_told_that_the_pbx_is_lost_and_found() -> None:
    notes, leg = PbxNotes(), Leg()
    up = Connected(PbxInfo("22.10.1", "e", 0.0))
    notes.take(up, {"a": leg})
    assert leg.noted == [], "it never was away"
    notes.take(Disconnected("reset"), {"a": leg})
    notes.take(up, {"a": leg})
    assert leg.noted == [("the PBX is lost", {"reason": "reset"}), ("the PBX is connected again", {})]
    assert notes.version == "22.10.1"
