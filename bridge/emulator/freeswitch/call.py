"""Calls of the emulated FreeSWITCH as a script makes them: each step changes channels and fires its events.

The sequences are those of the recordings (mas-01, mas-04, call-20 to call-28, call-50, mas-25).
"""

import asyncio
from typing import Protocol

from bridge.emulator.freeswitch.channel import Channel, Headers, micros

_BETWEEN_ANSWERS_S = 0.02
"""FreeSWITCH answers the caller this much after the callee."""
NORMAL = "NORMAL_CLEARING"
_Q850 = {NORMAL: "16", "USER_BUSY": "17", "CALL_REJECTED": "21"}


class Fires(Protocol):
    """As much of the switch as a call needs."""

    def fire(self, name: str, channel: Channel, extra: Headers | None = None, body: str = "") -> None:
        """An event of a channel, to every client that asked for it."""

    def open_channel(self, **values: object) -> Channel:
        """A new channel, in no call yet."""

    def close_streams(self, channel: Channel) -> None:
        """As hang-up does to a channel's media bugs."""

    def forget(self, channel: Channel) -> None:
        """It is destroyed."""


class Call:
    """Two parties. The steps may be called in any order that makes sense; none checks."""

    def __init__(self, switch: Fires, caller: Channel, called: str, *, click: bool = False) -> None:
        """With `click`, FreeSWITCH calls both parties, the one at `caller` first."""
        self._switch = switch
        self._called = called
        self._click = click
        self.caller = caller
        self.callee = caller
        """Until `ring`, the caller's own channel."""

    @property
    def uuid(self) -> str:
        """By which FreeSWITCH knows the call: the first leg's."""
        return self.caller.uuid

    async def ring(self, *, announce: bool = False) -> None:
        """The caller's channel appears, and the callee's telephone rings.

        With `announce`, the dialplan says on the way that the call is to be heard.
        """
        a = self.caller
        if self._click:
            self._place(a)
            await self._pick_up(a)
            _callstate(self._switch, a, "RING_WAIT")
        else:
            self._switch.fire("CHANNEL_CREATE", a)
            a.state = "CS_ROUTING"
            _callstate(self._switch, a, "RINGING")
            a.state = "CS_EXECUTE"
        if announce:
            self.announce()
        self.callee = self._dial(self._called)
        if not self._click:
            a.callee = self._called
            self._switch.fire("CHANNEL_PROGRESS", a)
        await asyncio.sleep(0)

    def announce(self) -> None:
        """What `export RTZR_CALL=${uuid}/${uuid}` and the application `event` do."""
        a = self.caller
        a.variables["RTZR_CALL"] = f"{a.uuid}/{a.uuid}"
        a.variables["export_vars"] = "RTZR_CALL"
        self._switch.fire("CUSTOM", a, [("Event-Subclass", "rtzr::call")])

    async def answer(self) -> None:
        """The callee picks up: both legs are answered and bridged."""
        a, b = self.caller, self.callee
        await self._pick_up(b)
        if a.up:
            _callstate(self._switch, a, "ACTIVE")
        else:
            await asyncio.sleep(_BETWEEN_ANSWERS_S)
            await self._pick_up(a)
        bridge(self._switch, a, b)

    async def hold(self, party: Channel | None = None) -> None:
        """By its own telephone; the caller's, unless another is named."""
        channel = party or self.caller
        channel.held = True
        _callstate(self._switch, channel, "HELD")
        self._switch.fire("CHANNEL_HOLD", channel)
        await asyncio.sleep(0)

    async def unhold(self, party: Channel | None = None) -> None:
        channel = party or self.caller
        _callstate(self._switch, channel, "UNHELD")
        self._switch.fire("CHANNEL_UNHOLD", channel)
        _callstate(self._switch, channel, "ACTIVE")
        channel.held = False
        await asyncio.sleep(0)

    async def transfer(self, destination: str, *, answered: bool = True) -> None:
        """The caller goes on to a third party, which picks up at once if it is to; the callee is gone."""
        a = self.caller
        self._leave(a, destination)
        self._called = destination
        self.callee = self._dial(destination)
        if answered:
            await self._pick_up(self.callee)
            bridge(self._switch, a, self.callee)

    async def park(self) -> None:
        """The caller waits, and the callee is gone."""
        self._leave(self.caller, "park")
        self.caller.parked = True
        self._switch.fire("CHANNEL_PARK", self.caller)
        self.callee = self.caller
        await asyncio.sleep(0)

    async def hang_up(self, by: str = "caller", cause: str = NORMAL) -> None:
        """`by` the caller, the callee or the switch (uuid_kill, with a `cause`).

        Of a call that nobody answered: the caller cancels it, the callee is busy.
        """
        first = self.callee if by == "callee" else self.caller
        if not self.callee.up and by != "switch":
            cause = "USER_BUSY" if by == "callee" else "ORIGINATOR_CANCEL"
        other = self.caller if first is self.callee else self.callee
        end(self._switch, first, cause, by_party=by != "switch", other=None if other is first else other)
        await asyncio.sleep(0)

    def _dial(self, number: str) -> Channel:
        """The second leg, ringing."""
        a = self.caller
        b = self._switch.open_channel(
            name=f"sofia/lo/{number}@127.0.0.1:15062",
            direction="outbound",
            number=a.destination if self._click else a.number,
            caller_name="Outbound Call" if self._click else a.caller_name,
            destination=number,
            context=a.context,
            callee=number,
            call_uuid=a.uuid,
            other=a,
            other_type="originator",
        )
        b.variables["originator"] = a.uuid
        if "export_vars" in a.variables:
            name = a.variables["export_vars"]
            b.variables[name] = a.variables[name]
        self._place(b)
        return b

    def _place(self, channel: Channel) -> None:
        """FreeSWITCH calls a telephone, and it rings."""
        fire, call = self._switch.fire, channel.call_uuid
        channel.state, channel.call_uuid = "CS_NONE", channel.uuid
        fire("CHANNEL_OUTGOING", channel)
        channel.state, channel.call_uuid = "CS_INIT", call
        fire("CHANNEL_CREATE", channel)
        fire("CHANNEL_ORIGINATE", channel)
        channel.state = "CS_CONSUME_MEDIA"
        fire("CHANNEL_PROGRESS", channel)
        _callstate(self._switch, channel, "RINGING")

    async def _pick_up(self, channel: Channel) -> None:
        """One leg's ANSWER, which still bears the old call state, and what follows it."""
        channel.answer_state, channel.answered, channel.codec = "answered", micros(), True
        self._switch.fire("CHANNEL_ANSWER", channel)
        _callstate(self._switch, channel, "ACTIVE")

    def _leave(self, channel: Channel, destination: str) -> None:
        """A bridged channel goes on alone: as uuid_transfer, its party left behind is hung up."""
        channel.destination = destination
        left = channel.peer
        if left is not None:
            channel.peer, left.peer = None, None
            _hangup(self._switch, left, NORMAL, "send_bye")
            _complete(self._switch, left)
            _unbridge(self._switch, channel, left)
            _destroy(self._switch, left)
        channel.other, channel.other_type = None, ""
        channel.state = "CS_ROUTING"
        _callstate(self._switch, channel, "RINGING")
        channel.state = "CS_EXECUTE"
        _callstate(self._switch, channel, "ACTIVE")


def bridge(switch: Fires, a: Channel, b: Channel) -> None:
    """One CHANNEL_BRIDGE for the pair, on `a`."""
    a.peer, b.peer = b, a
    a.bridged = micros()
    a.other, a.other_type = b, "originatee"
    switch.fire("CHANNEL_BRIDGE", a, _pair(a, b))
    b.state = "CS_EXCHANGE_MEDIA"
    for one, other in ((a, b), (b, a)):
        one.variables.update(bridge_uuid=other.uuid, last_bridge_to=other.uuid, signal_bond=other.uuid)
        switch.fire("CALL_UPDATE", one)


def meet(switch: Fires, x: Channel, y: Channel) -> None:
    """As `uuid_bridge` of two channels out of two calls; whom they leave behind is hung up."""
    for channel in (x, y):
        left = channel.peer
        if left is not None:
            channel.peer, left.peer = None, None
            first, second = (left, channel) if channel.other_type == "originator" else (channel, left)
            _unbridge(switch, first, second)
            _hangup(switch, left, NORMAL, "send_bye")
            _complete(switch, left)
            _destroy(switch, left)
    y.other, y.other_type = x, "originator"
    bridge(switch, x, y)


def end(
    switch: Fires, first: Channel, cause: str, *, by_party: bool = True, other: Channel | None = None
) -> None:
    """`first` is hung up, by its party or by us, and who was with it after it.

    `other` is a leg in the same call that was not answered yet.
    """
    second = first.peer or other
    received = "bye" if first.up else _before_answer(first)
    _hangup(switch, first, cause, f"recv_{received}" if by_party else "send_bye")
    if second is None or second.cause:
        _complete(switch, first)
        _destroy(switch, first)
        return
    second_cause = cause if by_party else NORMAL
    a, b = (second, first) if first.other_type == "originator" else (first, second)
    if first is b:
        _complete(switch, b)
    bridged = first.peer is not None
    first.peer = second.peer = None
    if first is b and bridged:
        _unbridge(switch, a, b)
    _hangup(switch, second, second_cause, "send_bye" if second.up else f"send_{_before_answer(first)}")
    if second is b:
        _complete(switch, b)
        if bridged:
            _unbridge(switch, a, b)
    _destroy(switch, b)
    _complete(switch, a)
    _destroy(switch, a)


def _before_answer(first: Channel) -> str:
    return "refuse" if first.other_type == "originator" else "cancel"


def _pair(a: Channel, b: Channel) -> Headers:
    return [("Bridge-A-Unique-ID", a.uuid), ("Bridge-B-Unique-ID", b.uuid)]


def _unbridge(switch: Fires, a: Channel, b: Channel) -> None:
    switch.fire("CHANNEL_UNBRIDGE", a, _pair(a, b))


def _callstate(switch: Fires, channel: Channel, state: str) -> None:
    before, channel.callstate = channel.callstate, state
    extra = [
        ("Original-Channel-Call-State", before),
        ("Channel-Call-State-Number", channel.callstate_number()),
    ]
    switch.fire("CHANNEL_CALLSTATE", channel, extra)


def _hangup(switch: Fires, channel: Channel, cause: str, disposition: str) -> None:
    """The streams are closed before anybody is told."""
    switch.close_streams(channel)
    channel.cause, channel.answer_state, channel.ended = cause, "hangup", micros()
    channel.held = False
    switch.fire("CHANNEL_HANGUP", channel)
    channel.variables["sip_hangup_disposition"] = disposition
    if channel.parked:
        switch.fire("CHANNEL_UNPARK", channel)
    channel.variables.update(
        hangup_cause=cause,
        hangup_cause_q850=_Q850.get(cause, "16"),
        sip_term_status="486" if cause == "USER_BUSY" else "200",
    )


def _complete(switch: Fires, channel: Channel) -> None:
    channel.state = "CS_HANGUP"
    for bug in channel.streams:
        switch.fire("MEDIA_BUG_STOP", channel, [("Media-Bug-Function", bug), ("Media-Bug-Target", "N/A")])
    channel.streams.clear()
    _callstate(switch, channel, "HANGUP")
    channel.state = "CS_REPORTING"
    switch.fire("CHANNEL_HANGUP_COMPLETE", channel, [("Hangup-Cause", channel.cause)])


def _destroy(switch: Fires, channel: Channel) -> None:
    channel.call_uuid = channel.uuid
    switch.fire("CHANNEL_DESTROY", channel)
    switch.forget(channel)
