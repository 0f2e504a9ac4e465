"""What people do in calls of an emulated FreeSWITCH, and who then has to be heard saying what.

A scene plays its calls and tells what must come out of them; it knows nothing of a bridge.
"""

from dataclasses import dataclass, field

from tests.freeswitch.site import SwitchThread

Spoken = tuple[str, int]
"""A party's number, and which sentence of the code book it said."""


@dataclass
class Outcome:
    """By call id, what was said in it, in order; None of one that is not to be heard."""

    calls: dict[str, list[Spoken] | None]
    merged: list[str] = field(default_factory=list)
    """Into which calls others came."""
    rules: dict[str, str] = field(default_factory=dict)
    """Which rule chose a call."""
    unheard_in_stereo: list[Spoken] = field(default_factory=list)
    """On hold a party's stream sends nothing, in stereo of neither party (call-21)."""


async def hold(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("1001", "2000")
    await pbx.said((call.caller, 0), (call.callee, 1))
    await call.hold()
    await pbx.said((call.callee, 2))
    await call.unhold()
    await pbx.said((call.caller, 3))
    await call.hang_up("callee")
    spoken: list[Spoken] | None = [("1001", 0), ("2000", 1), ("2000", 2), ("1001", 3)]
    return Outcome({call.uuid: spoken}, unheard_in_stereo=[("2000", 2)])


async def transfer(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("1002", "2000")
    await pbx.said((call.caller, 0), (call.callee, 1))
    await call.transfer("3000")
    await pbx.said((call.callee, 2), (call.caller, 3))
    await call.hang_up()
    return Outcome({call.uuid: [("1002", 0), ("2000", 1), ("3000", 2), ("1002", 3)]})


async def click_to_call(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("agent", "customer", click=True)
    await pbx.said((call.caller, 4), (call.callee, 5))
    await call.hang_up()
    return Outcome({call.uuid: [("agent", 4), ("customer", 5)]})


async def park(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("1003", "2000")
    await pbx.said((call.caller, 6))
    await call.park()
    await pbx.said((call.caller, 7))
    await call.hang_up()
    return Outcome({call.uuid: [("1003", 6), ("1003", 7)]})


async def killed(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("1004", "2000", context="office", variables={"tenant": "acme"})
    await pbx.said((call.callee, 8))
    await call.hang_up("switch", "CALL_REJECTED")
    return Outcome({call.uuid: [("2000", 8)]}, rules={call.uuid: "acme"})


async def cancelled(pbx: SwitchThread) -> Outcome:
    """Nobody was bridged, so nobody may be listened to."""
    call = pbx.switch.call("1005", "2000")
    await call.ring()
    await call.hang_up()
    return Outcome({call.uuid: []}, rules={call.uuid: "all"})


async def busy(pbx: SwitchThread) -> Outcome:
    call = pbx.switch.call("1006", "2000")
    await call.ring()
    await call.hang_up("callee")
    return Outcome({call.uuid: []})


async def forbidden(pbx: SwitchThread) -> Outcome:
    call = await pbx.begun("1007", "2999", variables={"tenant": "acme"})
    await pbx.said((call.caller, 9))
    await call.hang_up()
    return Outcome({call.uuid: None})


async def elsewhere(pbx: SwitchThread) -> Outcome:
    """In a context of which no rule speaks."""
    call = await pbx.begun("1008", "2000", context="other")
    await pbx.said((call.caller, 10))
    await call.hang_up()
    return Outcome({call.uuid: None})


SCENES = [hold, transfer, click_to_call, park, killed, cancelled, busy, forbidden, elsewhere]
